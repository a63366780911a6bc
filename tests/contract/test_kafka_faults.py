"""The work queue and the event bus while brokers and workers are killed and paused."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.errors import DependencyUnavailableError
from blocks.event_bus.kafka import KafkaEventBus
from blocks.kafka.settings import Kafka
from blocks.models.event import Event
from blocks.models.request import Pointer
from blocks.work_queue.kafka import KafkaWorkQueue
from blocks.work_queue.protocol import WorkQueue, WorkReceiver
from blocks.work_queue.settings import WorkQueueSettings
from doubles import unique
from infra.stack.testing import TestStack, running

pytestmark = pytest.mark.real

LONG_S = 30.0
PROJECT = Path(__file__).resolve().parents[2]
START = datetime(2026, 1, 1, tzinfo=UTC)

WORKER = """
import asyncio, sys
from blocks.kafka.settings import Kafka
from blocks.work_queue.kafka import KafkaWorkQueue
from blocks.work_queue.settings import WorkQueueSettings

async def work():
    queue = KafkaWorkQueue(Kafka(bootstrap=sys.argv[1]), WorkQueueSettings.model_validate_json(sys.argv[2]))
    receiver = await queue.receiver()
    for pointer in await receiver.receive(1, 60.0):
        print(pointer.key, flush=True)
    await asyncio.Event().wait()

asyncio.run(work())
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    """A broker that may be hurt."""
    with running(["kafka"], tmp_path_factory.mktemp("breakable")) as stack:
        yield stack


def impatient(stack: TestStack) -> Kafka:
    """Settings with deadlines shorter than a restart of the broker."""
    return Kafka(bootstrap=stack.kafka_bootstrap, request_timeout_s=1.5, message_timeout_s=1.5)


def pointers(count: int, name: str) -> list[Pointer]:
    """Pointers to different items."""
    return [Pointer(key=f"{name}{number}", kind="orchestrate", subject=name) for number in range(count)]


async def publish_all(bus: KafkaEventBus, events: Sequence[Event], halfway: asyncio.Event) -> tuple[list[str], int]:
    """Publish as the relay does, batch by batch, again what failed; returns the ids and how many tries failed."""
    stored: list[str] = []
    waiting, failures = list(events), 0
    while waiting:
        try:
            ids = set(await bus.publish(waiting[:50]))
        except DependencyUnavailableError:
            ids = set()
        failures += not ids
        stored += [event.event_id for event in waiting[:50] if event.event_id in ids]
        waiting = [event for event in waiting if event.event_id not in ids]
        if len(waiting) < len(events) / 2:
            halfway.set()
    return stored, failures


async def test_events_survive_a_killed_broker(stack: TestStack) -> None:
    """Of 1,000 events published while the broker is killed and comes back, none reported as stored is lost, each stream
    comes in order, and a follower that was there before sees it all.
    """
    events = [
        Event(
            event_id=f"{stream}#{sequence}",
            type="t",
            stream=f"prod/c{stream}",
            subject="",
            sequence=sequence,
            time=START + timedelta(seconds=sequence),
            data={},
        )
        for sequence in range(1, 101)
        for stream in range(10)
    ]
    async with KafkaEventBus(impatient(stack), unique.event_bus()) as bus, asyncio.timeout(LONG_S):
        await bus.prepare()
        halfway = asyncio.Event()
        follower = asyncio.create_task(first_sights(bus, len(events)))
        publishing = asyncio.create_task(publish_all(bus, events, halfway))
        await halfway.wait()
        await asyncio.to_thread(stack.kill, "kafka")
        stored, failures = await publishing
        seen, later = await follower, await first_sights(bus, len(events))

    expected = {f"prod/c{stream}": list(range(1, 101)) for stream in range(10)}
    assert failures > 0
    assert sorted(event.event_id for event in events) == sorted(stored)
    assert expected == seen == later


async def first_sights(bus: KafkaEventBus, count: int) -> dict[str, list[int]]:
    """By stream, sequence numbers in the order in which they were first seen, until `count` different events were."""
    seen: dict[str, list[int]] = {}
    async with aclosing(bus.follow(START)) as following:
        async for event in following:
            numbers = seen.setdefault(event.stream, [])
            if event.sequence not in numbers:
                numbers.append(event.sequence)
            if sum(map(len, seen.values())) == count:
                break
    return seen


async def test_a_receiver_survives_a_killed_broker(stack: TestStack) -> None:
    """While the broker is away, `receive` says so; when it is back, the same receiver gets what is sent."""
    async with KafkaWorkQueue(impatient(stack), unique.work_queue()) as queue, asyncio.timeout(LONG_S):
        await queue.prepare()
        receiver = await queue.receiver()
        await queue.send(pointers(1, "before"))
        before = await receiver.receive(1, LONG_S)
        await asyncio.to_thread(stack.kill, "kafka")
        with pytest.raises(DependencyUnavailableError, match="Connection refused"):
            await until_received(receiver, "nothing of that name", patient=False)
        await asyncio.to_thread(stack.wait_ready, "kafka")
        await queue.send(pointers(1, "after"))
        after = await until_received(receiver, "after0")

    assert ["before0"] == [pointer.key for pointer in before]
    assert "after0" in after


async def until_received(receiver: WorkReceiver, key: str, *, patient: bool = True) -> set[str]:
    """Keys received until `key` was among them; absences of the broker are waited out by the patient."""
    seen: set[str] = set()
    while key not in seen:
        try:
            seen |= {pointer.key for pointer in await receiver.receive(10, 1.0)}
        except DependencyUnavailableError:
            if not patient:
                raise
    return seen


async def test_a_paused_broker_is_not_waited_for_beyond_the_deadline(stack: TestStack) -> None:
    """A broker that stands still fails `send` and `ready` in time, leaving is quick, and all works when it goes on."""
    async with asyncio.timeout(LONG_S):
        queue = KafkaWorkQueue(impatient(stack), unique.work_queue())
        await queue.prepare()
        receiver = await queue.receiver()
        await queue.send(pointers(1, "before"))
        await receiver.receive(1, LONG_S)
        stack.kill("kafka", signal.SIGSTOP)
        try:
            calls = asyncio.gather(queue.ready(), queue.send(pointers(1, "during")), return_exceptions=True)
            errors = await asyncio.wait_for(calls, 5.0)
            await asyncio.wait_for(queue.close(), 9.0)
        finally:
            stack.kill("kafka", signal.SIGCONT)
        await sent_in_the_end(queue)
        await queue.close()

    assert [DependencyUnavailableError] * 2 == [type(error) for error in errors]


async def sent_in_the_end(queue: WorkQueue) -> None:
    """Send until it succeeds."""
    while True:
        try:
            return await queue.send(pointers(1, "later"))
        except DependencyUnavailableError:
            continue


async def test_a_client_that_is_dead_for_good_is_replaced(stack: TestStack) -> None:
    """After a fatal error of the client library, sending and receiving go on with new clients."""
    async with KafkaWorkQueue(impatient(stack), unique.work_queue()) as queue, asyncio.timeout(LONG_S):
        await queue.prepare()
        receiver = await queue.receiver()
        await queue.send(pointers(1, "before"))
        before = await receiver.receive(1, LONG_S)
        assert queue._sender._line is not None
        dead = [queue._sender._line, receiver._consumer._consumer]
        queue._sender._line.health.fatal = receiver._consumer._health.fatal = True
        await queue.send(pointers(1, "after"))
        after = await until_received(receiver, "after0")
        while receiver._consumer._consumer is dead[1]:  # what it held ready was given out first
            await receiver.receive(1, 0.1)
        alive = [queue._sender._line, receiver._consumer._consumer]

    assert ["before0"] == [pointer.key for pointer in before]
    assert "after0" in after
    assert all(new is not old for new, old in zip(alive, dead, strict=True))


@asynccontextmanager
async def worker(stack: TestStack, settings: WorkQueueSettings) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that receives one pointer, prints its key, and goes on holding it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKER, stack.kafka_bootstrap, settings.model_dump_json()),
        cwd=PROJECT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_killed_worker_is_replaced_by_the_others(stack: TestStack) -> None:
    """After kill -9 of a worker the other one gets everything, what the dead one held ready too, within seconds."""
    settings = unique.work_queue()
    connection = Kafka(bootstrap=stack.kafka_bootstrap)
    async with KafkaWorkQueue(connection, settings) as queue, asyncio.timeout(LONG_S):
        await queue.prepare()
        receiver = await queue.receiver()
        async with worker(stack, settings) as other:
            assert other.stdout is not None
            held = asyncio.create_task(other.stdout.readline())
            number = 0
            while not held.done():  # until it has joined and owns partitions
                await queue.send(pointers(20, f"warm{number}-"))
                await receiver.receive(1_000, 0.0)
                await asyncio.wait([held], timeout=0.2)
                number += 1
            last = {pointer.key for pointer in pointers(200, "last")} | {(await held).decode().strip()}
            await queue.send(pointers(200, "last"))
            other.kill()
            await other.wait()
            began = asyncio.get_running_loop().time()
            seen = await all_received(receiver, last)
            took_s = asyncio.get_running_loop().time() - began

    assert last <= seen
    assert took_s < settings.session_timeout_s + 4.0


async def all_received(receiver: WorkReceiver, wanted: set[str]) -> set[str]:
    """Keys received until all `wanted` were among them."""
    seen: set[str] = set()
    while not wanted <= seen:
        seen |= {pointer.key for pointer in await receiver.receive(100, 0.5)}
    return seen
