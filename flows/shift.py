"""What a shift is made of: presence (a seat, a worker's name), the consumer of work, and the duties."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from blocks.agents.protocol import Agents
from blocks.coordinator.protocol import Claim, ClaimKind, Coordinator
from blocks.errors import BusyError, DependencyUnavailableError
from blocks.event_bus.protocol import EventBus
from blocks.fleet import Workers
from blocks.metrics.protocol import Metrics, NoMetrics
from blocks.models.base import Fact
from blocks.runs.protocol import Runs
from blocks.secrets.protocol import Secrets
from blocks.sources.protocol import Sources
from blocks.store.protocol import Store
from blocks.work_queue.protocol import WorkQueue
from flows.consume import Consumer
from flows.degraded import Degraded
from flows.duties import Duty, duties
from flows.measured import MeasuredAgents, MeasuredBus
from flows.waits import pause
from flows.watch import Watch
from tasks.cluster_actions.base import Outside

STANDBY = "standby"
PRESENCE_EVERY_S = 0.5
AGAIN_S = 1.0

_logger = logging.getLogger("replicore.shift")


class ShiftReport(Fact):
    """What a shift came to."""

    outcome: str
    """`worked`, `no free seat`, `stopped while waiting` or `seat lost`."""
    worker: str
    seat: str | None = None
    seconds: float = 0.0
    items: int = 0
    """Work items that it ran."""
    failures: int = 0
    """Those of them that failed."""
    probes: int = 0
    """Cheap probes of nodes that it sent."""


@dataclass(slots=True)
class Shift:
    """One worker's time at work."""

    coordinator: Coordinator
    store: Store
    queue: WorkQueue
    bus: EventBus
    agents: Agents
    sources: Sources
    runs: Runs
    secrets: Secrets
    settings: Workers
    clock: Callable[[], datetime]
    outside: Outside
    """What actions on clusters reach."""
    stop: asyncio.Event
    """Set to end the shift early; it hands over and returns."""
    patience_s: float = 0.0
    """How long to wait while everything is taken, in seconds."""
    metrics: Metrics = field(default_factory=NoMetrics)
    _held: dict[ClaimKind, Claim] = field(default_factory=dict)

    async def work(self) -> ShiftReport:
        """Take a seat (waiting as standby if need be), work until the shift ends, hand everything back."""
        begun = time.monotonic()
        deadline = begun + self.settings.shift_s
        try:
            outcome = await self._seated(deadline)
            if outcome is not None:
                return ShiftReport(outcome=outcome, worker=self.coordinator.worker, seconds=time.monotonic() - begun)
            return await self._on_duty(begun)
        finally:
            self.metrics.shift(None)
            await self.coordinator.give_back(list(self._held.values()))

    async def _seated(self, deadline: float) -> str | None:
        """Why there is no seat for us; None once we have one."""
        patient_until = time.monotonic() + self.patience_s
        while not self.stop.is_set():
            if await self._take_seat():
                await self._give_back(ClaimKind.STANDBY)
                return None
            if ClaimKind.STANDBY not in self._held:
                try:
                    standby = await self.coordinator.take(ClaimKind.STANDBY, STANDBY, "waits for a seat")
                except BusyError:
                    if time.monotonic() >= min(patient_until, deadline):
                        return "no free seat"
                    await pause(self.stop, AGAIN_S)
                    continue
                self._held[ClaimKind.STANDBY] = standby
                self.metrics.shift("standby")
                continue
            if time.monotonic() >= deadline:
                return "no free seat"
            await self._until_seats_change(min(5.0, deadline - time.monotonic()))
            if self.coordinator.connected and self.coordinator.remaining_s(self._held[ClaimKind.STANDBY]) <= 0:
                del self._held[ClaimKind.STANDBY]
        return "stopped while waiting"

    async def _until_seats_change(self, wait_s: float) -> None:
        change = asyncio.ensure_future(self.coordinator.wait_change(ClaimKind.SEAT, max(0.1, wait_s)))
        stop = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({change, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in (change, stop):
                waiter.cancel()
                with contextlib.suppress(asyncio.CancelledError, DependencyUnavailableError):
                    await waiter

    async def _take_seat(self) -> bool:
        for number in range(self.settings.seats):
            with contextlib.suppress(BusyError, DependencyUnavailableError):
                self._held[ClaimKind.SEAT] = await self.coordinator.take(ClaimKind.SEAT, f"seat-{number}", "works")
                return True
        return False

    async def _on_duty(self, begun: float) -> ShiftReport:
        # From the seat on: a standby may have waited for most of its time, and is still a full shift's worker.
        ends = time.monotonic() + self.settings.shift_s
        worker = self.coordinator.worker
        self._held[ClaimKind.WORKER] = await self.coordinator.take(ClaimKind.WORKER, worker, "works", wait_s=5.0)
        self.metrics.shift("working")
        agents = self._agents()
        degraded = Degraded(self.store, self.clock, worker, self.metrics)
        consumer = Consumer(
            coordinator=self.coordinator,
            store=self.store,
            queue=self.queue,
            agents=agents,
            sources=self.sources,
            settings=self.settings,
            clock=self.clock,
            degraded=degraded,
            outside=self.outside,
            secrets=self.secrets,
            metrics=self.metrics,
        )
        watch = Watch(self.coordinator, self.store, self.queue, agents, self.clock, self.metrics)
        seat = self._held[ClaimKind.SEAT].name
        over = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._until(over, ends))
                group.create_task(self._stay_present(over))
                group.create_task(consumer.run(over))
                group.create_task(watch.run(over))
                for duty in self._duties(consumer, degraded):
                    group.create_task(duty.run(over, degraded))
        finally:
            await self._release(worker)
        return ShiftReport(
            outcome="worked" if ClaimKind.SEAT in self._held else "seat lost",
            worker=worker,
            seat=seat,
            seconds=round(time.monotonic() - begun, 1),
            items=consumer.items,
            failures=consumer.failures,
            probes=watch.probes,
        )

    def _agents(self) -> Agents:
        return self.agents if isinstance(self.metrics, NoMetrics) else MeasuredAgents(self.agents, self.metrics)

    def _duties(self, consumer: Consumer, degraded: Degraded) -> tuple[Duty, ...]:
        return duties(
            self.coordinator,
            self.store,
            self.queue,
            self.bus if isinstance(self.metrics, NoMetrics) else MeasuredBus(self.bus, self.metrics),
            self.runs,
            self.secrets,
            self.clock,
            consumer.nudge,
            degraded,
            self.sources,
            self.metrics,
        )

    async def _release(self, worker: str) -> None:
        try:
            await self.store.release_work(worker, self.clock())
        except DependencyUnavailableError as error:
            _logger.warning("claimed work could not be given back, sweep will do it: %s", error)

    async def _until(self, over: asyncio.Event, ends: float) -> None:
        waiters = {asyncio.ensure_future(self.stop.wait()), asyncio.ensure_future(over.wait())}
        try:
            left_s = max(0.0, ends - time.monotonic())
            await asyncio.wait(waiters, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
        over.set()

    async def _stay_present(self, over: asyncio.Event) -> None:
        """After a lost session take seat and name again; when somebody else has the seat, the shift is over."""
        while not over.is_set():
            for kind in (ClaimKind.SEAT, ClaimKind.WORKER):
                claim = self._held.get(kind)
                if claim is None or not self.coordinator.connected or self.coordinator.remaining_s(claim) > 0:
                    continue
                try:
                    if not await self.coordinator.confirm(claim):
                        self.metrics.lost(kind.value)
                        self._held[kind] = await self.coordinator.take(kind, claim.name, "works")
                except BusyError as error:
                    _logger.warning("the shift ends: %s", error)
                    del self._held[kind]
                    over.set()
                except DependencyUnavailableError as error:
                    _logger.warning("presence is in doubt: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PRESENCE_EVERY_S):
                    await over.wait()

    async def _give_back(self, kind: ClaimKind) -> None:
        claim = self._held.pop(kind, None)
        if claim is not None:
            await self.coordinator.give_back([claim])
