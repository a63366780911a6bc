"""Degraded modes: named, told of when entered and when left, never silent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

from blocks.errors import DependencyUnavailableError
from blocks.metrics.protocol import Metrics, NoMetrics
from blocks.models.event import SYSTEM_STREAM, EventDraft, EventType
from blocks.models.record import Change
from blocks.store.protocol import Store

_logger = logging.getLogger("replicore.degraded")


class DegradedMode(StrEnum):
    """What goes on without a dependency."""

    NO_COORDINATOR = "ZooKeeper is away: no work is claimed, no action is sent"
    NO_QUEUE = "Kafka is away: work is claimed straight from MongoDB, events wait in the outbox"
    NO_STORE = "MongoDB is away: nothing is decided, everything is tried again"
    COORDINATOR_WIPED = "ZooKeeper lost its data: no lock of it counts, nothing is looked at or done until `replictl admin coordinator-reset`"
    NO_PREFECT = "Prefect is away: running shifts go on, none can be started"


def mode_of(error: DependencyUnavailableError) -> DegradedMode:
    """The mode in which a server that is away puts us."""
    match error.component:
        case "MongoDB":
            return DegradedMode.NO_STORE
        case "ZooKeeper":
            return DegradedMode.NO_COORDINATOR
        case "Prefect":
            return DegradedMode.NO_PREFECT
        case _:
            return DegradedMode.NO_QUEUE


class Degraded:
    """The degraded modes that this worker is in."""

    def __init__(
        self, store: Store, clock: Callable[[], datetime], worker: str, metrics: Metrics | None = None
    ) -> None:
        """Start in none."""
        self._metrics = metrics if metrics is not None else NoMetrics()
        for mode in DegradedMode:
            self._metrics.degraded(mode.name, on=False)
        self._worker = worker
        self._store = store
        self._clock = clock
        self._modes: dict[DegradedMode, datetime] = {}
        self._untold: list[EventDraft] = []

    async def enter(self, mode: DegradedMode, error: Exception | str) -> None:
        """A dependency is away; told once."""
        if mode not in self._modes:
            self._modes[mode] = self._clock()
            self._metrics.degraded(mode.name, on=True)
            _logger.warning("degraded: %s (%s)", mode.value, error)
            self._untold.append(_draft(EventType.DEGRADED_ENTERED, mode, self._worker, str(error)))
        await self._tell()

    async def leave(self, mode: DegradedMode) -> None:
        """It is back; told once."""
        if mode in self._modes:
            seconds = (self._clock() - self._modes.pop(mode)).total_seconds()
            self._metrics.degraded(mode.name, on=False)
            _logger.warning("no longer degraded after %.1f s: %s", seconds, mode.value)
            self._untold.append(_draft(EventType.DEGRADED_LEFT, mode, self._worker, f"after {seconds:.1f} s"))
        await self._tell()

    async def _tell(self) -> None:
        """Say what is unsaid as soon as the store takes it."""
        if not self._untold:
            return
        drafts, self._untold = self._untold, []
        try:
            await self._store.commit(Change(drafts=tuple(drafts)), now=self._clock())
        except DependencyUnavailableError:
            self._untold = drafts[-100:] + self._untold


def _draft(type_: EventType, mode: DegradedMode, worker: str, detail: str) -> EventDraft:
    data = {"mode": mode.name, "meaning": mode.value, "worker": worker, "detail": detail}
    return EventDraft(type=type_, stream=SYSTEM_STREAM, subject="replicore", data=dict(data))
