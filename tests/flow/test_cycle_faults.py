from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from blocks.agents.protocol import Target
from blocks.coordinator.protocol import ClaimKind
from blocks.errors import DependencyUnavailableError, RecordError
from blocks.models.action import ActionState
from blocks.models.cluster import Health
from blocks.models.look import AgentAction, Look
from blocks.models.record import Fence
from blocks.models.report import CycleOutcome, Report
from doubles.actions import make_action
from doubles.agents import MemoryAgents
from doubles.views import address
from doubles.world import World
from flows.cycle import Mode, cycle

S = ActionState


async def test_a_superseded_holder_writes_nothing(world: World) -> None:
    """While it looked, a newer holder came: its cycle fails, nothing of it is stored or told."""
    ref = await world.declare()

    class Overtaken(MemoryAgents):
        async def look(self, target: Target, action_ids: Sequence[str] = ()) -> Look:
            await world.store.claim([Fence(subject=ref.key, generation=1, token=10_000)])
            return await super().look(target, action_ids)

    result = await cycle(await world.turn(agents=Overtaken(world.agents.nodes)), [ref], Mode.ORCHESTRATE)

    assert [CycleOutcome.FAILED] == [report.outcome for report in result.reports]
    assert "newer holder" in str(result.reports[0].error)
    assert ([], None) == (world.events, await world.store.get(Report, ref.key))


async def test_a_lost_lock_sends_nothing(world: World) -> None:
    """Session gone while it looked: what was seen may be saved (nobody newer has come), no action leaves."""
    ref = await world.declare()
    action = await world.order(make_action())
    turn = await world.turn()

    class Expiring(MemoryAgents):
        async def look(self, target: Target, action_ids: Sequence[str] = ()) -> Look:
            world.zookeeper.expire(turn.coordinator)
            return await super().look(target, action_ids)

    lost = await cycle(
        replace(turn, agents=Expiring(world.agents.nodes)),
        [ref],
        Mode.ORCHESTRATE,
    )

    assert [CycleOutcome.FAILED] == [report.outcome for report in lost.reports]
    assert "nothing was sent" in str(lost.reports[0].error)
    assert (S.PENDING_SCHEDULE, []) == (await world.action_state(action), world.agents.sent)


async def test_a_person_who_cancels_meanwhile_wins(world: World) -> None:
    """Cancelled between loading and sending: nothing is sent, and the report says why."""
    ref = await world.declare()
    action = await world.order(make_action())

    class Cancelling(MemoryAgents):
        async def look(self, target: Target, action_ids: Sequence[str] = ()) -> Look:
            if target.node_id == "n1":
                await world.save(action.evolve(state=S.CANCELLED, version=2))
            return await super().look(target, action_ids)

    result = await cycle(await world.turn(agents=Cancelling(world.agents.nodes)), [ref], Mode.ORCHESTRATE)

    assert [("a person changed an action just now; nothing was sent",)] == [report.notes for report in result.reports]
    assert (S.CANCELLED, []) == (await world.action_state(action), world.agents.sent)


@pytest.mark.parametrize("running", [S.NEW, S.RUNNING])
async def test_a_cancelled_action_that_its_agent_still_has_stays_cancelled(world: World, running: ActionState) -> None:
    """Cancelled by a person while its agent works on it: final here, and the cluster's cycles go on."""
    ref = await world.declare()
    action = await world.order(make_action())
    turn = await world.turn()
    await cycle(turn, [ref], Mode.ORCHESTRATE)
    await world.save((await world.action(action)).evolve(state=S.CANCELLED, version=9))
    world.node().move(action.action_id, running)
    result = await cycle(turn, [ref], Mode.ORCHESTRATE)

    assert [CycleOutcome.SUCCESS] == [report.outcome for report in result.reports]
    assert S.CANCELLED is await world.action_state(action)


async def test_an_agent_cannot_speak_of_another_clusters_action(world: World) -> None:
    """An agent that lists an action of another cluster changes nothing there and makes no record here."""
    ref = await world.declare()
    other = await world.declare("payments", ["p1"])
    action = await world.order(make_action(cluster_id="payments", node_id="n1", state=S.PENDING_APPROVE))
    world.node().actions[action.action_id] = AgentAction(action_id=action.action_id, kind="x", state=S.RUNNING)
    result = await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)

    assert [CycleOutcome.SUCCESS] == [report.outcome for report in result.reports]
    assert (S.PENDING_APPROVE, other) == (await world.action_state(action), (await world.action(action)).cluster)


async def test_two_nodes_behind_one_agent(world: World) -> None:
    """A source that gives one address twice does not stop the cycle over the agent's own action."""
    ref = await world.declare()
    stranger = make_action(9)
    world.agents.nodes[address("n2")] = world.node("n1")
    world.node().actions[stranger.action_id] = AgentAction(action_id=stranger.action_id, kind="x", state=S.RUNNING)
    turn = await world.turn()
    results = [await cycle(turn, [ref], Mode.ORCHESTRATE) for _ in range(2)]

    assert [CycleOutcome.SUCCESS] * 2 == [report.outcome for result in results for report in result.reports]
    assert S.RUNNING is await world.action_state(stranger)


class _Broken(MemoryAgents):
    """Agents of which one breaks the cycle of its cluster from within."""

    def __init__(self, agents: MemoryAgents, error: Exception) -> None:
        super().__init__(agents.nodes)
        self._error = error

    async def look(self, target: Target, action_ids: Sequence[str] = ()) -> Look:
        if target.node_id == "p1":
            raise self._error
        return await super().look(target, action_ids)


@pytest.mark.parametrize("error", [RecordError("too big"), ValueError("a bug")])
async def test_one_clusters_failure_is_its_own(world: World, error: Exception) -> None:
    """What breaks the cycle of one cluster is in its report; the others of the batch are done."""
    refs = [await world.declare(), await world.declare("payments", ["p1"])]
    result = await cycle(await world.turn(agents=_Broken(world.agents, error)), refs, Mode.ORCHESTRATE)

    assert {"orders": None, "payments": True} == {
        report.cluster_id: None if report.error is None else str(error) in report.error for report in result.reports
    }


async def test_what_fails_for_all_is_raised_when_all_have_ended(world: World) -> None:
    """A dependency that is away: the error is raised, after every cluster came to its end under its lock."""
    refs = [await world.declare("payments", ["p1"]), await world.declare()]
    error = DependencyUnavailableError("MongoDB", "memory", "gone", "Check.")
    held: list[int] = []

    class Slow(_Broken):
        async def look(self, target: Target, action_ids: Sequence[str] = ()) -> Look:
            look = await super().look(target, action_ids)
            for _ in range(20):
                await asyncio.sleep(0)
            held.append(len(await other.holders(ClaimKind.LOCK)))
            return look

    other = await world.worker("other")
    with pytest.raises(DependencyUnavailableError):
        await cycle(await world.turn(agents=Slow(world.agents, error)), refs, Mode.ORCHESTRATE)

    assert [2, 2, 2] == held
    assert [] == await other.holders(ClaimKind.LOCK)
    assert Health.HEALTHY is (await world.state(refs[1])).health


async def test_store_gone_from_the_start(world: World) -> None:
    """Nothing can be announced: the locks are given back, the error says what is away."""
    ref = await world.declare()
    world.store.down = True
    turn = await world.turn()
    with pytest.raises(DependencyUnavailableError, match="MongoDB"):
        await cycle(turn, [ref], Mode.ORCHESTRATE)

    assert [] == await turn.coordinator.holders(ClaimKind.LOCK)
