"""What flows need of a work queue: pointers to work, delivered soon, to one worker, at least once.

The truth about work is in the store. Losing, repeating or reordering pointers is therefore harmless: a lost one is sent
again by `enqueue`, a repeated one finds nothing to claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from blocks.models.base import Fact
from blocks.models.request import Pointer


class QueueStatus(Fact):
    """How the queue stands."""

    backlog: int
    """Pointers sent and not yet taken by any worker."""
    partitions: int
    members: int
    """Workers that take from it now."""


class WorkReceiver(Protocol):
    """One worker's end of the queue."""

    async def receive(self, limit: int, wait_s: float) -> list[Pointer]:
        """Take up to `limit` pointers, urgent ones first, waiting at most `wait_s` seconds for the first. A record that
        cannot be read is logged and passed over. What was received before counts as taken by the next call.

        Raises:
            DependencyUnavailableError: the queue cannot be reached; try again later, it recovers by itself.
        """

    async def close(self) -> None:
        """Leave at once, so that others take over without a wait."""


class WorkQueue(Protocol):
    """Both ends of the queue. Every call has a deadline of its own (a setting)."""

    async def ready(self) -> None:
        """Return when the queue answers.

        Raises:
            DependencyUnavailableError: it does not, within the deadline.
        """

    async def prepare(self) -> None:
        """Create topics and set the group's timeouts; harmless when repeated."""

    async def faults(self) -> list[str]:
        """In what the topics are not as they should be; one sentence each.

        Raises:
            DependencyUnavailableError: the queue does not answer.
        """

    async def send(self, pointers: Sequence[Pointer]) -> None:
        """Put pointers on the queue; returns when all are stored there.

        Raises:
            DependencyUnavailableError: some may not be; send them again.
        """

    async def receiver(self) -> WorkReceiver:
        """Join the workers that take from the queue."""

    async def status(self) -> QueueStatus:
        """How the queue stands."""
