"""One member of a consumer group: a thread that owns the consumer, and a buffer that asyncio takes from.

Guarantees: a record counts as taken when `take` is called again after it was handed out, so that nothing is lost with its
taker. Records of an earlier topic overtake those of later ones: the thread empties the client's own queue eagerly into one
buffer per topic, and a full buffer pauses its topic only. Failure modes: what was handed out and not yet counted comes
again, to this member or to another one. Everything that touches the consumer happens in its thread, because some calls
hang when another thread polls.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from blocks.errors import InvalidInputError
from blocks.kafka.health import Health, refused
from blocks.kafka.records import Incoming, Partition
from blocks.kafka.settings import Kafka

_POLL_S = 0.1
_PROBE_S = 1.0
_DOWN_WAIT_S = 1.0
_AGAIN_S = (0.5, 2.0)
_FETCH_MAX = 500

_logger = logging.getLogger("replicore.kafka")


class Buffer:
    """Records by topic, the topics in order of precedence, and what became of those handed out. Safe for two threads."""

    def __init__(self, topics: Sequence[str], size_max: int) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Incoming]] = {topic: deque() for topic in topics}
        self._handed: dict[Partition, int] = {}
        self._done: dict[Partition, int] = {}
        self._size_max = size_max

    def add(self, records: Iterable[Incoming]) -> None:
        """Keep records that came."""
        with self._lock:
            for record in records:
                self._waiting[record.partition.topic].append(record)

    def take(self, limit: int) -> list[Incoming]:
        """Hand out up to `limit` records; what was handed out before is done."""
        with self._lock:
            self._done |= self._handed
            self._handed = {}
            taken: list[Incoming] = []
            for waiting in self._waiting.values():
                taken += [waiting.popleft() for _ in range(min(limit - len(taken), len(waiting)))]
            self._handed = {record.partition: record.offset + 1 for record in taken}
            return taken

    def done(self) -> dict[Partition, int]:
        """By partition, the offset to go on from; told once."""
        with self._lock:
            done, self._done = self._done, {}
            return done

    def drop(self, partitions: set[Partition]) -> None:
        """Forget partitions that are no longer ours: another member gets their records from the last stored offset."""
        with self._lock:
            for topic, waiting in self._waiting.items():
                self._waiting[topic] = deque(record for record in waiting if record.partition not in partitions)
            for offsets in (self._handed, self._done):
                for partition in partitions & offsets.keys():
                    del offsets[partition]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            for waiting in self._waiting.values():
                waiting.clear()
            self._handed, self._done = {}, {}

    def full(self, topic: str, *, paused: bool) -> bool:
        """Whether a topic should rest: from the moment its buffer is full until it is half empty."""
        with self._lock:
            return len(self._waiting[topic]) >= (self._size_max // 2 if paused else self._size_max)


class GroupConsumer:
    """Takes records as one member of a group; `take` is for one caller at a time."""

    def __init__(self, kafka: Kafka, group: str, topics: Sequence[str], buffer_max: int) -> None:
        self._kafka = kafka
        self._topics = tuple(topics)
        self._config = {
            **kafka.client(),
            "group.id": group,
            "group.protocol": "consumer",
            "group.remote.assignor": "range",  # evenly per topic; "uniform" may give a member one topic only
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
            "enable.auto.commit": True,
            "auto.commit.interval.ms": 1_000,
            "queued.min.messages": 100,  # what the client holds ready stands before an urgent record
            "queued.max.messages.kbytes": 1_024,
            "fetch.message.max.bytes": 16_384,
            "fetch.wait.max.ms": 200,  # the first fetch begins with only some partitions, and would wait on them
            "fetch.queue.backoff.ms": 50,
            "fetch.error.backoff.ms": 200,
        }
        self._buffer = Buffer(topics, buffer_max)
        self._health = Health()
        self._down = False
        self._assigned: set[Partition] = set()
        self._paused: set[Partition] = set()
        self._arrived = asyncio.Event()
        self._ended = asyncio.Event()
        self._stop = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._consumer = self._open()
        self._thread = threading.Thread(target=self._run, name="kafka-consumer", daemon=True)
        self._thread.start()

    async def take(self, limit: int, wait_s: float) -> list[Incoming]:
        """Take up to `limit` records, waiting at most `wait_s` seconds for the first.

        Raises:
            DependencyUnavailableError: there is none, and the brokers do not answer.
        """
        deadline = self._loop.time() + wait_s
        while True:
            self._arrived.clear()
            if taken := self._buffer.take(limit):
                return taken
            if self._stop.is_set():
                return []
            if self._down:
                deadline = min(deadline, self._loop.time() + _DOWN_WAIT_S)
            try:
                async with asyncio.timeout_at(deadline):
                    await self._arrived.wait()
            except TimeoutError:
                if self._down:
                    raise self._health.unavailable(self._kafka) from None
                return []

    async def close(self, within_s: float) -> None:
        """Store what is done and leave the group; gives up after `within_s` seconds."""
        self._stop.set()
        self._arrived.set()
        try:
            async with asyncio.timeout(within_s):
                await self._ended.wait()
        except TimeoutError:
            _logger.warning("leaving the group takes more than %.1f s: its members are told by the brokers", within_s)

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _open(self) -> Consumer:
        self._health = health = Health()
        self._assigned, self._paused = set(), set()
        try:
            consumer = Consumer({**self._config, "error_cb": health.error}, logger=health)
        except KafkaException as error:
            raise refused(self._kafka, error) from None
        consumer.subscribe(list(self._topics), on_assign=self._gained, on_revoke=self._lost, on_lost=self._lost)
        return consumer

    def _run(self) -> None:
        try:
            self._serve(self._consumer)
            while not self._stop.is_set():
                self._replace()
                self._serve(self._consumer)
            self._leave(self._consumer)
        finally:
            self._set_down(down=True)
            self._notify(self._ended)

    def _replace(self) -> None:
        """The client is dead for good: make another, after a moment."""
        self._set_down(down=True)
        self._leave(self._consumer)
        self._buffer.clear()
        while not self._stop.wait(random.uniform(*_AGAIN_S)):  # noqa: S311 - no secret
            try:
                self._consumer = self._open()
            except InvalidInputError as error:  # a file of the settings was taken away
                _logger.warning("%s", error)
            else:
                break

    def _serve(self, consumer: Consumer) -> None:
        probe_at = 0.0
        while not self._stop.is_set() and not self._health.fatal:
            self._store(consumer)
            self._throttle(consumer)
            first = consumer.poll(_POLL_S)
            if first is not None:
                self._receive([first, *consumer.consume(_FETCH_MAX, 0)])
            elif self._health.suspect and time.monotonic() >= probe_at:
                self._probe(consumer)
                probe_at = time.monotonic() + _PROBE_S

    def _receive(self, messages: list[Message]) -> None:
        records = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._health.error(error)
            else:
                records.append(incoming(message))
        if records:
            self._buffer.add(records)
            self._set_down(down=False)
            self._notify(self._arrived)

    def _store(self, consumer: Consumer) -> None:
        done = {each: offset for each, offset in self._buffer.done().items() if each in self._assigned}
        if done:
            try:
                consumer.store_offsets(offsets=[TopicPartition(*each, offset) for each, offset in done.items()])
            except KafkaException as error:  # just taken from us: another member will see the records again
                _logger.debug("offsets were not stored: %s", error)

    def _throttle(self, consumer: Consumer) -> None:
        for topic in self._topics:
            ours = {each for each in self._assigned if each.topic == topic}
            paused = ours & self._paused
            rest = self._buffer.full(topic, paused=bool(paused))
            if rest and ours - paused:
                consumer.pause([TopicPartition(*each) for each in ours - paused])
                self._paused |= ours
            elif paused and not rest:
                consumer.resume([TopicPartition(*each) for each in paused])
                self._paused -= paused

    def _probe(self, consumer: Consumer) -> None:
        try:
            known = consumer.list_topics(timeout=_PROBE_S).topics
        except KafkaException as error:
            self._health.vague_error(error.args[0])
            self._set_down(down=True)
            return
        if all(topic in known for topic in self._topics):
            self._health.well()
            self._set_down(down=False)
        else:
            self._health.error(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
            self._set_down(down=True)

    def _set_down(self, *, down: bool) -> None:
        if down and not self._down:
            self._notify(self._arrived)
        self._down = down

    def _gained(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned |= {Partition(each.topic, each.partition) for each in partitions}

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {Partition(each.topic, each.partition) for each in partitions}
        self._assigned -= gone
        self._paused -= gone
        self._buffer.drop(gone)

    def _leave(self, consumer: Consumer) -> None:
        try:
            self._store(consumer)
            consumer.close()
        except (KafkaException, RuntimeError) as error:
            _logger.debug("the consumer was not closed: %s", error)

    def _notify(self, event: asyncio.Event) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(event.set)


def incoming(message: Message) -> Incoming:
    """A record free of the client library's types; a header given twice has its last value, one without value none."""
    headers: list[tuple[str, bytes | None]] = list(cast("Any", message.headers()) or ())
    return Incoming(
        partition=Partition(message.topic() or "", message.partition() or 0),
        offset=message.offset() or 0,
        value=message.value() or b"",
        key=message.key(),
        headers={name: value for name, value in headers if isinstance(value, bytes)},
    )
