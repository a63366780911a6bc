"""What flows need of an event bus: events sent in the order of their stream, at least once, for anyone to follow.

Events travel as CloudEvents 1.0 in Kafka's binary mode, keyed by stream. A consumer drops a copy by its id.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Protocol

from blocks.models.event import Event


class EventBus(Protocol):
    """Both ends of the bus. Every call has a deadline of its own (a setting)."""

    async def ready(self) -> None:
        """Return when the bus answers.

        Raises:
            DependencyUnavailableError: it does not, within the deadline.
        """

    async def prepare(self) -> None:
        """Create the topic; harmless when repeated."""

    async def faults(self) -> list[str]:
        """In what the topic is not as it should be; one sentence each.

        Raises:
            DependencyUnavailableError: the bus does not answer.
        """

    async def publish(self, events: Sequence[Event], *, within_s: float | None = None) -> list[str]:
        """Send events in the given order; returns the ids of those that are stored on the bus for good.

        When one of a stream fails, the later ones of that stream are not counted as sent either; other streams are not
        touched. An event whose data is too big for the bus or cannot be written travels without it, its data being
        `{"omitted_bytes": N}`: the history has the data. `within_s` is the deadline in seconds, where another one than the
        setting's is wanted.

        Raises:
            DependencyUnavailableError: not one of them is stored, and the bus is why; says why.
        """

    def recorded(self, since: datetime) -> AsyncGenerator[list[Event], None]:
        """The events that are on the bus now, in pieces: those whose time is `since` or later, each stream in its order.
        Unlike `follow`, it ends with the last of them.

        Raises:
            DependencyUnavailableError: the bus does not answer.
        """

    def follow(self, since: datetime | None = None) -> AsyncGenerator[Event, None]:
        """Events as they come, those of a stream in order, until the generator is closed (`contextlib.aclosing`).

        Begins with the first event whose time is `since` or later; None: with what comes from now on, now being when the
        first event is asked for. A record that is not one of our events is passed over. Survives an absence of the bus.
        """
