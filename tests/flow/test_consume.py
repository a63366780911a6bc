from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from blocks.agents.protocol import Target
from blocks.coordinator.protocol import ClaimKind
from blocks.models.cluster import Health
from blocks.models.event import EventType
from blocks.models.ids import ClusterRef
from blocks.models.look import Look
from blocks.models.namespace import Namespace
from blocks.models.request import Pointer, Priority, Request, WorkKind, WorkState
from blocks.models.source import Source
from blocks.models.submission import Effect, Submission
from blocks.sources.protocol import Found
from doubles.actions import make_action
from doubles.agents import MemoryAgents
from doubles.eventually import until
from doubles.views import address
from doubles.world import SOURCE, World, seconds
from flows.consume import LATE_S, SLOW_S, SOURCES_MAX, Consumer, discover_batch
from flows.submit import submit
from tasks.duties import enqueue_due
from tasks.request import pointer_to, request_work

pytestmark = pytest.mark.usefixtures("prefect_api")
NOTHING = Pointer(key="nothing:x", kind="nothing", subject="x")


@asynccontextmanager
async def _consuming(world: World, consumer: Consumer) -> AsyncIterator[Consumer]:
    """While a consumer works; it is woken by a pointer to nothing so that it sees the end at once."""
    over = asyncio.Event()
    task = asyncio.create_task(consumer.run(over))
    try:
        yield consumer
    finally:
        over.set()
        await world.queue.put([NOTHING])
        await task


async def _ask(world: World, ref: ClusterRef, priority: Priority = Priority.PERSON) -> Request:
    return await request_work.fn(world.store, world.queue, WorkKind.ORCHESTRATE, ref.key, priority, world.clock())


def _work(world: World, ref: ClusterRef) -> Request:
    return world.store.work[f"orchestrate:{ref.key}"]


class Gate(MemoryAgents):
    """Agents that answer only while their gate is open."""

    def __init__(self, agents: MemoryAgents, closed_for: str) -> None:
        super().__init__(agents.nodes)
        self.open = asyncio.Event()
        self.asked = asyncio.Event()
        self._closed_for = closed_for

    async def look(self, target: Target, action_ids: Sequence[str] = ()) -> Look:
        """Look, when the gate opens."""
        if target.node_id == self._closed_for:
            self.asked.set()
            await self.open.wait()
        return await super().look(target, action_ids)


class Buggy(MemoryAgents):
    """Agents of which one breaks the cycle."""

    async def look(self, target: Target, action_ids: Sequence[str] = ()) -> Look:
        """Break."""
        if target.node_id == "n1":
            raise ValueError("a bug")
        return await super().look(target, action_ids)


async def test_a_pointer_becomes_a_cycle(world: World) -> None:
    """Claimed, run, finished: back on the timetable, with its state saved, counted."""
    ref = await world.declare()
    await _ask(world, ref)
    async with _consuming(world, await world.consumer()) as consumer:
        await until(lambda: consumer.items == 1 and _work(world, ref).state is WorkState.IDLE)

    assert (Health.HEALTHY, 0) == ((await world.state(ref)).health, consumer.failures)


async def test_repeated_pointers_run_once(world: World) -> None:
    """A pointer that comes three times finds the work done or claimed, and is dropped."""
    ref = await world.declare()
    item = await _ask(world, ref)
    await world.queue.put([pointer_to(item)] * 2)
    async with _consuming(world, await world.consumer()) as consumer:
        await until(lambda: _work(world, ref).state is WorkState.IDLE and not world.queue.waiting)

    assert (1, 1) == (consumer.items, world.node().looks)


async def test_what_is_under_way_is_looked_at_again_soon(world: World) -> None:
    """A cluster with an action on its agent has its next turn before the timetable's."""
    ref = await world.declare()
    await world.order(make_action())
    await _ask(world, ref)
    async with _consuming(world, await world.consumer()):
        await until(lambda: _work(world, ref).state is WorkState.IDLE)

    assert world.clock() + seconds(0.5) == _work(world, ref).next_at


async def test_pointers_to_unknown_kinds_are_left_alone(world: World) -> None:
    """Work of a newer version is nobody's business here, and stops nothing."""
    ref = await world.declare()
    await world.queue.put([Pointer(key="dance:prod/x", kind="dance", subject="prod/x"), NOTHING])
    await _ask(world, ref)
    async with _consuming(world, await world.consumer()) as consumer:
        await until(lambda: consumer.items == 1)

    assert [WorkKind.ORCHESTRATE] == [item.kind for item in world.store.work.values()]


async def test_a_source_is_asked_and_its_clusters_are_taken_up(world: World) -> None:
    """Discovery, then the first cycle of what it found, which `enqueue` puts on the queue."""
    await world.save(Namespace(name="prod", version=1), SOURCE)
    world.tell(orders=["n1"])
    ref = ClusterRef(namespace="prod", cluster_id="orders")
    await request_work.fn(world.store, world.queue, WorkKind.DISCOVER, SOURCE.key, Priority.PERSON, world.clock())
    async with _consuming(world, await world.consumer()) as consumer:
        await until(lambda: consumer.items == 1)
        await enqueue_due.fn(world.store, world.queue, world.clock())
        await until(lambda: consumer.items == 2)

    assert (1, 0) == ((await world.state(ref)).nodes_total, consumer.failures)


async def test_a_failing_source_is_no_failed_work(world: World) -> None:
    """It is in the source's report; it has its next turn by the timetable, not by backoff. Neither is one that is gone."""
    await world.save(Namespace(name="prod", version=1), SOURCE)
    world.sources.fail(SOURCE, "connection refused")
    for subject in (SOURCE.key, "prod/gone"):
        await request_work.fn(world.store, world.queue, WorkKind.DISCOVER, subject, Priority.PERSON, world.clock())
    async with _consuming(world, await world.consumer()) as consumer:
        await until(lambda: consumer.items == 2)

    assert (0, EventType.SOURCE_FAILED) == (consumer.failures, world.types()[-1])


async def test_work_that_keeps_failing_ends_dead_and_is_told_of(world: World) -> None:
    """Queued again with a wait, then dead: visible with its error; the other cluster of its batch is fine."""
    bad, good = await world.declare(), await world.declare("payments", ["p1"])
    world.agents = Buggy(world.agents.nodes)
    await _ask(world, bad)
    await _ask(world, good)
    async with _consuming(world, await world.consumer(attempts_max=2)) as consumer:
        await until(lambda: consumer.items == 2 and _work(world, bad).state is WorkState.QUEUED)
        waiting = _work(world, bad)
        world.advance(60)
        await enqueue_due.fn(world.store, world.queue, world.clock())
        await until(lambda: EventType.WORK_DEAD in world.types())
    dead = _work(world, bad)

    assert (WorkState.QUEUED, 1, True) == (waiting.state, waiting.attempts, waiting.not_before is not None)
    assert (WorkState.DEAD, 2, "ValueError: a bug") == (dead.state, dead.attempts, dead.error)
    assert WorkState.IDLE is _work(world, good).state


async def test_without_the_queue_work_comes_from_the_store(world: World) -> None:
    """Kafka gone: a named mode, due work is claimed straight from the store; Kafka back: the mode is left."""
    ref = await world.declare()
    await world.store.ensure_work(
        [Request(kind=WorkKind.ORCHESTRATE, subject=ref.key, interval=60.0, next_at=world.clock())], world.clock()
    )
    world.queue.down = True
    async with _consuming(world, await world.consumer()) as consumer:
        await until(lambda: consumer.items == 1)
        world.queue.down = False
        await world.queue.put([NOTHING])
        await until(lambda: EventType.DEGRADED_LEFT in world.types())

    assert ["NO_QUEUE", "NO_QUEUE"] == [event.data["mode"] for event in world.events if "mode" in event.data]


async def test_without_the_coordinator_nothing_is_claimed(world: World) -> None:
    """ZooKeeper gone: a named mode, work stays queued; back: it is run and the mode is left."""
    ref = await world.declare()
    consumer = await world.consumer()
    consumer.coordinator.suspend()
    await _ask(world, ref)
    async with _consuming(world, consumer):
        await until(lambda: EventType.DEGRADED_ENTERED in world.types())
        queued = _work(world, ref).state
        consumer.coordinator.resume()
        await until(lambda: consumer.items == 1)

    assert WorkState.QUEUED is queued
    assert ["NO_COORDINATOR"] * 2 == [event.data["mode"] for event in world.events if "mode" in event.data]


async def test_store_gone_in_the_middle_of_a_batch(world: World) -> None:
    """The batch fails, its end is reported as soon as the store takes it, and it is tried again; nobody counts that."""
    ref = await world.declare()
    gate = world.agents = Gate(world.agents, "n1")
    await _ask(world, ref)
    async with _consuming(world, await world.consumer()) as consumer:
        await gate.asked.wait()
        world.store.down = True
        gate.open.set()
        await until(lambda: consumer.failures == 1)
        claimed = _work(world, ref).state
        world.store.down = False
        await until(lambda: _work(world, ref).state is WorkState.QUEUED)

    assert (WorkState.CLAIMED, 0) == (claimed, _work(world, ref).attempts)
    assert "MongoDB" in str(_work(world, ref).error)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "while a batch runs"])
async def test_a_claim_whose_answer_was_lost_is_given_back(world: World, busy: bool) -> None:
    """Claimed and never told so: nobody else may take it, so it is given back, soon, and run."""
    ref, other = await world.declare(), await world.declare("payments", ["p1"])
    gate = world.agents = Gate(world.agents, "p1")
    consumer = await world.consumer()
    async with _consuming(world, consumer):
        if busy:
            await _ask(world, other)
            await gate.asked.wait()
        world.store.lost_answers.add("claim_work")
        await _ask(world, ref)
        await until(lambda: _work(world, ref).state is WorkState.CLAIMED)
        gate.open.set()
        await until(lambda: _work(world, ref).state is WorkState.QUEUED)
        await enqueue_due.fn(world.store, world.queue, world.clock())
        await until(lambda: _work(world, ref).state is WorkState.IDLE)

    assert 1 + busy == consumer.items


async def test_the_end_of_a_shift_lets_a_running_batch_end(world: World) -> None:
    """Over: nothing more is claimed, what runs is finished and reported."""
    ref, later = await world.declare(), await world.declare("payments", ["p1"])
    gate = world.agents = Gate(world.agents, "n1")
    consumer = await world.consumer(batches_parallel=1)
    await _ask(world, ref)
    async with _consuming(world, consumer):
        await gate.asked.wait()
        asyncio.get_running_loop().call_later(0.05, gate.open.set)
        await _ask(world, later)

    assert (WorkState.IDLE, WorkState.QUEUED) == (_work(world, ref).state, _work(world, later).state)


async def test_a_batch_that_does_not_end_is_cancelled(world: World) -> None:
    """Over and still running after the time to drain: cancelled, its locks given back."""
    ref = await world.declare()
    gate = world.agents = Gate(world.agents, "n1")
    consumer = await world.consumer(drain_s=0.05)
    await _ask(world, ref)
    async with _consuming(world, consumer):
        await gate.asked.wait()
    await until(lambda: not consumer._running)

    assert [] == await consumer.coordinator.holders(ClaimKind.LOCK)
    assert WorkState.CLAIMED is _work(world, ref).state


async def test_urgent_work_of_a_batch_does_not_wait_for_routine(world: World) -> None:
    """Taken off the queue together with a cluster whose node hangs, it is over, and may be asked for again, long before."""
    urgent, routine = await world.declare(), await world.declare("payments", ["p1"])
    gate = world.agents = Gate(world.agents, "p1")
    await _ask(world, routine, Priority.ROUTINE)
    await _ask(world, urgent, Priority.URGENT)
    async with _consuming(world, await world.consumer(batches_parallel=1)):
        await gate.asked.wait()
        await until(lambda: _work(world, urgent).state is WorkState.IDLE)
        held = [claim.name for claim in await (await world.worker("other")).holders(ClaimKind.LOCK)]
        gate.open.set()

    assert [routine.key] == held


async def test_a_slow_batch_of_a_busy_worker_keeps_its_place(world: World) -> None:
    """It gives it up when it waits for others, not when our own loop is late: there, more batches at once help nobody."""
    consumer = await world.consumer()
    batch = asyncio.create_task(asyncio.Event().wait())
    place = asyncio.create_task(consumer._until_due(batch))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    time.sleep(SLOW_S + 2 * LATE_S)  # noqa: ASYNC251 - this is the busy loop
    await asyncio.sleep(0.05)
    kept = not place.done()
    await until(place.done)
    batch.cancel()

    assert kept


async def test_a_batch_is_one_task_run(world: World) -> None:
    """Many clusters in one batch: looked at together, reported together."""
    refs = [await world.declare(f"c{number}", [f"x{number}"]) for number in range(8)]
    for ref in refs:
        await _ask(world, ref)
    async with _consuming(world, await world.consumer()) as consumer:
        await until(lambda: consumer.items == 8)

    assert {1} == {world.agents.nodes[address(f"x{number}")].looks for number in range(8)}
    assert {WorkState.IDLE} == {item.state for item in world.store.work.values()}


async def test_what_was_handed_in_is_applied_off_the_queue(world: World) -> None:
    """A submission is a work item like any other, and leaves nothing of itself on the timetable."""
    text = "{apiVersion: replicante.io/v0, kind: Namespace, metadata: {name: new}}"
    handed_in = await submit(world.store, world.queue, text, "ann", world.clock())
    async with _consuming(world, await world.consumer()) as consumer:
        await until(lambda: consumer.items == 1 and not world.store.work)
    ended = await world.store.get(Submission, handed_in.key)

    assert (["new"], 0) == ([namespace.name for namespace in await world.store.find(Namespace)], consumer.failures)
    assert ended is not None
    assert [Effect.CREATED] == [one.effect for one in ended.applied or ()]


async def test_a_slow_source_holds_up_no_other(world: World) -> None:
    """Taken with it in one batch: each is done, and can be asked again, as soon as it has answered."""
    fast = SOURCE.evolve(name="fast", version=1)
    await world.save(Namespace(name="prod", version=1), SOURCE, fast)
    answers = asyncio.Event()

    class Slow(type(world.sources)):  # type: ignore[misc]
        async def ask(self, source: Source) -> Found:
            if source.key == SOURCE.key:
                await answers.wait()
            return await super().ask(source)

    world.tell(orders=["n1"])
    world.sources.tell(fast, [])
    slow = Slow()
    slow.__dict__ = world.sources.__dict__
    for source in (SOURCE, fast):
        await request_work.fn(world.store, world.queue, WorkKind.DISCOVER, source.key, Priority.ROUTINE, world.clock())
    consumer = dataclasses.replace(await world.consumer(), sources=slow)
    async with _consuming(world, consumer):
        await until(lambda: consumer.items == 1)
        states = {item.subject: item.state for item in world.store.work.values()}
        answers.set()
        await until(lambda: consumer.items == 2)

    assert (WorkState.CLAIMED, True) == (states[SOURCE.key], states.get(fast.key) is not WorkState.CLAIMED)


async def test_sources_that_are_asked_at_once_are_bounded(world: World) -> None:
    """However many a batch has."""
    most = running = 0

    class Counting(type(world.sources)):  # type: ignore[misc]
        async def ask(self, source: Source) -> Found:
            nonlocal most, running
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return Found()

    sources = [SOURCE.evolve(name=f"s{number}", version=1) for number in range(3 * SOURCES_MAX)]
    await world.save(Namespace(name="prod", version=1), *sources)
    counting = Counting()
    counting.__dict__ = world.sources.__dict__
    consumer = dataclasses.replace(await world.consumer(), sources=counting)
    ended = await discover_batch.fn(consumer, [source.key for source in sources])

    assert (len(sources), True) == (len(ended), most <= SOURCES_MAX)
