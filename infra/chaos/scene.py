"""A part of the world with its observers: what it does is written down from its beginning to its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from blocks.coordinator.protocol import Coordinator
from blocks.errors import ReplicoreError
from blocks.fleet import Connections, Fleet, connect
from blocks.models.action import Action, ActionState
from blocks.models.submission import Submission
from blocks.store.protocol import Store, Where
from blocks.work_queue.protocol import WorkQueue
from flows.submit import submit
from infra.chaos.dump import dump
from infra.chaos.eyes import Eyes
from infra.chaos.load import Load, declared
from infra.chaos.recorder import Events, Reader, Recorder, Writes
from infra.chaos.settings import MAIN, Part
from infra.chaos.world import World

CALM_WITHIN_S = 120.0
"""So long everything may take to be well before faults begin."""
SETTLE_WITHIN_S = 75.0
"""So long what is under way may take to end after people and faults have stopped."""
_POLL_S = 0.5
_WELL_FOR_S = 3.0
_BUS_S = 2.0
"""What is on the bus has been read after so many seconds."""


class NotReadyError(Exception):
    """The world did not become well before any fault; says what was ill."""


@dataclass
class Scene:
    """A part that is watched."""

    world: World
    part: Part
    recorder: Recorder
    coordinator: Coordinator
    store: Store
    queue: WorkQueue
    eyes: Eyes

    async def declare(self) -> None:
        """Hand in what there is, and wait until workers have applied it and seen every cluster.

        Raises:
            NotReadyError: that takes too long.
        """
        ends = time.monotonic() + CALM_WITHIN_S
        await self.apply(ends)
        if not await self.eyes.until_well(ends - time.monotonic(), _WELL_FOR_S):
            raise NotReadyError("; ".join(self.eyes.ill))

    async def apply(self, ends: float) -> None:
        """Hand in what there is, and wait until workers have applied it.

        Raises:
            NotReadyError: they have not when the time is `ends`.
        """
        folder = self.world.settings.home_of(self.part)
        handed_in = await submit(self.store, self.queue, declared(folder), "people", utc_now())
        applied: Submission | None = None
        while applied is None or applied.applied is None:
            applied = await self.store.get(Submission, handed_in.key)
            if time.monotonic() > ends or (applied is not None and applied.error is not None):
                raise NotReadyError(str(applied))
            await asyncio.sleep(_POLL_S)

    @asynccontextmanager
    async def people(self, every_s: float) -> AsyncIterator[None]:
        """People at work for as long as it is open; whatever they placed is lifted at the end."""
        nodes = self.world.nodes[self.part.name]
        load = Load(self.store, self.queue, self.recorder, utc_now, self.world.settings.seed, every_s, nodes)
        working = asyncio.create_task(load.work())
        try:
            yield
        finally:
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working

    async def settle(self, within_s: float = SETTLE_WITHIN_S) -> None:
        """Wait until all is well and everything that was under way has ended, or does not end."""
        ends = time.monotonic() + within_s
        await self.eyes.until_well(within_s, _WELL_FOR_S)
        while time.monotonic() < ends and await self._under_way():  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(_POLL_S)

    async def _under_way(self) -> bool:
        states = (ActionState.PENDING_SCHEDULE, ActionState.NEW, ActionState.RUNNING)
        try:
            return bool(await self.store.find(Action, Where(action_states=states)))
        except ReplicoreError:
            return True

    async def published(self, within_s: float) -> None:
        """Wait until every event is on the bus, and was read from it."""
        ends = time.monotonic() + within_s
        while time.monotonic() < ends:
            with contextlib.suppress(ReplicoreError):
                if (await self.store.outbox_size())[0] == 0:
                    break
            await asyncio.sleep(_POLL_S)
        await asyncio.sleep(_BUS_S)


def utc_now() -> datetime:
    """The present: an entry point reads it."""
    return datetime.now(UTC)  # noqa: TID251 - entry point


@asynccontextmanager
async def watched(world: World, part: Part) -> AsyncIterator[Scene]:
    """A part, prepared and watched; its workers are the caller's. At the end everything is on the disk."""
    settings = world.settings
    folder = settings.home_of(part)
    recorder = Recorder(folder / "history.jsonl")
    async with connect(Fleet().with_environment(world.environment(part))) as connections:
        await _prepared(connections)
        coordinator, store = await connections.coordinator(), await connections.store()
        readers: list[Reader] = [
            Writes(world.mongodb_uri, part.database, recorder),
            Events(world.bootstrap, part.events, recorder),
        ]
        seats, real = (settings.seats, 1) if part.name == MAIN else (1, 0)
        eyes = Eyes(coordinator, store, recorder, utc_now, seats, part.clusters + real)
        for reader in readers:
            reader.start()
        watching = asyncio.create_task(eyes.watch())
        one = Scene(world, part, recorder, coordinator, store, await connections.work_queue(), eyes)
        try:
            yield one
            watching.cancel()
            await one.published(SETTLE_WITHIN_S if part.name == MAIN else _BUS_S)
            await dump(store, coordinator, world.mongodb_uri, part.database, folder / "final.json", utc_now)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await asyncio.gather(*(asyncio.to_thread(reader.stop) for reader in readers))
            _rest(one, readers)


async def _prepared(connections: Connections) -> None:
    """Indexes and topics are there."""
    store, queue, bus = await connections.store(), await connections.work_queue(), await connections.event_bus()
    await asyncio.gather(store.prepare(), queue.prepare(), bus.prepare())


def _rest(one: Scene, readers: list[Reader]) -> None:
    """Write down what is only known at the end."""
    for held in one.world.network.held:
        one.recorder.note("held", at=held.arrived_at, **asdict(held))
    for reader in readers:
        if reader.failed is not None:
            one.recorder.note("hole", why=reader.failed)
    one.recorder.close()
