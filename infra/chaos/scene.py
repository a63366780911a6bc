"""A part of the world with its observers: what it does is written down from its beginning to its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from blocks.coordinator.protocol import Coordinator
from blocks.errors import ReplicoreError, TransientError
from blocks.fleet import Connections, Fleet, connect
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec
from blocks.models.submission import Submission
from blocks.store.protocol import Store, Where
from blocks.work_queue.protocol import WorkQueue
from flows.submit import submit
from infra.chaos.deeds import Deeds
from infra.chaos.dump import dump
from infra.chaos.eyes import Eyes
from infra.chaos.load import Load, declared
from infra.chaos.recorder import Events, Reader, Recorder, Writes
from infra.chaos.settings import DEEDS, MAIN, Part
from infra.chaos.world import World

CALM_WITHIN_S = 120.0
"""So long everything may take to be well before faults begin."""
SETTLE_WITHIN_S = 75.0
"""So long what is under way may take to end after people and faults have stopped."""
_POLL_S = 0.5
_WELL_FOR_S = 3.0
READ_WITHIN_S = 30.0
"""So long what is there may take to be read."""


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
    writes: Writes
    events: Events
    watching: asyncio.Task[None]
    """Looks until it is cancelled."""

    @property
    def deeds(self) -> Deeds:
        """What the saboteur of this part has done."""
        return Deeds(self.world.settings.home_of(self.part) / DEEDS)

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
        folder, told = self.world.settings.home_of(self.part), ""
        handed_in: Submission | None = None
        while time.monotonic() < ends:
            try:
                if handed_in is None:
                    handed_in = await submit(self.store, self.queue, declared(folder), "people", utc_now())
                found = await self.store.get(Submission, handed_in.key)
                if found is not None and found.applied is not None:
                    return
                told = str(found)
                if found is not None and found.error is not None:
                    break
            except TransientError as error:
                told = str(error)
            await asyncio.sleep(_POLL_S)
        raise NotReadyError(told)

    async def discovered(self, ends: float) -> None:
        """Wait until every cluster is known, so that orders can be about it.

        Raises:
            NotReadyError: it is not when the time is `ends`.
        """
        known = 0
        while known < self.part.clusters:
            if time.monotonic() > ends:
                message = f"{known} of {self.part.clusters} clusters are known"
                raise NotReadyError(message)
            await asyncio.sleep(_POLL_S)
            with contextlib.suppress(ReplicoreError):
                known = len(await self.store.find(ClusterSpec))

    @asynccontextmanager
    async def people(self, every_s: float, *, closing: bool = True) -> AsyncIterator[Load]:
        """People at work for as long as it is open; whatever they placed is lifted at the end."""
        nodes = self.world.nodes[self.part.name]
        load = Load(self.store, self.queue, self.recorder, utc_now, self.world.settings.seed, every_s, nodes, closing)
        working = asyncio.create_task(load.work())
        try:
            yield load
        finally:
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working

    async def settle(self) -> None:
        """Wait until all is well and everything that was under way has ended, or does not end."""
        ends = time.monotonic() + SETTLE_WITHIN_S
        await self.eyes.until_well(SETTLE_WITHIN_S, _WELL_FOR_S)
        await self.ended(ends - time.monotonic())

    async def ended(self, within_s: float) -> None:
        """Wait until everything that was under way has ended, or does not end."""
        ends = time.monotonic() + within_s
        while time.monotonic() < ends and await self._under_way():  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(_POLL_S)

    async def _under_way(self) -> bool:
        states = (ActionState.PENDING_SCHEDULE, ActionState.NEW, ActionState.RUNNING)
        try:
            return bool(await self.store.find(Action, Where(action_states=states)))
        except ReplicoreError:
            return True

    async def published(self, within_s: float) -> None:
        """Wait until every event is on the bus."""
        ends = time.monotonic() + within_s
        while time.monotonic() < ends:
            with contextlib.suppress(ReplicoreError):
                if (await self.store.outbox_size())[0] == 0:
                    return
            await asyncio.sleep(_POLL_S)

    async def read_up(self) -> None:
        """Wait until everything that is there was read; what was not is a hole in the history."""
        for reader in (self.writes, self.events):
            if not await asyncio.to_thread(reader.read_up, READ_WITHIN_S):
                self.recorder.note("hole", why=f"{reader.name} were not read to their end within {READ_WITHIN_S:.0f} s")


def utc_now() -> datetime:
    """The present: an entry point reads it."""
    return datetime.now(UTC)  # noqa: TID251 - entry point


@asynccontextmanager
async def watched(world: World, part: Part) -> AsyncIterator[Scene]:
    """A part, prepared and watched; its workers are the caller's, and have gone before its end. Then everything is on the disk.

    Whether all is well is only looked at in the run itself: where a rule is broken on purpose it need not be.
    """
    settings = world.settings
    folder = settings.home_of(part)
    recorder = Recorder(folder / "history.jsonl")
    async with connect(Fleet().with_environment(world.environment(part))) as connections:
        await _prepared(connections)
        coordinator, store = await connections.coordinator(), await connections.store()
        writes = Writes(world.mongodb_uri, part.database, recorder)
        events = Events(world.bootstrap, part.events, recorder)
        seats, real = (settings.seats, 1) if part.name == MAIN else (1, 0)
        eyes = Eyes(coordinator, store, recorder, utc_now, seats, part.clusters + real)
        queue, readers = await connections.work_queue(), (writes, events)
        for reader in readers:
            reader.start()
        watching = asyncio.create_task(eyes.watch() if part.name == MAIN else asyncio.sleep(0))
        one = Scene(world, part, recorder, coordinator, store, queue, eyes, writes, events, watching)
        try:
            # What is written before the change stream begins is never told.
            if not await asyncio.to_thread(writes.read_up, READ_WITHIN_S):
                message = "no change stream begins"
                raise NotReadyError(message)
            yield one
            await one.read_up()
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


def _rest(one: Scene, readers: Iterable[Reader]) -> None:
    """Write down what is only known at the end."""
    for held in one.world.network.held:
        one.recorder.note("held", at=held.arrived_at, **asdict(held))
    for reader in readers:
        if reader.failed is not None:
            one.recorder.note("hole", why=reader.failed)
    one.recorder.close()
