"""Kafka loses everything under living processes: on real servers, wiped for real."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

import pytest

from blocks.errors import DependencyUnavailableError
from blocks.event_bus.kafka import KafkaEventBus
from blocks.kafka.settings import Kafka
from blocks.models.event import Event
from blocks.models.record import Change
from blocks.models.request import Priority
from blocks.store.mongodb import MongoStore
from blocks.store.settings import MongoDb
from blocks.work_queue.kafka import KafkaWorkQueue
from blocks.work_queue.protocol import WorkReceiver
from doubles import unique
from doubles.store_samples import NOW, draft, later
from infra.stack.testing import running
from tasks.duties import RESEND_AFTER_S, Relay, enqueue_due, relay_events

pytestmark = pytest.mark.real

WITHIN_S = 40.0


async def followed(bus: KafkaEventBus, since: datetime, count: int) -> list[Event]:
    """What somebody reads who begins anew."""
    read: list[Event] = []
    async with asyncio.timeout(WITHIN_S), aclosing(bus.follow(since)) as events:
        async for event in events:
            read.append(event)
            if len(read) == count:
                break
    return read


async def relayed(store: MongoStore, bus: KafkaEventBus, relay: Relay) -> int:
    """Turns of the relay until one has published something."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                if (turn := await relay_events.fn(store, bus, relay, NOW)).published:
                    return turn.published
            except DependencyUnavailableError:
                await asyncio.sleep(0.2)


async def received(receiver: WorkReceiver) -> set[str]:
    """The next pointers that a worker gets."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                if pointers := await receiver.receive(10, 1.0):
                    return {pointer.key for pointer in pointers}
            except DependencyUnavailableError:
                await asyncio.sleep(0.2)


async def test_kafka_wiped(mongodb: str, tmp_path: Path) -> None:
    """Living processes go on with an empty Kafka as soon as its topics are made again: work that was queued is pointed to
    once more, and events are replayed from a moment, the same in the same order before what came since.
    """
    with running(["kafka"], tmp_path / "stack") as stack:
        kafka = Kafka(bootstrap=stack.kafka_bootstrap, request_timeout_s=5, message_timeout_s=5)
        async with (
            MongoStore(MongoDb(uri=mongodb, database="wiped_kafka")) as store,
            KafkaEventBus(kafka, unique.event_bus()) as bus,
            KafkaWorkQueue(kafka, unique.work_queue()) as queue,
        ):
            relay, receiver = Relay(), await queue.receiver()
            await asyncio.gather(store.prepare(), bus.prepare(), queue.prepare())
            told = [(await store.commit(Change(drafts=(draft(n),)), now=later(n)))[0] for n in range(4)]
            await relayed(store, bus, relay)
            item = await store.ask("orchestrate", "prod/orders", Priority.ROUTINE, NOW)
            await enqueue_due.fn(store, queue, NOW)
            before = await received(receiver)
            await asyncio.to_thread(stack.wipe, "kafka")
            (since_then,) = await store.commit(Change(drafts=(draft(4),)), now=later(4))
            with pytest.raises(DependencyUnavailableError) as away:
                await relay_events.fn(store, bus, relay, NOW)
            missing = [*await bus.faults(), *await queue.faults()]
            await store.republish(later(1), limit=100)
            await asyncio.gather(bus.prepare(), queue.prepare())
            await relayed(store, bus, relay)
            read = await followed(bus, NOW, 4)
            await enqueue_due.fn(store, queue, later(RESEND_AFTER_S + 1))
            after = await received(receiver)
            left = await bus.faults(), await queue.faults(), await store.outbox_size()

    assert ({item.key}, {item.key}) == (before, after)
    assert "register" in str(away.value)
    assert 3 == len(missing)
    assert all("is missing: run `python -m deployments.register`" in fault for fault in missing)
    assert [event.evolve(published=True) for event in (*told[1:], since_then)] == read
    assert ([], [], (0, None)) == left
