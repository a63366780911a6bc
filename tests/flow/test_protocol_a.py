"""A cluster whose agents speak protocol A, taken through whole cycles over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from blocks.models.action import Action, ActionState
from blocks.models.ids import ClusterRef
from blocks.models.namespace import NamespaceSettings
from blocks.models.node import NodeStatus, Protocol, Shard, ShardRole
from blocks.models.report import Report
from doubles.actions import make_action
from doubles.agents import MemoryNode
from doubles.fleets import HttpFleet, http_fleet
from doubles.views import discovery, found
from doubles.world import World
from flows.cycle import Mode, cycle
from flows.steps import Turn

S = ActionState


@dataclass
class Scene:
    """The cluster `prod/orders` of one node."""

    world: World
    fleet: HttpFleet
    node: MemoryNode
    turn: Turn
    ref: ClusterRef

    async def cycle(self) -> Report:
        """Take it through a cycle, a few seconds later."""
        self.world.advance(5)
        return (await cycle(self.turn, [self.ref], Mode.ORCHESTRATE)).reports[0]

    async def sent(self, action: Action) -> tuple[Action, Report]:
        """What becomes of an action in one cycle."""
        ordered = await self.world.order(action)
        report = await self.cycle()
        return await self.world.action(ordered), report


@pytest.fixture
async def scene(world: World) -> AsyncIterator[Scene]:
    """A healthy node, discovered."""
    node = MemoryNode("n1", shards=(Shard(shard_id="rs0", role=ShardRole.PRIMARY),))
    async with http_fleet(protocol=Protocol.A) as fleet:
        ref = await world.declare(node_ids=["n1"])
        target = await fleet.put(node)
        told = discovery([]).evolve(nodes=(found("n1", agent_address=target.agent_address),), version=2)
        await world.save(told)
        yield Scene(world, fleet, node, await world.turn(agents=fleet.agents), ref)


async def test_an_action_from_order_to_end(scene: Scene) -> None:
    """Seen, sent with its fence, followed and finished; the protocol is remembered from the first cycle on."""
    await scene.cycle()
    new, _ = await scene.sent(make_action())
    scene.node.move(new.action_id, S.DONE, payload=["pong"])
    await scene.cycle()
    done = await scene.world.action(new)

    assert (S.NEW, S.DONE, ["pong"]) == (new.state, done.state, done.payload)
    assert [new.intent.fence if new.intent else None] == [delivery.fence for delivery in scene.node.deliveries]
    node = await scene.world.node_record(scene.ref, "n1")
    assert (Protocol.A, NodeStatus.HEALTHY) == (node.protocol, node.status)


async def test_metadata_that_do_not_fit_are_reported(scene: Scene) -> None:
    """What is no legal header is not sent; the action is, and the report says what is missing from it."""
    await scene.cycle()
    action, report = await scene.sent(make_action(metadata={"ticket": "42", "a/b": "x"}))

    assert S.NEW is action.state
    assert [{"ticket": "42"}] == [delivery.action.metadata for delivery in scene.node.deliveries]
    note = f"action {action.action_id}: metadata a/b was not sent: its name is no legal HTTP header"
    assert (note,) == report.notes


async def test_switched_off_actions_are_a_reason(scene: Scene) -> None:
    """A node whose actions are switched off is healthy; an action for it waits, with a reason that says what is needed."""
    scene.node.actions_on = False
    await scene.cycle()
    action, _ = await scene.sent(make_action())

    assert S.PENDING_SCHEDULE is action.state
    assert "the agent has its actions switched off; it wants TLS with client certificates" in str(action.error)
    assert NodeStatus.HEALTHY is (await scene.world.node_record(scene.ref, "n1")).status


async def test_people_may_demand_a_protocol(world: World, scene: Scene) -> None:
    """A namespace that demands B gets nothing from an agent of A, and says why."""
    view = (await world.store.views([scene.ref]))[scene.ref.key]
    await world.save(view.namespace.evolve(settings=NamespaceSettings(agent_protocol=Protocol.B), version=2))
    await scene.cycle()

    node = await world.node_record(scene.ref, "n1")
    expected = (NodeStatus.UNREACHABLE, "no agent of protocol B, which its namespace demands: no /info/node")
    assert expected == (node.status, node.status_text)
