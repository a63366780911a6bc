"""Reading partitions without a group: one thread that owns the consumer and works only when asked.

Nothing is fetched from the client's bounded queue while nobody asks, so a slow reader costs no memory. The client connects
again by itself; `read` then simply finds nothing for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import Consumer, KafkaException, TopicPartition

from blocks.kafka.group import incoming
from blocks.kafka.health import Health, refused
from blocks.kafka.records import Incoming, Partition
from blocks.kafka.settings import Kafka

_LIMIT_MAX = 1_000
_CLOSE_WITHIN_S = 5.0


class Reader:
    """Reads partitions from given offsets on; for one caller at a time."""

    def __init__(self, kafka: Kafka, name: str, positions: Mapping[Partition, int]) -> None:
        self.health = Health()
        config = {
            **kafka.client(),
            "group.id": name,  # asked for by the library, never joined
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "queued.min.messages": 1_000,
            "queued.max.messages.kbytes": 4_096,
            "fetch.wait.max.ms": 200,  # the first fetch begins with only some partitions, and would wait on them
            "fetch.queue.backoff.ms": 50,
            "fetch.error.backoff.ms": 200,
            "error_cb": self.health.error,
        }
        try:
            self._consumer = Consumer(config, logger=self.health)
        except KafkaException as error:
            raise refused(kafka, error) from None
        self._consumer.assign([TopicPartition(*each, offset) for each, offset in positions.items()])
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-reader")

    async def read(self, wait_s: float) -> list[Incoming]:
        """The next records, in the order of each partition, waiting at most `wait_s` seconds for the first."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, wait_s)

    def _read(self, wait_s: float) -> list[Incoming]:
        first = self._consumer.poll(wait_s)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(_LIMIT_MAX - 1, 0)]
        for error in filter(None, (message.error() for message in messages)):
            self.health.error(error)
        return [incoming(message) for message in messages if message.error() is None]

    async def close(self) -> None:
        """Let go of the brokers and the thread."""
        closed = asyncio.get_running_loop().run_in_executor(self._thread, self._consumer.close)
        self._thread.shutdown(wait=False)
        await asyncio.wait([closed], timeout=_CLOSE_WITHIN_S)
