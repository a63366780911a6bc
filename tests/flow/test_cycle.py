from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from blocks.agents.protocol import Target
from blocks.coordinator.protocol import ClaimKind
from blocks.errors import BusyError, NotFoundError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, Health
from blocks.models.event import EventType
from blocks.models.ids import ClusterRef
from blocks.models.look import Look
from blocks.models.namespace import NamespaceSettings, NamespaceStatus
from blocks.models.node import NodeStatus
from blocks.models.report import CycleOutcome
from blocks.models.request import Request, WorkKind, WorkState
from doubles.actions import make_action
from doubles.agents import MemoryAgents
from doubles.eventually import until
from doubles.gated import RESTART
from doubles.views import NODES
from doubles.world import World, seconds
from flows.cycle import BUSY, Mode, Result, cycle, cycle_one
from tasks.order import order
from tasks.poll import load_views

S = ActionState


async def test_first_cycle_sees_saves_and_tells(world: World) -> None:
    """A new cluster: every node, its health and a report are stored, and each is an event in the cluster's stream."""
    ref = await world.declare()
    result = await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)
    state = await world.state(ref)

    assert [(CycleOutcome.SUCCESS, 3, 0)] == [(r.outcome, r.nodes_synced, r.nodes_failed) for r in result.reports]
    assert (Health.HEALTHY, 3, world.clock()) == (state.health, state.nodes_healthy, state.observed_at)
    assert 3 == world.types().count(EventType.NODE_ADDED)
    assert EventType.CLUSTER_REPORT == world.types()[-1]
    assert [*range(1, len(world.events) + 1)] == [event.sequence for event in world.events]
    assert [] == await (await world.worker("other")).holders(ClaimKind.LOCK)


async def test_dead_work_is_loaded_when_a_person_looks(world: World) -> None:
    """A cluster has its own dead item while that is dead, and no other's; the cycles of the queue do not ask for it."""
    ref = await world.declare()
    item = Request(kind=WorkKind.ORCHESTRATE, subject=ref.key, state=WorkState.DEAD, error="killed its worker")
    other = item.evolve(subject="prod/billing")
    world.store.work |= {one.key: one for one in (item, other)}
    await cycle(await world.turn(), [ref], Mode.OBSERVE)
    unasked = [problem.code for problem in (await world.state(ref)).problems]
    loaded = await load_views.fn(world.store, [ref], with_dead=True)

    assert [] == unasked
    assert item == loaded.views[ref.key].dead_work
    del world.store.work[item.key]
    assert None is (await load_views.fn(world.store, [ref], with_dead=True)).views[ref.key].dead_work


async def test_second_cycle_of_a_quiet_cluster_only_says_when(world: World) -> None:
    """Nothing changed: no event, no report, only the moment it was seen."""
    ref = await world.declare()
    turn = await world.turn()
    await cycle(turn, [ref], Mode.ORCHESTRATE)
    told = len(world.events)
    world.advance(5)
    await cycle(turn, [ref], Mode.ORCHESTRATE)

    assert [] == world.types(told)
    assert world.clock() == (await world.state(ref)).observed_at


async def test_a_lost_node_and_its_return(world: World) -> None:
    """Agent gone: when that has held, that node alone is UNREACHABLE and a problem; back: cleared. Both are told once."""
    ref = await world.declare()
    turn = await world.turn()
    await cycle(turn, [ref], Mode.ORCHESTRATE)
    world.node("n3").down = True
    first = await cycle(turn, [ref], Mode.ORCHESTRATE)
    unsaid = (await world.node_record(ref, "n3")).status
    world.advance(2)
    await cycle(turn, [ref], Mode.ORCHESTRATE)
    lost = (await world.node_record(ref, "n3")).status, (await world.state(ref)).health
    world.node("n3").down = False
    await cycle(turn, [ref], Mode.ORCHESTRATE)
    world.advance(2)
    await cycle(turn, [ref], Mode.ORCHESTRATE)

    assert (NodeStatus.HEALTHY, {ref.key: world.clock() - seconds(2)}) == (unsaid, first.follow_up)
    assert (NodeStatus.UNREACHABLE, Health.DEGRADED) == lost
    assert Health.HEALTHY is (await world.state(ref)).health
    assert 2 == world.types().count(EventType.PROBLEM_RAISED) == world.types().count(EventType.PROBLEM_CLEARED)


async def test_an_approved_action_runs_from_order_to_end(world: World) -> None:
    """Sent in the first cycle, read back in the next ones, finished as its agent says; one effect, every step told."""
    ref = await world.declare()
    action = await world.order(make_action())
    turn = await world.turn()
    first = await cycle(turn, [ref], Mode.ORCHESTRATE)
    sent = await world.action_state(action)
    world.node().move(action.action_id, S.RUNNING)
    await cycle(turn, [ref], Mode.ORCHESTRATE)
    running = await world.action_state(action)
    world.node().move(action.action_id, S.DONE, payload={"ok": 1})
    last = await cycle(turn, [ref], Mode.ORCHESTRATE)
    done = await world.action(action)

    assert (S.NEW, S.RUNNING, S.DONE, {"ok": 1}) == (sent, running, done.state, done.payload)
    assert ({ref.key: world.clock() + seconds(0.5)}, {}) == (first.follow_up, last.follow_up)
    assert [("n1", action.action_id)] == world.agents.sent
    assert 1 == world.types().count(EventType.ACTION_FINISHED)
    assert [S.PENDING_SCHEDULE, S.NEW, S.RUNNING, S.DONE] == [step.after for step in done.history]


async def test_the_fence_travels_to_the_agent(world: World) -> None:
    """What is sent carries the token of the lock it was sent under."""
    ref = await world.declare()
    action = await world.order(make_action())
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)
    saved = (await world.action(action)).intent

    assert [saved.fence] == [delivery.fence for delivery in world.node().deliveries]


async def test_two_actions_on_a_node_run_one_after_the_other(world: World) -> None:
    """The second is sent in the very cycle that sees the first one end: the choice is made on the new view."""
    ref = await world.declare()
    first = await world.order(make_action(1))
    world.advance(1)
    second = await world.order(make_action(2))
    turn = await world.turn()
    await cycle(turn, [ref], Mode.ORCHESTRATE)
    await cycle(turn, [ref], Mode.ORCHESTRATE)
    before = world.agents.sent
    world.node().move(first.action_id, S.DONE)
    await cycle(turn, [ref], Mode.ORCHESTRATE)

    assert [("n1", first.action_id)] == before
    assert [("n1", first.action_id), ("n1", second.action_id)] == world.agents.sent


async def test_observing_sends_nothing(world: World) -> None:
    """`observe` looks, judges and saves, and leaves approved actions where they are."""
    ref = await world.declare()
    action = await world.order(make_action())
    await cycle(await world.turn(), [ref], Mode.OBSERVE)

    assert (S.PENDING_SCHEDULE, []) == (await world.action_state(action), world.agents.sent)
    assert Health.HEALTHY is (await world.state(ref)).health


async def test_acting_looks_only_where_actions_are(world: World) -> None:
    """`act` asks all nodes while something may begin, for gates judge all of them; then those that have unfinished actions, and
    does not make the cluster look freshly observed.
    """
    ref = await world.declare()
    turn = await world.turn()
    action = await world.order(make_action(node_id="n2"))
    await cycle(turn, [ref], Mode.ACT)
    observed, looks = (await world.state(ref)).observed_at, {name: world.node(name).looks for name in NODES}
    world.advance(5)
    await cycle(turn, [ref], Mode.ACT)

    assert {"n1": 0, "n2": 1, "n3": 0} == {node_id: world.node(node_id).looks - looks[node_id] for node_id in NODES}
    assert S.NEW is await world.action_state(action)
    assert observed == (await world.state(ref)).observed_at


async def test_acting_passes_gates_on_what_is_now(world: World) -> None:
    """A node that went down since the last cycle counts: what would take the majority is not sent."""
    ref = await world.declare(settings=NamespaceSettings(status_hold=0))
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)
    world.node("n2").status = NodeStatus.UNAVAILABLE
    action = await world.order(make_action(1, kind=RESTART, node_id="n3"))
    world.advance(5)
    [report] = (await cycle(await world.turn(), [ref], Mode.ACT)).reports

    assert [action.action_id] == list(report.choice.blocked)
    assert [] == world.agents.sent


async def test_acting_on_a_new_cluster_looks_at_all_of_it(world: World) -> None:
    """What was never seen is looked at first: no health of a part of the nodes is told."""
    ref = await world.declare()
    await world.order(make_action(node_id="n2"))
    await cycle(await world.turn(), [ref], Mode.ACT)

    assert 3 == (await world.state(ref)).nodes_total


@pytest.mark.parametrize("status", ["Observed", "Inactive", "Deleting"])
async def test_a_namespace_that_may_not_act(world: World, status: str) -> None:
    """Observed: seen and never acted on. Others: left alone. No action leaves."""
    ref = await world.declare(status=NamespaceStatus(status))
    action = await world.order(make_action())
    result = await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)
    looked = CycleOutcome.SUCCESS if status == "Observed" else CycleOutcome.SKIPPED

    assert [looked] == [report.outcome for report in result.reports]
    assert (S.PENDING_SCHEDULE, []) == (await world.action_state(action), world.agents.sent)


async def test_an_inactive_cluster_is_left_alone(world: World) -> None:
    """A spec that says so: skipped, with the reason, nothing asked."""
    ref = await world.declare()
    await world.save(ClusterSpec(namespace="prod", cluster_id="orders", active=False, version=2))
    result = await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)

    assert [("it is not active",)] == [report.notes for report in result.reports]
    assert 0 == world.node().looks


async def test_busy_clusters_are_skipped_and_the_rest_goes_on(world: World) -> None:
    """What somebody else holds is left out of a batch, without waiting."""
    first, second = await world.declare(), await world.declare("payments", ["p1"])
    await (await world.worker("other")).take(ClaimKind.LOCK, first.key, "test")
    result = await cycle(await world.turn(), [first, second], Mode.ORCHESTRATE)

    assert {"orders": (CycleOutcome.SKIPPED, (BUSY,)), "payments": (CycleOutcome.SUCCESS, ())} == {
        report.cluster_id: (report.outcome, report.notes) for report in result.reports
    }


async def test_a_person_waits_for_a_busy_cluster(world: World) -> None:
    """By order of a person: the lock is waited for; too long is an error that says what is held."""
    ref = await world.declare()
    other = await world.worker("other")
    claim = await other.take(ClaimKind.LOCK, ref.key, "test")
    with pytest.raises(BusyError, match="lock of prod/orders"):
        await cycle_one(await world.turn(), ref, Mode.OBSERVE, wait_s=0.02)
    waiting = asyncio.create_task(cycle_one(await world.turn(), ref, Mode.OBSERVE, wait_s=5.0))
    await asyncio.sleep(0)
    await other.give_back([claim])
    report = await waiting

    assert CycleOutcome.SUCCESS is report.outcome
    assert {"lock", "load", "poll", "decide", "save", "unlock"} <= report.phases_ms.keys()


async def test_an_unknown_cluster_is_said_to_be_one(world: World) -> None:
    """A sentence that names it and how to list the known ones."""
    with pytest.raises(NotFoundError, match="no cluster prod/nothing; `replictl clusters`"):
        await cycle_one(await world.turn(), ClusterRef(namespace="prod", cluster_id="nothing"), Mode.ACT, wait_s=0)


async def test_a_removed_node_goes_with_its_actions(world: World) -> None:
    """Its source no longer tells of it: record deleted, actions cancelled, told; its agent is asked no more."""
    ref = await world.declare()
    action = await world.order(make_action(node_id="n3"))
    turn = await world.turn()
    await cycle(turn, [ref], Mode.OBSERVE)
    record = await world.discovery(ref)
    await world.save(record.evolve(nodes=record.nodes[:2], version=2))
    looks = world.node("n3").looks
    await cycle(turn, [ref], Mode.ORCHESTRATE)

    assert (S.CANCELLED, looks) == (await world.action_state(action), world.node("n3").looks)
    assert {EventType.NODE_REMOVED, EventType.ACTION_FINISHED} <= set(world.types())


async def test_time_of_the_cycle_is_the_clocks(world: World) -> None:
    """Events and records carry the moment that was passed in."""
    ref = await world.declare()
    world.advance(100)
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)

    assert {world.zookeeper.started + seconds(100)} == {event.time for event in world.events}


async def test_actions_of_a_node_without_agent_wait(world: World) -> None:
    """An unreachable node is sent nothing, and nothing is counted as a failed attempt."""
    ref = await world.declare()
    action: Action = await world.order(make_action())
    world.node().down = True
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)

    assert (S.PENDING_SCHEDULE, 0) == ((await world.action(action)).state, (await world.action(action)).attempts)


async def test_a_slow_cluster_keeps_no_other(world: World) -> None:
    """Of a batch, those that are done are told, saved and let go while one still waits for a node that hangs."""
    slow, quick = await world.declare(), await world.declare("billing", ("b1",))
    answers = asyncio.Event()

    class Hanging(MemoryAgents):
        async def look(self, target: Target, action_ids: Sequence[str] = ()) -> Look:
            if target.node_id == "n1":
                await answers.wait()
            return await super().look(target, action_ids)

    told: list[str] = []

    async def ended(result: Result) -> None:
        told.extend(report.key for report in result.reports)

    turn = await world.turn(agents=Hanging(world.agents.nodes))
    running = asyncio.create_task(cycle(turn, [slow, quick], Mode.ORCHESTRATE, ended=ended))
    await until(lambda: bool(told))
    held = [holder.name for holder in await turn.coordinator.holders(ClaimKind.LOCK)]
    early, state = list(told), await world.state(quick)
    answers.set()
    result = await running

    assert ([quick.key], [slow.key], 1) == (early, held, state.nodes_total)
    assert [quick.key, slow.key] == told == [report.key for report in result.reports]
    assert [] == await turn.coordinator.holders(ClaimKind.LOCK)


async def test_the_end_of_a_cancelled_action_is_recorded(world: World) -> None:
    """Cancelled here while its agent works: the place is free at once, and how it ends there is kept when it has ended."""
    ref = await world.declare()
    action = await world.order(make_action(1, node_id="n1", kind="a/long"))
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)
    await order.fn(world.store, action.action_id, S.CANCELLED, "ann", "changed my mind", world.clock())
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)
    left = await world.action(action)
    world.node("n1").move(action.action_id, S.DONE, payload={"n": 9})
    events = len(world.events)
    for _ in range(2):
        await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)
    ended = await world.action(action)

    assert (S.CANCELLED, True, None) == (left.state, left.left_running, left.ended_as)
    assert (S.CANCELLED, False, S.DONE, {"n": 9}) == (ended.state, ended.left_running, ended.ended_as, ended.payload)
    assert 1 == world.types(events).count(EventType.ACTION_CHANGED)
