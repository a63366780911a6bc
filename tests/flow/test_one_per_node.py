"""One action at a time per node, also where nobody knows what arrived: an older one that is approved late does not join it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blocks.models.action import Action, ActionState
from blocks.models.ids import ClusterRef
from blocks.models.look import Failure, Look
from blocks.models.namespace import NamespaceSettings
from doubles.actions import make_action
from doubles.agents import MemoryAgents, Mishap
from doubles.gated import turned
from doubles.world import World
from tasks.decide.why import why_action
from tasks.order import order
from tasks.why import load_why

S = ActionState


class Unreadable(MemoryAgents):
    """Agents that list their actions and fail when they are asked about one."""

    async def look(self, target: Any, action_ids: Sequence[str] = ()) -> Look:
        """See `Agents`."""
        seen = await super().look(target, action_ids)
        return seen.evolve(details={key: Failure(reason="HTTP 500") for key in seen.details})


async def sent_without_an_answer(world: World, mishap: Mishap) -> tuple[ClusterRef, Action, Action]:
    """An older action that was approved after a younger one was sent, of which nobody knows whether it arrived."""
    ref = await world.declare(settings=NamespaceSettings(status_hold=0, agent_timeout=5.0))
    await turned(world, ref)
    older = await world.order(make_action(1, state=S.PENDING_APPROVE))
    world.advance(1)
    younger = await world.order(make_action(2))
    world.node().mishaps.append(mishap)
    await turned(world, ref)
    await order.fn(world.store, older.action_id, S.PENDING_SCHEDULE, "eve", "", world.clock())
    return ref, older, younger


async def test_an_older_one_waits_for_what_may_be_there(world: World) -> None:
    """The younger one is there, and its agent cannot say so: the older one is not sent, says why, and has its turn after it."""
    ref, older, younger = await sent_without_an_answer(world, Mishap.UNANSWERED)
    await turned(world, ref, Unreadable(world.agents.nodes))
    there = world.node().listed(final=False)
    view, around = await load_why(world.store, None, ref, world.clock())
    why = why_action(view, await world.action(older), around)[0]
    await turned(world, ref)
    world.node().move(younger.action_id, S.DONE)
    await turned(world, ref)

    assert ((younger.action_id,), (older.action_id,)) == (there, world.node().listed(final=False))
    assert ("NODE_BUSY", True) == (why.rule, younger.action_id in why.text)


async def test_an_older_one_waits_for_what_may_be_on_its_way(world: World) -> None:
    """The request was lost: nothing is sent before it cannot arrive any more; then the older one goes first."""
    ref, older, younger = await sent_without_an_answer(world, Mishap.LOST)
    await turned(world, ref)
    early = world.node().listed(final=False)
    world.advance(60)
    await turned(world, ref)

    assert ((), (older.action_id,)) == (early, world.node().listed(final=False))
    assert S.PENDING_SCHEDULE is await world.action_state(younger)
