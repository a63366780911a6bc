"""Sending records from asyncio: the plain producer of librdkafka, one thread that serves it, futures for the callers.

Guarantees: what `send` reports as stored is stored by all in-sync replicas. Among the records of one key, nothing is
stored behind one that failed: a producer that misses a deadline is emptied as a whole and replaced, and `librdkafka` never
gives up a single record by itself (`message.timeout.ms=0`); only a record that the brokers refuse for good may leave a
gap. Failure modes: what is reported as failed may still
be stored (the answer was lost), so a record that is sent again may come twice.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from blocks.errors import DependencyUnavailableError
from blocks.kafka.health import Health, refused
from blocks.kafka.records import Outgoing
from blocks.kafka.settings import Kafka

RECORD_BYTES_MAX = 1_048_576
_BUFFER_KIB_MAX = 65_536
_BUFFER_RECORDS_MAX = 100_000
_POLL_S = 0.1
_LAST_CALLBACKS_S = 2.0
_PAUSE_WHEN_FULL_S = (0.005, 0.05)


class _Batch:
    """The outcome of the records of one call; settled by any thread."""

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self.outcomes: list[KafkaError | None] = [KafkaError(KafkaError._TIMED_OUT)] * size  # noqa: SLF001 - its name
        self.finished = loop.create_future()
        self._loop = loop
        self._open = size
        self._lock = threading.Lock()

    def settle(self, index: int, error: KafkaError | None, _: Message | None = None) -> None:
        """Take the outcome of one record."""
        self.outcomes[index] = error
        with self._lock:
            self._open -= 1
            last = self._open == 0
        if last and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)


class _Line:
    """One producer instance and the thread that serves it."""

    def __init__(self, kafka: Kafka, config: dict[str, Any]) -> None:
        self.health = Health()
        try:
            self.producer = Producer({**config, "error_cb": self.health.error}, logger=self.health)
        except KafkaException as error:
            raise refused(kafka, error) from None
        self._drain_s: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="kafka-producer", daemon=True)
        self._thread.start()

    @property
    def usable(self) -> bool:
        return not (self._stop.is_set() or self.health.fatal)

    def end(self, drain_s: float = 0.0) -> None:
        """Stop after `drain_s` seconds at most; what is not stored by then fails."""
        self._drain_s = drain_s
        self._stop.set()

    async def ended(self, within_s: float) -> None:
        await asyncio.to_thread(self._thread.join, within_s)

    def _serve(self) -> None:
        while not self._stop.is_set():
            self.producer.poll(_POLL_S)
        try:
            self.producer.flush(self._drain_s or 0.0)
        except KafkaException as error:  # a dead instance has nothing to flush
            self.health.error(error.args[0])
        self.producer.purge()
        until = time.monotonic() + _LAST_CALLBACKS_S
        while len(self.producer) and time.monotonic() < until:
            self.producer.poll(_POLL_S)
        if not len(self.producer):
            self.producer.close()


class Sender:
    """Sends records; any number of callers at a time."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._config = {
            **kafka.client(),
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": 0,
            "message.max.bytes": RECORD_BYTES_MAX,
            "topic.metadata.propagation.max.ms": 5_000,
            "partitioner": "murmur2_random",
            "sticky.partitioning.linger.ms": 0,
            "linger.ms": 0,
            "compression.type": "lz4",
            "queue.buffering.max.kbytes": _BUFFER_KIB_MAX,
            "queue.buffering.max.messages": _BUFFER_RECORDS_MAX,
        }
        self._line: _Line | None = None

    def open(self) -> None:
        """Begin to connect, so that the first `send` finds a producer that has introduced itself (half a second).

        Raises:
            InvalidInputError: the settings do not fit.
        """
        self._open_line()

    def _open_line(self) -> _Line:
        if self._line is None or not self._line.usable:
            if self._line is not None:
                self._line.end()
            self._line = _Line(self._kafka, self._config)
        return self._line

    async def send(
        self, records: Sequence[Outgoing], within_s: float | None = None
    ) -> list[DependencyUnavailableError | None]:
        """Send records in the given order; returns for each why it may not be stored, None when it is.

        Takes at most `within_s` seconds (by default `message_timeout_s`), and two more to clear up.
        """
        if not records:
            return []
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (within_s or self._kafka.message_timeout_s)
        line, batch = self._open_line(), _Batch(len(records), loop)
        await self._put_all(line, records, batch, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(batch.finished)
        except TimeoutError:
            line.end()
            await asyncio.wait([batch.finished], timeout=_LAST_CALLBACKS_S)
        if not any(batch.outcomes):
            line.health.well()
        return [None if error is None else line.health.unavailable(self._kafka, error) for error in batch.outcomes]

    async def _put_all(self, line: _Line, records: Sequence[Outgoing], batch: _Batch, deadline: float) -> None:
        failed: dict[bytes | None, KafkaError] = {}
        for index, record in enumerate(records):
            error = failed.get(record.key) if record.key is not None else None
            error = error or await self._put(line, record, partial(batch.settle, index), deadline)
            if error is not None:
                failed[record.key] = error
                batch.settle(index, error)

    async def _put(self, line: _Line, record: Outgoing, settle: Any, deadline: float) -> KafkaError | None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                line.producer.produce(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    headers=list(record.headers.items()),
                    timestamp=record.timestamp_ms,
                    on_delivery=settle,
                )
            except BufferError as full:
                if loop.time() >= deadline or not line.usable:
                    return KafkaError(KafkaError._QUEUE_FULL, str(full))  # noqa: SLF001 - its name
                await asyncio.sleep(random.uniform(*_PAUSE_WHEN_FULL_S))  # noqa: S311 - no secret
            except KafkaException as error:
                found: KafkaError = error.args[0]
                line.health.error(found)
                return found
            except RuntimeError as closed:  # another caller's deadline ended this line
                return KafkaError(KafkaError._DESTROY, str(closed))  # noqa: SLF001 - its name
            else:
                return None

    async def close(self) -> None:
        """Send what is left, within `message_timeout_s` seconds, and stop."""
        line, self._line = self._line, None
        if line is not None:
            line.end(self._kafka.message_timeout_s)
            await line.ended(self._kafka.message_timeout_s + _LAST_CALLBACKS_S + 1.0)
