"""The work queue on Kafka: two topics and one consumer group (KIP-848).

Guarantees: a pointer that `send` was told is stored reaches some worker at least once. Urgent pointers (a person's too)
travel in a topic of their own, which every worker takes from first: they overtake any backlog of routine ones, with one
consumer per worker. Pointers have no key: sent again, one lands in another partition, and so does not wait twice behind a
slow worker. Failure modes: brokers away = `send`, `ready` and `status` fail within their deadlines, `receive` too, and the
latter recovers by itself; a worker killed = the others get its partitions after `session_timeout_s`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import orjson
from pydantic import ValidationError

from blocks.connected import Connected
from blocks.kafka.admin import Admin
from blocks.kafka.group import GroupConsumer
from blocks.kafka.producer import Sender
from blocks.kafka.records import Incoming, Outgoing, Topic, worth_a_line
from blocks.kafka.settings import Kafka
from blocks.models.request import Pointer, Priority
from blocks.work_queue.protocol import QueueStatus
from blocks.work_queue.settings import WorkQueueSettings

_logger = logging.getLogger("replicore.work_queue")


class KafkaWorkReceiver:
    """One worker's membership in the consumer group."""

    def __init__(self, consumer: GroupConsumer, settings: WorkQueueSettings) -> None:
        self._consumer = consumer
        self._settings = settings
        self._unreadable = 0
        self.closed = False

    async def receive(self, limit: int, wait_s: float) -> list[Pointer]:
        """See `WorkReceiver.receive`."""
        records = await self._consumer.take(limit, wait_s)
        pointers = [pointer for record in records if (pointer := self._read(record)) is not None]
        return sorted(pointers, key=lambda pointer: pointer.priority)

    def _read(self, record: Incoming) -> Pointer | None:
        try:
            return Pointer.model_validate_json(record.value)
        except ValidationError as error:
            self._unreadable += 1
            if worth_a_line(self._unreadable):
                text = "passed over a record that is no pointer: %s, offset %d, %d faults (%d such records so far)"
                _logger.warning(text, record.partition, record.offset, error.error_count(), self._unreadable)
            return None

    async def close(self) -> None:
        """See `WorkReceiver.close`."""
        self.closed = True
        await self._consumer.close(self._settings.close_within_s)


class KafkaWorkQueue(Connected):
    """Both ends of the queue. Use it as `async with KafkaWorkQueue(kafka, settings) as queue`, or connect and close."""

    def __init__(self, kafka: Kafka, settings: WorkQueueSettings) -> None:
        self._kafka = kafka
        self._settings = settings
        self._admin = Admin(kafka)
        self._sender = Sender(kafka)
        self._receivers: list[KafkaWorkReceiver] = []

    async def connect(self) -> None:
        """Begin to connect, without waiting for the brokers: `ready` does that.

        Raises:
            InvalidInputError: the settings do not fit.
        """
        self._sender.open()

    async def close(self) -> None:
        """Leave the group, send what is left, and let go of the brokers, all within deadlines."""
        receivers, self._receivers = self._receivers, []
        for receiver in receivers:
            await receiver.close()
        await self._sender.close()

    async def ready(self) -> None:
        """See `WorkQueue.ready`."""
        await self._admin.ready()

    async def prepare(self) -> None:
        """See `WorkQueue.prepare`. Topics that exist are left as they are."""
        settings = self._settings
        await self._admin.create(self._topics())
        await self._admin.configure_group(
            settings.group,
            [  # the other order is refused: a session must be longer than a heartbeat
                ("consumer.heartbeat.interval.ms", str(round(settings.heartbeat_s * 1_000))),
                ("consumer.session.timeout.ms", str(round(settings.session_timeout_s * 1_000))),
            ],
        )

    async def faults(self) -> list[str]:
        """See `WorkQueue.faults`."""
        return await self._admin.faults(self._topics())

    def _topics(self) -> list[Topic]:
        settings = self._settings
        config = {
            "cleanup.policy": "delete",
            "retention.ms": str(round(settings.retention_hours * 3_600_000)),
            "message.timestamp.type": "LogAppendTime",
        }
        return [
            Topic(name, settings.partitions, settings.replication_factor, config)
            for name in (settings.topic, settings.urgent_topic)
        ]

    async def send(self, pointers: Sequence[Pointer]) -> None:
        """See `WorkQueue.send`."""
        for error in await self._sender.send([self._written(pointer) for pointer in pointers]):
            if error is not None:
                raise error

    def _written(self, pointer: Pointer) -> Outgoing:
        urgent = pointer.priority < Priority.ROUTINE
        topic = self._settings.urgent_topic if urgent else self._settings.topic
        return Outgoing(topic, orjson.dumps(pointer.model_dump(mode="json")))

    async def receiver(self) -> KafkaWorkReceiver:
        """See `WorkQueue.receiver`. Does not wait for the brokers: `receive` does."""
        settings = self._settings
        topics = (settings.urgent_topic, settings.topic)
        self._receivers = [each for each in self._receivers if not each.closed]
        receiver = KafkaWorkReceiver(GroupConsumer(self._kafka, settings.group, topics, settings.buffer_max), settings)
        self._receivers.append(receiver)
        return receiver

    async def status(self) -> QueueStatus:
        """See `WorkQueue.status`.

        Raises:
            DependencyUnavailableError: the brokers do not answer within the deadline.
        """
        settings = self._settings
        backlog, partitions = await self._admin.backlog(settings.group, (settings.topic, settings.urgent_topic))
        return QueueStatus(backlog=backlog, partitions=partitions, members=await self._admin.members(settings.group))
