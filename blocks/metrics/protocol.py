"""What flows tell of themselves, in their own words; a metric's name is the adapter's business.

No call waits, fails or allocates much: metrics never stand in the way of what they measure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from blocks.models.report import Report
from blocks.models.request import Ended, Request


class Metrics(Protocol):
    """Where a worker counts. Durations in seconds."""

    def looked(self, outcome: str, seconds: float) -> None:
        """A look at a node ended `complete`, `partial` or `failed`."""

    def probed(self, seconds: float, *, answered: bool) -> None:
        """A probe of a node ended."""

    def missed(self, *, on_time: bool) -> None:
        """A probe brought no answer; not on time: because of us."""

    def stalled(self) -> None:
        """This process was paused or starved."""

    def escalated(self, cause: str) -> None:
        """The watch saw something: `silent`, `back`, `node` or `shards`."""

    def watching(self, nodes: int) -> None:
        """So many nodes are this worker's share now."""

    def cycled(self, report: Report, *, transient: bool) -> None:
        """A cluster's cycle ended."""

    def discovered(self, outcome: str, seconds: float | None = None) -> None:
        """A source was asked: `success`, `failed` or `busy`."""

    def started(self, request: Request) -> None:
        """A work item was claimed."""

    def ended(self, kind: str, ended: Ended) -> None:
        """A work item ended."""

    def published(self, types: Iterable[str]) -> None:
        """Events of these types are on the bus."""

    def shift(self, state: str | None) -> None:
        """This shift is `working` or `standby`; None: neither."""

    def duty(self, name: str, *, held: bool) -> None:
        """This worker has the duty, or has it no more."""

    def turned(self, duty: str, seconds: float, *, failed: bool) -> None:
        """A turn of a duty ended."""

    def degraded(self, mode: str, *, on: bool) -> None:
        """This worker is in that degraded mode, or is not."""

    def lost(self, kind: str) -> None:
        """A claim of that kind was lost."""


class NoMetrics:
    """Nobody wants to know. Costs a call that does nothing."""

    def looked(self, outcome: str, seconds: float) -> None:
        """Nothing."""

    def probed(self, seconds: float, *, answered: bool) -> None:
        """Nothing."""

    def missed(self, *, on_time: bool) -> None:
        """Nothing."""

    def stalled(self) -> None:
        """Nothing."""

    def escalated(self, cause: str) -> None:
        """Nothing."""

    def watching(self, nodes: int) -> None:
        """Nothing."""

    def cycled(self, report: Report, *, transient: bool) -> None:
        """Nothing."""

    def discovered(self, outcome: str, seconds: float | None = None) -> None:
        """Nothing."""

    def started(self, request: Request) -> None:
        """Nothing."""

    def ended(self, kind: str, ended: Ended) -> None:
        """Nothing."""

    def published(self, types: Iterable[str]) -> None:
        """Nothing."""

    def shift(self, state: str | None) -> None:
        """Nothing."""

    def duty(self, name: str, *, held: bool) -> None:
        """Nothing."""

    def turned(self, duty: str, seconds: float, *, failed: bool) -> None:
        """Nothing."""

    def degraded(self, mode: str, *, on: bool) -> None:
        """Nothing."""

    def lost(self, kind: str) -> None:
        """Nothing."""
