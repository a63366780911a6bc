"""One run from beginning to end: a world, workers, people and a nemesis; then calm, and everything is written down."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from blocks.coordinator.protocol import Coordinator
from blocks.errors import ReplicoreError
from blocks.fleet import Fleet, connect
from blocks.models.action import Action, ActionState
from blocks.models.submission import Submission
from blocks.store.protocol import Store, Where
from blocks.work_queue.protocol import WorkQueue
from flows.apply import submit
from infra.chaos.dump import dump
from infra.chaos.eyes import Eyes
from infra.chaos.load import Load, declared
from infra.chaos.nemesis import Nemesis
from infra.chaos.plan import Fault, Rhythm, schedule
from infra.chaos.recorder import Events, Reader, Recorder, Writes
from infra.chaos.settings import Settings
from infra.chaos.world import DATABASE, World, hire, world

CALM_WITHIN_S = 90.0
"""So long everything may take to be well before faults begin."""
SETTLE_WITHIN_S = 75.0
"""So long what is under way may take to end after people and faults have stopped."""
_POLL_S = 0.5
TOPIC = "replicore.events"


class NotReadyError(Exception):
    """The world did not become well before any fault."""


@dataclass
class Scene:
    """A world with its observers."""

    world: World
    recorder: Recorder
    coordinator: Coordinator
    store: Store
    queue: WorkQueue
    eyes: Eyes

    def load(self, settings: Settings) -> Load:
        """People for this world."""
        return Load(self.store, self.queue, self.recorder, utc_now, settings, self.world.nodes)


def utc_now() -> datetime:
    """The present: an entry point reads it."""
    return datetime.now(UTC)  # noqa: TID251 - entry point


def say(text: str) -> None:
    """Tell people what is going on."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")  # noqa: TID251 - for people
    sys.stderr.flush()


@asynccontextmanager
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    """A world that is declared and watched, without workers yet."""
    shutil.rmtree(settings.home, ignore_errors=True)
    settings.home.mkdir(parents=True)
    async with world(settings) as made:
        recorder = Recorder(settings.home / "history.jsonl")
        readers: list[Reader] = [
            Writes(made.mongodb_uri, DATABASE, recorder),
            Events(made.bootstrap, TOPIC, recorder),
        ]
        fleet = Fleet().with_environment(made.environment)
        async with connect(fleet) as connections:
            coordinator, store = await connections.coordinator(), await connections.store()
            queue = await connections.work_queue()
            eyes = Eyes(coordinator, store, recorder, utc_now, settings.seats, settings.clusters + 1)
            for reader in readers:
                reader.start()
            watching = asyncio.create_task(eyes.watch())
            try:
                yield Scene(made, recorder, coordinator, store, queue, eyes)
                await _caught_up(store)
                await asyncio.sleep(2.0)
                await dump(store, coordinator, made, settings.home / "final.json", utc_now)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
                for reader in readers:
                    await asyncio.to_thread(reader.stop)
                for held in made.network.held:
                    recorder.note("held", at=held.arrived_at, **asdict(held))
                for reader in readers:
                    if reader.failed is not None:
                        recorder.note("hole", why=reader.failed)
                recorder.close()


async def declare(one: Scene, settings: Settings) -> None:
    """Hand in what there is, and wait until workers have applied it and seen every cluster.

    Raises:
        NotReadyError: that takes too long.
    """
    handed_in = await submit(one.store, one.queue, declared(settings), "people", utc_now())
    ends = time.monotonic() + CALM_WITHIN_S
    applied: Submission | None = None
    while applied is None or applied.applied is None:
        applied = await one.store.get(Submission, handed_in.key)
        if time.monotonic() > ends or (applied is not None and applied.error is not None):
            raise NotReadyError(str(applied))
        await asyncio.sleep(_POLL_S)
    if not await one.eyes.until_well(CALM_WITHIN_S, 3.0):
        raise NotReadyError("; ".join(one.eyes.ill))


async def run(settings: Settings) -> tuple[Fault, ...]:
    """A whole run; what happened is in `settings.home`. Returns the faults that were planned."""
    faults = schedule(settings.seed, Rhythm(settings.minutes, kinds=settings.kinds))
    begun = time.monotonic()
    async with scene(settings) as one:
        say(f"servers are up after {time.monotonic() - begun:.0f} s")
        await hire(one.world, settings.workers, settings.serving, settings.sabotage)
        await declare(one, settings)
        say(f"all is well after {time.monotonic() - begun:.0f} s; {len(faults)} faults in {settings.minutes:g} min")
        one.recorder.note("begin", seed=settings.seed, minutes=settings.minutes, utc=utc_now().isoformat())
        chaos = time.monotonic()
        people = asyncio.create_task(one.load(settings).work())
        try:
            await Nemesis(one.world, one.eyes, one.recorder, say).carry_out(faults)
            await asyncio.sleep(max(0.0, chaos + settings.minutes * 60.0 - time.monotonic()))
        finally:
            people.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await people
        one.recorder.note("calm")
        say("people and faults have stopped")
        await settle(one)
        one.recorder.note("end")
    return faults


async def settle(one: Scene) -> None:
    """Wait until all is well and everything that was under way has ended, or does not end."""
    ends = time.monotonic() + SETTLE_WITHIN_S
    await one.eyes.until_well(SETTLE_WITHIN_S, 3.0)
    while time.monotonic() < ends and await _under_way(one.store):  # noqa: ASYNC110 - it is asked
        await asyncio.sleep(_POLL_S)


async def _under_way(store: Store) -> int:
    states = (ActionState.PENDING_SCHEDULE, ActionState.NEW, ActionState.RUNNING)
    try:
        return len(await store.find(Action, Where(action_states=states)))
    except ReplicoreError:
        return 1


async def _caught_up(store: Store) -> None:
    """Wait until every event is on the bus."""
    ends = time.monotonic() + SETTLE_WITHIN_S
    while time.monotonic() < ends:
        with contextlib.suppress(ReplicoreError):
            if (await store.outbox_size())[0] == 0:
                return
        await asyncio.sleep(_POLL_S)
