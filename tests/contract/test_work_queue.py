"""One suite for the fake and the real work queue."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from blocks.errors import DependencyUnavailableError
from blocks.kafka.producer import Sender
from blocks.kafka.records import Outgoing
from blocks.kafka.settings import Kafka
from blocks.models.request import Pointer, Priority
from blocks.work_queue.kafka import KafkaWorkQueue
from blocks.work_queue.protocol import WorkQueue, WorkReceiver
from doubles import unique
from doubles.work_queue import FakeWorkQueue

LONG_S = 15.0


@dataclass
class World:
    """A queue, and what its Protocol does not offer."""

    queue: WorkQueue
    put_unreadable: Callable[[], Awaitable[None]]
    break_off: Callable[[], Awaitable[WorkQueue]]
    """The queue as seen by somebody who cannot reach it."""


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A prepared, empty queue."""
    if request.param == "fake":
        yield _fake()
        return
    kafka = Kafka(bootstrap=request.getfixturevalue("kafka"))
    settings = unique.work_queue()
    async with KafkaWorkQueue(kafka, settings) as queue:
        await queue.prepare()

        async def put_unreadable() -> None:
            sender = Sender(kafka)
            await sender.send([Outgoing(settings.topic, b"\xff{")])
            await sender.close()

        async def break_off() -> WorkQueue:
            return KafkaWorkQueue(unique.nowhere(), settings)

        yield World(queue, put_unreadable, break_off)


def _fake() -> World:
    queue = FakeWorkQueue()

    async def put_unreadable() -> None:
        await queue.put([b"\xff{"])

    async def break_off() -> WorkQueue:
        queue.down = True
        return queue

    return World(queue, put_unreadable, break_off)


def pointers(count: int, priority: Priority = Priority.ROUTINE, name: str = "c") -> list[Pointer]:
    """Pointers to different items."""
    subjects = [f"prod/{name}{number}" for number in range(count)]
    return [
        Pointer(key=f"orchestrate:{each}", kind="orchestrate", subject=each, priority=priority) for each in subjects
    ]


async def receive(receiver: WorkReceiver, count: int) -> list[Pointer]:
    """Receive `count` pointers, in as many calls as it takes; leaves the last of them uncounted."""
    found: list[Pointer] = []
    async with asyncio.timeout(LONG_S):
        while len(found) < count:
            found += await receiver.receive(count - len(found), LONG_S)
    return found


def keys(some: list[Pointer]) -> list[str]:
    """The keys of pointers, sorted."""
    return sorted(pointer.key for pointer in some)


async def test_what_is_sent_is_received_as_it_was(world: World) -> None:
    """Every pointer arrives once with all its fields, whatever partition it went through."""
    sent = [*pointers(40), *pointers(3, Priority.PERSON, "p"), *pointers(3, Priority.URGENT, "u")]
    await world.queue.send(sent)

    found = await receive(await world.queue.receiver(), len(sent))

    assert sorted(sent, key=lambda each: each.key) == sorted(found, key=lambda each: each.key)


async def test_a_call_returns_no_more_than_its_limit(world: World) -> None:
    """`limit` is a limit although more waits."""
    await world.queue.send(pointers(10))
    receiver = await world.queue.receiver()

    sizes = [len(await receiver.receive(3, LONG_S)) for _ in range(2)]

    assert all(1 <= size <= 3 for size in sizes), sizes


async def test_urgent_pointers_overtake_a_backlog(world: World) -> None:
    """An urgent pointer sent behind thousands of routine ones is received long before their end, and first in its batch."""
    await world.queue.send(pointers(10_000))
    receiver = await world.queue.receiver()
    before = len(await receive(receiver, 10))
    await world.queue.send([*pointers(1, Priority.PERSON, "p"), *pointers(1, Priority.URGENT, "u")])

    batch = await receiver.receive(5, LONG_S)
    while batch and batch[0].priority == Priority.ROUTINE:
        before += len(batch)
        batch = await receiver.receive(5, LONG_S)

    assert before < 5_000
    assert batch[0].priority < Priority.ROUTINE


async def test_waiting_ends_when_the_first_pointer_comes(world: World) -> None:
    """A waiting receiver is woken by a pointer, not by the end of its patience."""
    receiver = await world.queue.receiver()
    waiting = asyncio.create_task(receiver.receive(10, LONG_S))

    await world.queue.send(pointers(1))
    found = await asyncio.wait_for(waiting, LONG_S / 2)

    assert keys(pointers(1)) == keys(found)


async def test_an_empty_queue_gives_nothing_within_the_wait(world: World) -> None:
    """With nothing to receive, the answer is an empty list, in time."""
    receiver = await world.queue.receiver()
    loop = asyncio.get_running_loop()
    began = loop.time()

    found = await receiver.receive(10, 0.2)

    assert found == []
    assert loop.time() - began < 1.0


async def test_pointers_not_yet_counted_come_again(world: World) -> None:
    """What a receiver got in its last call goes to another one when it leaves without a further call."""
    await world.queue.send(pointers(5))
    first = await world.queue.receiver()
    got = await receive(first, 5)
    last = got[-1]
    await first.close()

    again = await receive(await world.queue.receiver(), 1)

    assert last.key in keys(got)
    assert set(keys(again)) <= set(keys(got))


async def test_pointers_counted_do_not_come_again(world: World) -> None:
    """The next call counts what came before: it is no longer in the backlog and no other receiver gets it."""
    await world.queue.send(pointers(5))
    first = await world.queue.receiver()
    await receive(first, 5)
    await first.receive(1, 0)
    await first.close()
    other = await world.queue.receiver()
    await world.queue.send(pointers(1, name="new"))

    found = await receive(other, 1)

    assert keys(pointers(1, name="new")) == keys(found)
    assert await other.receive(10, 0.1) == []


async def test_receivers_share_the_work(world: World) -> None:
    """Two receivers both get routine work and lose none of it; when one leaves, the other gets all without a wait."""
    first, second = await world.queue.receiver(), await world.queue.receiver()
    sent, found = await share(world.queue, first, second)

    await first.close()
    await world.queue.send(pointers(20, name="after"))
    rest = await asyncio.wait_for(receive(second, 20), 3.0)

    assert sent == found
    assert set(keys(rest)) <= sent | set(keys(pointers(20, name="after")))


async def share(queue: WorkQueue, *receivers: WorkReceiver) -> tuple[set[str], set[str]]:
    """Send until each receiver has got something, then receive it all; the keys sent, the keys received."""
    sent: set[str] = set()
    found: list[set[str]] = [set() for _ in receivers]
    async with asyncio.timeout(LONG_S):
        while not all(found) or set().union(*found) != sent:
            if not all(found):
                more = pointers(10, name=f"r{len(sent)}-")
                await queue.send(more)
                sent |= set(keys(more))
            batches = await asyncio.gather(*(receiver.receive(3, 0.2) for receiver in receivers))
            for seen, batch in zip(found, batches, strict=True):
                seen |= set(keys(batch))
    return sent, set().union(*found)


async def test_an_unreadable_record_is_passed_over(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A record that is no pointer stops nobody, and is mentioned once in the log of the real queue."""
    await world.put_unreadable()
    await world.queue.send(pointers(3))

    with caplog.at_level(logging.WARNING, "replicore"):
        found = await receive(await world.queue.receiver(), 3)

    assert keys(pointers(3)) == keys(found)
    assert sum("no pointer" in message for message in caplog.messages) <= 1


async def test_status_counts_backlog_and_members(world: World) -> None:
    """The backlog is what nobody has taken; it falls to nothing when all is taken."""
    await world.queue.send(pointers(7))
    before = await world.queue.status()
    receiver = await world.queue.receiver()
    await receive(receiver, 7)
    await receiver.receive(1, 0)

    async with asyncio.timeout(LONG_S):
        while (after := await world.queue.status()).backlog:
            await receiver.receive(1, 0.1)

    assert (7, 0) == (before.backlog, before.members)
    assert (0, 1) == (after.backlog, after.members)
    assert after.partitions >= 1


async def test_preparing_twice_changes_nothing(world: World) -> None:
    """`prepare` may be repeated with pointers on the queue."""
    await world.queue.send(pointers(2))

    await world.queue.prepare()

    assert (await world.queue.status()).backlog == 2


async def test_an_unreachable_queue_is_said_to_be_so(world: World) -> None:
    """Every call says which server it sought, in time; nothing hangs."""
    broken = await world.break_off()
    receiver = await broken.receiver()
    calls: list[Callable[[], Awaitable[object]]] = [
        broken.ready,
        broken.status,
        lambda: broken.send(pointers(1)),
        lambda: receiver.receive(1, 2.0),
    ]

    errors = await asyncio.wait_for(asyncio.gather(*(call() for call in calls), return_exceptions=True), 5.0)
    await asyncio.wait_for(receiver.close(), 2.0)
    if isinstance(broken, KafkaWorkQueue):
        await asyncio.wait_for(broken.close(), 2.0)

    assert [DependencyUnavailableError] * len(calls) == [type(error) for error in errors]
    assert all(re.match("Kafka at .* is not available: .+ .+", str(error)) for error in errors), errors
