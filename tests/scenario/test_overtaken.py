"""Single histories that once went wrong, or would be hard to find by chance."""

from __future__ import annotations

import asyncio

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.models.action import ActionState
from blocks.models.namespace import NamespaceSettings
from doubles.actions import make_action
from doubles.agents import Taken
from doubles.process import Process, Written, settled
from doubles.views import REF
from doubles.world import World

S = ActionState


async def _processes(world: World, count: int, *node_ids: str) -> list[Process]:
    """So many workers of a cluster, of one node unless others are named."""
    await world.declare(node_ids=node_ids or ["n1"], settings=NamespaceSettings(agent_timeout=5.0))
    written: list[Written] = []
    names = [f"worker-{number}" for number in range(count)]
    return [Process(name, world, await world.worker(name), written) for name in names]


async def _until_gate(process: Process, name: str) -> None:
    """Let a worker go on until it is about to make such a call."""
    if process.idle:
        process.begin()
    await settled([process])
    while name not in {gate.name for gate in process.gates}:
        process.step()
        await settled([process])


async def _to_the_end(process: Process) -> None:
    if process.idle:
        process.begin()
    process.run_freely()
    assert process.task is not None
    async with asyncio.timeout(5):
        await process.task
    process.is_open = False


@pytest.mark.parametrize("attempts", [0, 6], ids=["first attempt", "last attempt"])
async def test_a_request_that_arrives_during_the_looks_is_neither_repeated_nor_given_up(attempts: int) -> None:
    """Its lock forced away, a request arrives right after its successor looked at the node; the other node's look takes long.

    By the end of the looks the time of the request is over, and yet "the agent does not have it" is no longer true.
    """
    world = World()
    old, new = await _processes(world, 2, "n1", "n2")
    action = await world.order(make_action(attempts=attempts))
    await _until_gate(old, "send")
    world.zookeeper.remove(ClaimKind.LOCK, REF.key)
    await _until_gate(new, "look")
    new.step()
    await settled([new])
    old.step()
    await settled([old])
    world.advance(60)
    await _to_the_end(new)
    await _to_the_end(old)
    after = await world.action_state(action)
    await _to_the_end(new)

    assert [Taken.ACCEPTED] == [delivery.taken for delivery in world.node().deliveries]
    assert (S.PENDING_SCHEDULE, S.NEW) == (after, await world.action_state(action))


async def test_a_holder_that_slept_through_its_successors_work_writes_nothing() -> None:
    """Stopped before it saves, overtaken, woken: its fence is old, its cycle fails, nothing of it is stored or told."""
    world = World()
    old, new = await _processes(world, 2)
    await world.order(make_action())
    await _until_gate(old, "commit")
    old.coordinator.pause()
    world.advance(11)
    await _to_the_end(new)
    told = len(world.events)
    old.coordinator.wake(is_heard=False)
    await _to_the_end(old)

    assert old.task is not None
    assert "newer holder" in str(old.task.result().reports[0].error)
    assert (told, {"worker-1"}) == (len(world.events), {written.process for written in old.written})


async def test_the_agent_refuses_a_holder_that_its_successor_overtook() -> None:
    """An old holder's request arrives after its successor's: the fence at the agent turns it away."""
    world = World()
    old, new = await _processes(world, 2)
    first = await world.order(make_action(1))
    await _until_gate(old, "send")
    world.zookeeper.remove(ClaimKind.LOCK, REF.key)
    await world.save((await world.action(first)).evolve(state=S.CANCELLED, version=9))
    second = await world.order(make_action(2))
    await _to_the_end(new)
    await _to_the_end(old)

    assert [(second.action_id, Taken.ACCEPTED), (first.action_id, Taken.SUPERSEDED)] == [
        (delivery.action.action_id, delivery.taken) for delivery in world.node().deliveries
    ]


async def test_a_crash_after_sending_is_found_out_by_asking() -> None:
    """Sent, accepted, and dead before saying so: the successor asks by id and adopts it, without sending."""
    world = World()
    old, new = await _processes(world, 2)
    action = await world.order(make_action())
    await _until_gate(old, "send")
    old.step()
    await settled([old])
    old.coordinator.pause()
    world.advance(11)
    await _to_the_end(new)

    assert (S.NEW, 1) == (await world.action_state(action), len(world.node().deliveries))


async def test_a_crash_before_sending_is_made_up_for() -> None:
    """Intent saved and dead before sending: the successor waits until nothing can arrive any more, then sends."""
    world = World()
    old, new = await _processes(world, 2)
    action = await world.order(make_action())
    await _until_gate(old, "send")
    old.coordinator.pause()
    answer_by = (await world.action(action)).intent.answer_by
    world.zookeeper.remove(ClaimKind.LOCK, REF.key)
    await _to_the_end(new)
    early = len(world.node().deliveries)
    world.advance((answer_by - world.clock()).total_seconds() + 0.1)
    await _to_the_end(new)

    assert (0, 1, S.NEW) == (early, len(world.node().deliveries), await world.action_state(action))
