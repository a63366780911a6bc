"""The event bus on Kafka: one topic, keyed by stream, CloudEvents in binary mode.

Guarantees: an id that `publish` returns belongs to an event stored by all in-sync replicas, behind all earlier ones of its
stream. A stream stays in one partition, so that whoever follows sees it in order, at least once. A record's Kafka
timestamp is the event's time: `since` finds it without reading what is older. Failure modes: brokers away = `publish`
fails within its deadline and `follow` waits, then goes on where it was; an event published again comes twice, its id tells.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

from blocks.connected import Connected
from blocks.errors import DependencyUnavailableError
from blocks.event_bus.cloudevent import NotOurEventError, read, write
from blocks.event_bus.settings import EventBusSettings
from blocks.kafka.admin import Admin
from blocks.kafka.producer import RECORD_BYTES_MAX, Sender
from blocks.kafka.reader import Reader
from blocks.kafka.records import Incoming, Outgoing, Partition, Topic, worth_a_line
from blocks.kafka.settings import Kafka
from blocks.models.event import Event

_READ_WAIT_S = 0.2
_AGAIN_S = (0.2, 1.0)
_FOREVER_MS = str(2**63 - 1)

_logger = logging.getLogger("replicore.event_bus")


class KafkaEventBus(Connected):
    """Both ends of the bus. Use it as `async with KafkaEventBus(kafka, settings) as bus`, or connect and close."""

    def __init__(self, kafka: Kafka, settings: EventBusSettings) -> None:
        self._kafka = kafka
        self._settings = settings
        self._admin = Admin(kafka)
        self._sender = Sender(kafka)

    async def connect(self) -> None:
        """Begin to connect, without waiting for the brokers: `ready` does that.

        Raises:
            InvalidInputError: the settings do not fit.
        """
        self._sender.open()

    async def close(self) -> None:
        """Send what is left, within the deadline, and let go of the brokers. Iterators of `follow` live on."""
        await self._sender.close()

    async def ready(self) -> None:
        """See `EventBus.ready`."""
        await self._admin.ready()

    async def prepare(self) -> None:
        """See `EventBus.prepare`. A topic that exists is left as it is."""
        await self._admin.create([self._topic()])

    async def faults(self) -> list[str]:
        """See `EventBus.faults`."""
        return await self._admin.faults([self._topic()])

    def _topic(self) -> Topic:
        settings = self._settings
        config = {
            "cleanup.policy": "delete",
            "retention.ms": str(round(settings.retention_days * 86_400_000)),
            "max.message.bytes": str(2 * RECORD_BYTES_MAX),
            "message.timestamp.type": "CreateTime",
            # an event from a host whose clock is ahead must not block its stream
            "message.timestamp.after.max.ms": _FOREVER_MS,
            "message.timestamp.before.max.ms": _FOREVER_MS,
        }
        return Topic(settings.topic, settings.partitions, settings.replication_factor, config)

    async def publish(self, events: Sequence[Event], *, within_s: float | None = None) -> list[str]:
        """See `EventBus.publish`."""
        sent, records, broken = self._written(events)
        unavailable: DependencyUnavailableError | None = None
        stored: list[str] = []
        for event, outcome in zip(sent, await self._sender.send(records, within_s), strict=True):
            if outcome is not None:
                unavailable = unavailable or outcome
                broken.setdefault(event.stream, outcome)
            elif event.stream not in broken:
                stored.append(event.event_id)
        if unavailable is not None and not stored:
            raise unavailable
        if broken:
            text = "%d of %d events were not published: %s"
            _logger.warning(text, len(events) - len(stored), len(events), next(iter(broken.values())))
        return stored

    def _written(self, events: Sequence[Event]) -> tuple[list[Event], list[Outgoing], dict[str, Exception]]:
        """Events with their records, up to the first of each stream that cannot be written, and why it cannot."""
        settings = self._settings
        sent: list[Event] = []
        records: list[Outgoing] = []
        broken: dict[str, Exception] = {}
        for event in events:
            if event.stream in broken:
                continue
            try:
                records.append(write(event, settings.topic, settings.data_bytes_max))
            except ValueError as error:
                broken[event.stream] = error
            else:
                sent.append(event)
        return sent, records, broken

    async def recorded(self, since: datetime) -> AsyncGenerator[list[Event], None]:
        """See `EventBus.recorded`. Gives up when nothing comes for as long as a request may take."""
        starts = await self._admin.starts(self._settings.topic, since)
        ends = await self._admin.ends([self._settings.topic])
        left = {partition: ends[partition] for partition, start in starts.items() if start < ends[partition]}
        if not left:
            return
        reader = Reader(self._kafka, f"{self._kafka.client_id}-recorded", {each: starts[each] for each in left})
        foreign, loop = _Foreign(), asyncio.get_running_loop()
        deadline = loop.time() + self._kafka.request_timeout_s
        try:
            while left:
                records = await reader.read(_READ_WAIT_S)
                if records:
                    deadline = loop.time() + self._kafka.request_timeout_s
                elif loop.time() > deadline:
                    raise reader.health.unavailable(self._kafka)
                yield [event for each in records if (event := foreign.sift(each)) is not None and event.time >= since]
                for record in records:
                    if record.offset + 1 >= left.get(record.partition, record.offset + 2):
                        del left[record.partition]
        finally:
            await reader.close()

    async def follow(self, since: datetime | None = None) -> AsyncGenerator[Event, None]:
        """See `EventBus.follow`. Where to start is found out when the first event is asked for."""
        reader = Reader(self._kafka, f"{self._kafka.client_id}-follow", await self._starts(since))
        foreign = _Foreign()
        try:
            while True:
                for record in await reader.read(_READ_WAIT_S):
                    event = foreign.sift(record)
                    if event is not None and (since is None or event.time >= since):
                        yield event
        finally:
            await reader.close()

    async def _starts(self, since: datetime | None) -> dict[Partition, int]:
        """Where to start, as soon as the brokers tell; asked again with jitter while they are away."""
        said = False
        while True:
            try:
                if since is None:
                    return await self._admin.ends([self._settings.topic])
                return await self._admin.starts(self._settings.topic, since)
            except DependencyUnavailableError as error:
                if not said:
                    _logger.warning("events cannot be followed yet: %s", error)
                    said = True
                await asyncio.sleep(random.uniform(*_AGAIN_S))  # noqa: S311 - no secret


class _Foreign:
    """Counts records that are not ours and mentions them less and less often."""

    def __init__(self) -> None:
        self._count = 0

    def sift(self, record: Incoming) -> Event | None:
        """The event in a record, None when there is none."""
        try:
            return read(record)
        except NotOurEventError as error:
            self._count += 1
            if worth_a_line(self._count):
                text = "passed over a record that is not one of our events: %s, offset %d, %s (%d such records so far)"
                _logger.warning(text, record.partition, record.offset, error, self._count)
            return None
