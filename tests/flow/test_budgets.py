"""The budget of a namespace through the cycle: who holds room of it, and who waits for that."""

from __future__ import annotations

import asyncio

from blocks.models.action import Action, ActionState
from blocks.models.gate import Disruptions
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace, NamespaceSettings
from doubles.actions import make_action
from doubles.agents import Mishap
from doubles.gated import RESTART, frozen, frozen_meanwhile, turned
from doubles.world import World
from flows.cycle import Mode, cycle
from tasks.order import order

S = ActionState


async def two_that_want_one_place(world: World) -> tuple[list[ClusterRef], list[Action]]:
    """A namespace in which one node may be acted on, and an approved restart in each of two clusters."""
    await world.save(Namespace(name="prod", version=1, settings=NamespaceSettings(disruption_max=1)))
    clusters = [await world.declare(), await world.declare("billing", ("b1", "b2", "b3"))]
    first = await world.order(make_action(1, kind=RESTART))
    return clusters, [first, await world.order(make_action(2, kind=RESTART, cluster_id="billing", node_id="b1"))]


async def test_the_budget_of_a_namespace_holds_across_clusters(world: World) -> None:
    """Two clusters, one place: the second waits until the first action has ended, and says why."""
    (orders, billing), (first, second) = await two_that_want_one_place(world)
    await turned(world, orders)
    [full] = (await cycle(await world.turn(), [billing], Mode.ORCHESTRATE)).reports
    waiting = await world.action_state(second)
    world.node("n1").move(first.action_id, S.DONE)
    await turned(world, orders)
    await turned(world, billing)

    assert ("the budget of namespace prod leaves no room for 1 actions",) == full.notes
    assert (S.PENDING_SCHEDULE, S.NEW) == (waiting, await world.action_state(second))


async def test_two_workers_never_give_the_last_place_twice(world: World) -> None:
    """At the same moment: one of them sends, whatever the order of their steps."""
    clusters, _ = await two_that_want_one_place(world)
    turns = [await world.turn(name) for name in ("w1", "w2")]
    await asyncio.gather(*(cycle(turn, [ref], Mode.ORCHESTRATE) for turn, ref in zip(turns, clusters, strict=True)))
    holders = await world.store.get(Disruptions, "prod")

    assert 1 == len(world.agents.sent)
    assert holders is not None
    assert 1 == len(holders.holders)


async def test_what_was_not_begun_holds_no_room(world: World) -> None:
    """It was chosen, given back, and is held by a freeze: others of the namespace do not wait for that."""
    (orders, billing), (first, second) = await two_that_want_one_place(world)
    await turned(world, orders, frozen_meanwhile(world, "prod/orders"))
    record = await world.store.get(Disruptions, "prod")
    await turned(world, billing)

    assert record is not None
    assert ((first.action_id,), S.NEW) == (record.holders, await world.action_state(second))


async def test_what_may_have_begun_holds_room_until_its_agent_was_asked(world: World) -> None:
    """Nobody knows whether it arrived: room is held, until its agent says that it has it not, whatever keeps it from another try."""
    (orders, billing), (first, second) = await two_that_want_one_place(world)
    world.node().mishaps.append(Mishap.LOST)
    await turned(world, orders)
    await frozen(world, "prod/orders")
    await turned(world, billing)
    in_doubt = await world.action_state(second)
    world.advance(60)
    told = len(world.events)
    await turned(world, orders)
    quiet = len(world.events) == told
    await turned(world, billing)

    assert (S.PENDING_SCHEDULE, S.NEW) == (in_doubt, await world.action_state(second))
    assert (None, 1, True) == ((after := await world.action(first)).intent, after.attempts, quiet)


async def test_force_takes_room_and_needs_none(world: World) -> None:
    """It begins although the budget is full; while it runs, what is not forced waits for it as for any other."""
    (orders, billing), (first, second) = await two_that_want_one_place(world)
    await order.fn(world.store, second.action_id, S.CANCELLED, "ann", "", world.clock())
    forced = await world.order(make_action(3, kind=RESTART, cluster_id="billing", node_id="b1", forced="a leak"))
    await turned(world, orders)
    await turned(world, billing)
    begun = [await world.action_state(first), await world.action_state(forced)]
    world.node("n1").move(first.action_id, S.DONE)
    third = await world.order(make_action(4, kind=RESTART, node_id="n2"))
    await turned(world, orders)
    waiting = await world.action_state(third)
    world.node("b1").move(forced.action_id, S.DONE)
    await turned(world, billing)
    await turned(world, orders)

    assert ([S.NEW, S.NEW], S.PENDING_SCHEDULE) == (begun, waiting)
    assert S.NEW is await world.action_state(third)


async def test_force_beside_others_of_one_choice(world: World) -> None:
    """Of what is chosen at once the forced one takes room first."""
    await world.save(Namespace(name="prod", version=1, settings=NamespaceSettings(disruption_max=1)))
    ref = await world.declare(node_ids=("n1", "n2", "n3", "n4", "n5"))
    plain = await world.order(make_action(1, kind=RESTART))
    forced = await world.order(make_action(2, kind=RESTART, node_id="n2", forced="a leak"))
    await turned(world, ref)

    assert (S.PENDING_SCHEDULE, S.NEW) == (await world.action_state(plain), await world.action_state(forced))
