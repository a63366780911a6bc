"""Taking a node away: through the gates as an action on that node, and judged again before its platform is asked."""

from __future__ import annotations

import pytest

from blocks.errors import PlatformError
from blocks.models.action import Action, ActionState
from blocks.models.base import Json
from blocks.models.gate import Disruptions
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.models.node import NodeStatus
from doubles.actions import make_action
from doubles.gated import RESTART, turned
from doubles.platformed import declared_with_platform, now_tells
from doubles.world import World

S = ActionState
KIND = "core.replicante.io/platform.deprovision"


@pytest.fixture
async def ref(world: World) -> ClusterRef:
    """A healthy cluster of three nodes that have a platform."""
    return await declared_with_platform(world)


async def ordered(world: World, node_id: str = "n3", number: int = 1, **fields: object) -> Action:
    """An approved order to take a node away."""
    args: Json = {"node_id": node_id, "stable_after": 10}
    return await world.order(make_action(number, node_id=None, kind=KIND, args=args, **fields))


async def cycles(world: World, ref: ClusterRef, action: Action, times: int = 1) -> Action:
    """The action after so many cycles."""
    for _ in range(times):
        await turned(world, ref)
    return await world.action(action)


async def test_deprovisioning(world: World, ref: ClusterRef) -> None:
    """Asked until the platform has agreed, done when the node has been gone for a while; coming back starts that anew."""
    world.outside.removed = [PlatformError("timeout", maybe_done=True), None]
    action = await ordered(world)
    await cycles(world, ref, action, 4)
    await now_tells(world, ref, "n1", "n2")
    gone = await cycles(world, ref, action, 4)
    await now_tells(world, ref, "n1", "n2", "n3")
    back = await cycles(world, ref, action, 3)
    await now_tells(world, ref, "n1", "n2")
    after = await cycles(world, ref, action, 7)

    assert [("orders", "n3")] * 2 == world.outside.deprovisioned
    assert [S.RUNNING, S.RUNNING, S.DONE] == [gone.state, back.state, after.state]


async def test_a_node_that_the_cluster_cannot_spare(world: World, ref: ClusterRef) -> None:
    """One of the others is down: nobody is asked, and the reason is data, until it is back; what may mend it is not held back."""
    world.node("n2").status = NodeStatus.UNAVAILABLE
    action = await ordered(world)
    mending = await world.order(make_action(2, kind=RESTART, node_id="n2"))
    kept = await turned(world, ref)
    world.advance(3_600)
    await turned(world, ref)
    waiting, asked = await world.action_state(action), list(world.outside.deprovisioned)
    world.node("n2").move(mending.action_id, S.DONE)
    world.node("n2").status = NodeStatus.HEALTHY
    await cycles(world, ref, action, 2)

    assert ({action.action_id: ["MAJORITY"]}, S.PENDING_SCHEDULE, []) == (kept, waiting, asked)
    assert [("orders", "n3")] == world.outside.deprovisioned


async def test_by_force(world: World, ref: ClusterRef) -> None:
    """With a reason it goes below the majority."""
    world.node("n2").status = NodeStatus.UNAVAILABLE
    await cycles(world, ref, await ordered(world, forced="the machine burns"))

    assert [("orders", "n3")] == world.outside.deprovisioned


async def test_another_node_goes_down_before_the_platform_was_reached(world: World, ref: ClusterRef) -> None:
    """It is not asked again: the order is FAILED, and holds nothing back that may mend the cluster."""
    world.outside.removed = [PlatformError("connection refused", maybe_done=False)]
    action = await ordered(world)
    tried = await cycles(world, ref, action)
    world.node("n2").status = NodeStatus.UNAVAILABLE
    world.advance(10)
    after = await cycles(world, ref, action, 2)

    assert (S.RUNNING, S.FAILED, 1) == (tried.state, after.state, len(world.outside.deprovisioned))
    assert "cannot spare node n3 any more (MAJORITY: only 1 of 3 nodes" in str(after.error)
    assert str(after.error).endswith("it was not asked")


async def test_the_budget_of_the_namespace(world: World, ref: ClusterRef) -> None:
    """It waits for room as an action on that node would, and takes some while it runs."""
    await world.save(Namespace(name="prod", version=1, settings=NamespaceSettings(disruption_max=1)))
    billing = await world.declare("billing", ("b1", "b2", "b3"))
    first = await world.order(make_action(2, kind=RESTART, cluster_id="billing", node_id="b1"))
    await turned(world, billing)
    action = await ordered(world)
    waiting = (await cycles(world, ref, action)).state
    world.node("b1").move(first.action_id, S.DONE)
    await turned(world, billing)
    running = (await cycles(world, ref, action)).state
    second = await world.order(make_action(3, kind=RESTART, cluster_id="billing", node_id="b2"))
    await turned(world, billing)
    record = await world.store.get(Disruptions, "prod")

    assert (S.PENDING_SCHEDULE, S.RUNNING) == (waiting, running)
    assert S.PENDING_SCHEDULE is await world.action_state(second)
    assert record is not None
    assert (action.action_id,) == record.holders


async def test_waiting_for_room_it_holds_nothing_back(world: World, ref: ClusterRef) -> None:
    """Another cluster has the room, for long: here actions on nodes and on the cluster go on; it begins when there is room."""
    settings = NamespaceSettings(status_hold=0, disruption_max=1, exclusive_patience=60.0)
    await world.save(Namespace(name="prod", version=1, settings=settings))
    billing = await world.declare("billing", ("b1", "b2", "b3"))
    first = await world.order(make_action(2, kind=RESTART, cluster_id="billing", node_id="b1"))
    await turned(world, billing)
    action = await ordered(world)
    world.advance(600)
    on_node = await world.order(make_action(3))
    on_cluster = await world.order(make_action(4, node_id=None, kind="core.replicante.io/debug.success", args=None))
    kept = await turned(world, ref)
    world.node().move(on_node.action_id, S.DONE)
    await cycles(world, ref, action, 2)
    others = [await world.action_state(one) for one in (on_node, on_cluster, action)]
    world.node("b1").move(first.action_id, S.DONE)
    await turned(world, billing)
    after = await cycles(world, ref, action)

    assert {action.action_id: ["BUDGET"]} == kept
    assert [S.DONE, S.DONE, S.PENDING_SCHEDULE] == others
    assert S.RUNNING is after.state


async def test_a_node_that_is_not_known(world: World, ref: ClusterRef) -> None:
    """The platform may know it: it is asked, and that nothing was judged is said where the action's beginning is."""
    after = await cycles(world, ref, await ordered(world, "n9"))

    assert [("orders", "n9")] == world.outside.deprovisioned
    assert [
        "it begins; node n9 is not known here: whether the cluster keeps its majority without it is not judged"
    ] == [step.why for step in after.history if step.after is S.RUNNING]
