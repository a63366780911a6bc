"""Duties as loops: whoever takes a duty's claim does it; the others wait for the claim to go and take over at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from blocks.coordinator.protocol import Claim, ClaimKind, Coordinator
from blocks.errors import BusyError, DependencyUnavailableError, TransientError
from blocks.event_bus.protocol import EventBus
from blocks.metrics.protocol import Metrics, NoMetrics
from blocks.runs.protocol import Runs
from blocks.secrets.protocol import Secrets
from blocks.sources.protocol import Sources
from blocks.store.protocol import Store
from blocks.work_queue.protocol import WorkQueue
from flows.dead_work import Untellable
from flows.degraded import Degraded, DegradedMode, mode_of
from flows.relay import DUTY as RELAY
from flows.steps import Steps
from flows.sweep import sweep_once
from flows.waits import pause
from tasks.duties import Files, Relay, Swept, ask_changed_files, enqueue_due, relay_events
from tasks.hold import forgotten

ENQUEUE_EVERY_S = 0.5
RELAY_EVERY_S = 0.5
SWEEP_EVERY_S = 2.0
THOROUGH_EVERY_S = 30.0
"""Mending the timetable and asking Prefect for zombies costs more, and is done so often."""
THOROUGH_AGAIN_S = 5.0
"""The same after it failed: a frozen Prefect must not hold up the saving of orphaned work."""
AGAIN_S = 1.0
FAILURES_MAX = 5
"""After so many failures in a row the duty is given back, so that another worker may have better luck."""

_logger = logging.getLogger("replicore.duties")


@dataclass(slots=True)
class Duty:
    """One duty as done by one worker."""

    name: str
    every_s: float
    coordinator: Coordinator
    turn: Callable[[], Awaitable[bool]]
    """One turn; True when another is due at once."""
    nudge: asyncio.Event | None = None
    """Set when a turn is due at once."""
    proves: tuple[DegradedMode, ...] = ()
    """Modes that are over when a turn succeeds."""
    tells: tuple[DegradedMode, ...] = ()
    """Modes that only whoever does the duty knows of: left with it, for the next one to tell."""
    metrics: Metrics = field(default_factory=NoMetrics)

    async def run(self, over: asyncio.Event, degraded: Degraded) -> None:
        """Take the duty whenever it is free, and do it until the shift is over."""
        while not over.is_set():
            try:
                claim = await self.coordinator.take(ClaimKind.DUTY, self.name, "does it")
            except BusyError:
                await self._until_free(over)
                continue
            except DependencyUnavailableError as error:
                await degraded.enter(DegradedMode.NO_COORDINATOR, error)
                await pause(over, AGAIN_S)
                continue
            self.metrics.duty(self.name, held=True)
            try:
                await self._do(over, claim, degraded)
            finally:
                self.metrics.duty(self.name, held=False)
                if self.coordinator.remaining_s(claim) <= 0:
                    self.metrics.lost(ClaimKind.DUTY.value)
                await self.coordinator.give_back([claim])
                for mode in self.tells:
                    await degraded.leave(mode)
            await pause(over, AGAIN_S)

    async def _until_free(self, over: asyncio.Event) -> None:
        gone = asyncio.ensure_future(self.coordinator.wait_gone(ClaimKind.DUTY, self.name, 10.0))
        ended = asyncio.ensure_future(over.wait())
        try:
            await asyncio.wait({gone, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in (gone, ended):
                waiter.cancel()
                with contextlib.suppress(asyncio.CancelledError, DependencyUnavailableError):
                    await waiter

    async def _do(self, over: asyncio.Event, claim: Claim, degraded: Degraded) -> None:
        failures = 0
        while not over.is_set() and failures < FAILURES_MAX and self.coordinator.remaining_s(claim) > 0:
            at_once = False
            try:
                at_once = await self._turn()
                failures = 0
                for mode in self.proves:
                    await degraded.leave(mode)
            except DependencyUnavailableError as error:
                failures += 1
                await degraded.enter(mode_of(error), error)
                await pause(over, AGAIN_S)
            except TransientError as error:
                failures += 1
                _logger.warning("%s: %s", self.name, error)
            except Exception:
                failures += 1
                _logger.exception("%s failed unexpectedly", self.name)
            if not at_once:
                await self._wait(over)

    async def _turn(self) -> bool:
        begun, failed = time.monotonic(), True
        try:
            at_once = await self.turn()
            failed = False
        finally:
            self.metrics.turned(self.name, time.monotonic() - begun, failed=failed)
        return at_once

    async def _wait(self, over: asyncio.Event) -> None:
        if self.nudge is None:
            await pause(over, self.every_s)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.every_s):
                await self.nudge.wait()
        self.nudge.clear()


def duties(
    coordinator: Coordinator,
    store: Store,
    queue: WorkQueue,
    bus: EventBus,
    runs: Runs,
    secrets: Secrets,
    clock: Callable[[], datetime],
    nudge: asyncio.Event,
    degraded: Degraded,
    sources: Sources,
    metrics: Metrics | None = None,
) -> tuple[Duty, ...]:
    """The three duties."""
    thorough_at = clock()
    aside, files, untellable = Relay(), Files(), Untellable()
    metrics = metrics if metrics is not None else NoMetrics()

    async def enqueue() -> bool:
        if (await enqueue_due.fn(store, queue, clock())).sent:
            await degraded.leave(DegradedMode.NO_QUEUE)
        return False

    async def relay() -> bool:
        relayed = await relay_events.fn(store, bus, aside, clock())
        if relayed.published:
            await degraded.leave(DegradedMode.NO_QUEUE)
        return relayed.waiting

    async def sweep() -> bool:
        nonlocal thorough_at
        thorough = clock() >= thorough_at
        if thorough:
            thorough_at = clock() + timedelta(seconds=THOROUGH_AGAIN_S)
            if (why := await forgotten(coordinator, store)) is None:
                await degraded.leave(DegradedMode.COORDINATOR_WIPED)
            else:
                await degraded.enter(DegradedMode.COORDINATOR_WIPED, why)
        swept, prefect_away = await _but_for_prefect(
            sweep_once(coordinator, store, runs, secrets, clock, Steps(), thorough=thorough, untellable=untellable)
        )
        await ask_changed_files.fn(store, queue, sources, files, clock())  # a disk may hang: last
        if prefect_away is not None:
            raise prefect_away
        if thorough:
            thorough_at = clock() + timedelta(seconds=THOROUGH_EVERY_S)
            await degraded.leave(DegradedMode.NO_PREFECT)
        return swept.removing

    return (
        Duty("enqueue", ENQUEUE_EVERY_S, coordinator, enqueue, None, (DegradedMode.NO_STORE,), (), metrics),
        Duty(RELAY, RELAY_EVERY_S, coordinator, relay, nudge, (), (), metrics),
        Duty(
            "sweep",
            SWEEP_EVERY_S,
            coordinator,
            sweep,
            None,
            (DegradedMode.NO_STORE, DegradedMode.NO_COORDINATOR),
            (DegradedMode.COORDINATOR_WIPED,),
            metrics,
        ),
    )


async def _but_for_prefect(turn: Awaitable[Swept]) -> tuple[Swept, DependencyUnavailableError | None]:
    """A turn of `sweep`, and that Prefect was away: what else there is to do is done first.

    Raises:
        DependencyUnavailableError: the store or the coordinator is gone.
    """
    try:
        return await turn, None
    except DependencyUnavailableError as error:
        if mode_of(error) is not DegradedMode.NO_PREFECT:
            raise
        return Swept(), error
