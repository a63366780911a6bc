"""MongoDB is set back to a snapshot of its files while Kafka goes on: on real servers, restored for real."""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from contextlib import aclosing
from pathlib import Path

import pytest

from blocks.event_bus.kafka import KafkaEventBus
from blocks.kafka.settings import Kafka
from blocks.models.action import Action, ActionState
from blocks.models.event import Event
from blocks.models.gate import Gate
from blocks.models.record import Change
from blocks.store.mongodb import MongoStore
from blocks.store.protocol import EventQuery
from blocks.store.settings import MongoDb
from doubles import unique
from doubles.actions import action_id, make_action
from doubles.coordinator import MemoryCoordinator
from doubles.store_samples import KEY, NOW, draft, later
from flows.restored import restored
from infra.stack.testing import TestStack, running
from tasks.decide.lifecycle import begun, moved
from tasks.duties import Relay, relay_events

pytestmark = pytest.mark.real


def _copy(stack: TestStack, where: Path, *, back: bool = False) -> None:
    """Copy the files of the stopped server, or put a copy back."""
    data = stack.layout.data("mongodb") / "data"
    stack.stop("mongodb")
    if back:
        shutil.rmtree(data)
    shutil.copytree(where if back else data, data if back else where)
    stack.start("mongodb")


async def _tell(store: MongoStore, bus: KafkaEventBus, number: int, *streams: str) -> None:
    """Tell something in streams, and have it on the bus."""
    await store.commit(Change(drafts=tuple(draft(number, stream) for stream in streams)), now=later(number))
    await relay_events.fn(store, bus, Relay(), later(number))


async def _on_the_bus(bus: KafkaEventBus) -> list[Event]:
    async with aclosing(bus.recorded(NOW)) as pieces:
        return [event async for piece in pieces for event in piece]


async def test_mongodb_restored(kafka: str, tmp_path: Path) -> None:
    """What was told since the snapshot is read back, no place is given twice, everything is frozen, and an action that was
    sent since is asked for before anything is sent.
    """
    brokers = Kafka(bootstrap=kafka, request_timeout_s=10)
    with running(["mongodb"], tmp_path / "stack") as stack:
        async with (
            MongoStore(MongoDb(uri=stack.mongodb_uri, database="set_back")) as store,
            KafkaEventBus(brokers, unique.event_bus()) as bus,
        ):
            await asyncio.gather(store.prepare(), bus.prepare())
            action = begun(make_action(1), now=NOW, who="ann")
            await store.commit(Change(swaps=(action,)), now=NOW)
            await _tell(store, bus, 1, KEY)
            await store.commit(Change(drafts=(draft(2),)), now=later(2))
            await asyncio.to_thread(_copy, stack, tmp_path / "copy")
            sent = moved(action, ActionState.NEW, now=later(3), who="core")
            await store.commit(Change(swaps=(sent,)), now=later(3))
            await _tell(store, bus, 3, KEY, "prod/younger")
            await asyncio.to_thread(_copy, stack, tmp_path / "copy", back=True)
            done = await restored(MemoryCoordinator(), store, bus, later(2), "ann", "disk", lambda: later(60))
            await _tell(store, bus, 61, KEY, "prod/younger")
            after = await _on_the_bus(bus)
            history = await store.events(EventQuery(stream=KEY))
            known = await store.get(Action, action_id(1))
            gate = await store.get(Gate, "freeze")

    places = defaultdict(list)
    for event in after:
        places[event.stream].append(event.sequence)
    assert (2, 1) == (done.read_back, done.doubted)
    assert ([1, 2, 3, 4], [1, 2]) == (sorted(places[KEY]), sorted(places["prod/younger"]))
    assert [1, 2, 3, 4] == [event.sequence for event in history]
    assert known is not None
    assert (ActionState.PENDING_SCHEDULE, True) == (known.state, known.intent is not None)
    assert gate is not None
