"""A source that somebody else is asking: what its turn was wanted for is not lost."""

from __future__ import annotations

import asyncio

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.models.cluster import Discovery
from blocks.models.namespace import Namespace
from blocks.models.request import Priority, WorkKind, WorkState, work_key
from blocks.models.source import DiscoveredCluster, FileDiscovery, Source
from blocks.sources.protocol import Found
from blocks.store.protocol import RetryPolicy
from doubles.sources import MemorySources
from doubles.views import found
from doubles.world import SOURCE, World
from flows.consume import Consumer, discover_batch
from flows.cycle import BUSY
from flows.discover import discover_source
from flows.steps import Steps
from tasks.duties import Files, ask_changed_files, mend_timetable
from tasks.hold import source_lock
from tasks.request import request_work

FILE = Source(namespace="prod", name="inventory", interval=3600.0, file=FileDiscovery(path="/inventory"), version=1)
KEY = work_key(WorkKind.DISCOVER, FILE.key)


def _told(*names: str) -> list[DiscoveredCluster]:
    return [DiscoveredCluster(cluster_id=name, nodes=(found("n1"),)) for name in names]


async def _turn(world: World, consumer: Consumer) -> None:
    """Whatever may be claimed now is run, and reported."""
    worker = consumer.coordinator.worker
    claimed = await world.store.claim_work([KEY], worker, world.clock())
    ended = await discover_batch.fn(consumer, [item.subject for item in claimed])
    await world.store.finish_work(ended, worker, world.clock(), RetryPolicy())


@pytest.mark.parametrize("priority", list(Priority))
async def test_a_turn_that_meets_a_held_lock_is_tried_again(world: World, priority: Priority) -> None:
    """Whoever wanted it, and soon after the lock is free, not at the next turn of the timetable; no try is counted."""
    await world.save(Namespace(name="prod", version=1), SOURCE)
    world.tell(orders=["n1"])
    other = await world.worker("a person")
    lock = await other.take(ClaimKind.LOCK, source_lock(SOURCE.ref), "discover")
    await request_work.fn(world.store, world.queue, WorkKind.DISCOVER, SOURCE.key, priority, world.clock())
    consumer = await world.consumer()
    await _turn(world, consumer)
    met = world.store.work[KEY]
    await other.give_back([lock])
    world.advance(10)
    await _turn(world, consumer)

    assert (WorkState.QUEUED, BUSY, 0) == (met.state, met.error, met.attempts)
    assert met.not_before is not None
    assert met.not_before > met.finished_at
    assert (WorkState.IDLE, [SOURCE.key]) == (world.store.work[KEY].state, world.sources.asked)


async def test_a_source_that_is_gone_has_had_its_turn(world: World) -> None:
    """There is nothing to try again."""
    (ended,) = await discover_batch.fn(await world.consumer(), ["prod/gone"])

    assert None is ended.error


async def test_a_file_that_changes_while_it_is_asked_is_read_again(world: World) -> None:
    """A person's run has read it before: what has changed since is known soon, not an hour later."""

    class Slow(MemorySources):
        def __init__(self) -> None:
            super().__init__()
            self.read, self.go_on = asyncio.Event(), asyncio.Event()

        async def ask(self, source: Source) -> Found:
            answer = await world.sources.ask(source)
            self.read.set()
            await self.go_on.wait()
            return answer

    await world.save(Namespace(name="prod", version=1), FILE)
    await mend_timetable.fn(world.store, world.clock())
    consumer, files, slow = await world.consumer(), Files(), Slow()
    world.sources.stamped(FILE, "first")
    world.sources.tell(FILE, _told("one"))
    person = await world.worker("a person")
    run = asyncio.create_task(discover_source(person, world.store, slow, FILE.ref, world.clock, Steps()))
    await slow.read.wait()
    world.sources.stamped(FILE, "second")
    world.sources.tell(FILE, _told("one", "two"))
    await world.store.ask(WorkKind.DISCOVER, FILE.key, Priority.URGENT, world.clock())
    await _turn(world, consumer)
    slow.go_on.set()
    await run
    world.advance(10)
    await _turn(world, consumer)
    asked = await ask_changed_files.fn(world.store, world.queue, world.sources, files, world.clock())

    assert ["one", "two"] == [record.cluster_id for record in await world.store.find(Discovery)]
    assert 0 == asked
