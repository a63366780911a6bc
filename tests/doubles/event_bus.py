"""An event bus in memory: one process, one log, the same promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

from blocks.errors import DependencyUnavailableError
from blocks.event_bus.cloudevent import travelling
from blocks.models.event import Event


class FakeEventBus:
    """Set `down` to make it unreachable, fill `refused` with streams to make those fail."""

    def __init__(self, data_bytes_max: int = 524_288) -> None:
        self.refused: set[str] = set()
        self.prepared = 0
        self.wrong: list[str] = []
        self.published: list[float | None] = []
        """The deadlines asked for, one for each call of `publish`."""
        self.log: list[Event | bytes] = []
        """Everything ever sent, in order; bytes are records that are not our events."""
        self._down = False
        self._data_bytes_max = data_bytes_max
        self._changed = asyncio.Event()

    @property
    def events(self) -> list[Event]:
        """The events on the bus, in order."""
        return [record for record in self.log if isinstance(record, Event)]

    @property
    def down(self) -> bool:
        """Whether it is unreachable."""
        return self._down

    @down.setter
    def down(self, down: bool) -> None:
        self._down = down
        self._wake()

    async def ready(self) -> None:
        """See `EventBus.ready`."""
        if self.down:
            raise _unavailable()

    async def prepare(self) -> None:
        """See `EventBus.prepare`."""
        await self.ready()
        self.prepared += 1

    async def faults(self) -> list[str]:
        """See `EventBus.faults`."""
        await self.ready()
        return self.wrong

    async def publish(self, events: Sequence[Event], *, within_s: float | None = None) -> list[str]:
        """See `EventBus.publish`."""
        self.published.append(within_s)
        await self.ready()
        broken = {event.stream for event in events if not _writable(event)}
        good = [event for event in events if event.stream not in self.refused and event.stream not in broken]
        if not good and any(event.stream in self.refused for event in events):
            raise _unavailable()
        self.put([self._travelling(event) for event in good])
        return [event.event_id for event in good]

    def put(self, records: Sequence[Event | bytes]) -> None:
        """Put records on the bus, events or not."""
        self.log.extend(records)
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _travelling(self, event: Event) -> Event:
        data, _ = travelling(event.data, self._data_bytes_max)
        return event.evolve(data=data, published=True)

    async def recorded(self, since: datetime) -> AsyncGenerator[list[Event], None]:
        """See `EventBus.recorded`."""
        await self.ready()
        yield [event for event in self.events if event.time >= since]

    async def follow(self, since: datetime | None = None) -> AsyncGenerator[Event, None]:
        """See `EventBus.follow`."""
        at = len(self.log) if since is None else 0
        while True:
            changed = self._changed
            if not self.down:
                while at < len(self.log):
                    record = self.log[at]
                    at += 1
                    if isinstance(record, Event) and (since is None or record.time >= since):
                        yield record
            await changed.wait()


def _writable(event: Event) -> bool:
    try:
        f"{event.stream}{event.subject}{event.type}".encode()
    except ValueError:
        return False
    return True


def _unavailable() -> DependencyUnavailableError:
    return DependencyUnavailableError("Kafka", "memory", "it is down", "Set `down` to False.")
