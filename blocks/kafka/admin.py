"""Asking and changing a Kafka cluster. Every call opens a client of its own and closes it: calls are rare, and an idle client
would gather reports of a broker's absence without end.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it lists no `__all__`
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from blocks.errors import DependencyUnavailableError
from blocks.kafka.health import Health, refused, said
from blocks.kafka.records import Partition, Topic
from blocks.kafka.settings import Kafka

T = TypeVar("T")
_GRACE_S = 1.0
_When: Any = OffsetSpec  # its methods have no types

_PAUSE_S = (0.05, 0.2)
_PASSING = frozenset(
    {
        "NOT_LEADER_FOR_PARTITION",
        "LEADER_NOT_AVAILABLE",
        "OFFSET_NOT_AVAILABLE",
        "COORDINATOR_LOAD_IN_PROGRESS",
        "COORDINATOR_NOT_AVAILABLE",
        "NOT_COORDINATOR",
    }
)

_logger = logging.getLogger("replicore.kafka")


class Admin:
    """Asks and changes a cluster; each call takes at most `request_timeout_s` seconds per request in it.

    Every method raises `DependencyUnavailableError` when the cluster does not answer or refuses.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka

    async def ready(self) -> None:
        """Return when the cluster answers."""
        async with self._session() as session:
            await session.ask(session.client.describe_cluster(request_timeout=session.timeout_s))

    async def create(self, topics: Sequence[Topic]) -> None:
        """Create topics. One that exists is left as it is; when it has another number of partitions, that is logged."""
        async with self._session() as session:
            new = [
                NewTopic(
                    topic.name,
                    num_partitions=topic.partitions,
                    replication_factor=topic.replication_factor,
                    config=topic.full_config,
                )
                for topic in topics
            ]
            asked = session.client.create_topics(new, request_timeout=session.timeout_s)
            for future in asked.values():
                await session.ask(future, accept={KafkaError.TOPIC_ALREADY_EXISTS})
            brokers = await session.brokers()
        for topic in topics:
            if topic.in_danger(brokers):
                text = "topic %s has replication_factor 1 in a cluster of %d brokers: what is in it is lost with one of them"
                _logger.warning(text, topic.name, brokers)
        names = [topic.name for topic in topics]
        # brokers answer before all of them know a new topic
        there = await self._patiently(lambda session: session.partitions(names), _PASSING | {"UNKNOWN_TOPIC_OR_PART"})
        for topic in topics:
            count = sum(partition.topic == topic.name for partition in there)
            if count != topic.partitions:
                text = "topic %s has %d partitions, the settings say %d: it is left as it is"
                _logger.warning(text, topic.name, count, topic.partitions)

    async def faults(self, topics: Sequence[Topic]) -> list[str]:
        """In what the topics that are there are not as they should be; one sentence each."""

        async def look(session: _Session) -> list[str]:
            return [fault for topic in topics for fault in await session.faults(topic)]

        return await self._patiently(look)

    async def configure_group(self, group: str, settings: Sequence[tuple[str, str]]) -> bool:
        """Set a group's settings one by one in the given order; False when the brokers refuse one, which is logged."""
        async with self._session() as session:
            for name, value in settings:
                entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=[entry])
                asked = session.client.incremental_alter_configs([resource], request_timeout=session.timeout_s)
                try:
                    await asyncio.wrap_future(asked[resource])
                except KafkaException as error:
                    found: KafkaError = error.args[0]
                    if found.code() < 0:  # not a broker's answer
                        raise session.failed(found) from error
                    text = "the brokers do not let group %s have %s=%s (%s): a lost worker will be noticed later"
                    _logger.warning(text, group, name, value, said(found))
                    return False
        return True

    async def partitions(self, topics: Sequence[str]) -> list[Partition]:
        """All partitions of topics."""
        return await self._patiently(lambda session: session.partitions(topics))

    async def ends(self, topics: Sequence[str]) -> dict[Partition, int]:
        """By partition, the offset that the next record will have."""

        async def look(session: _Session) -> dict[Partition, int]:
            return await session.offsets(await session.partitions(topics), _When.latest())

        return await self._patiently(look)

    async def starts(self, topic: str, since: datetime) -> dict[Partition, int]:
        """By partition, the offset of the first record with a time of `since` or later, else the end."""
        moment = _When.for_timestamp(max(0, round(since.timestamp() * 1_000)))

        async def look(session: _Session) -> dict[Partition, int]:
            partitions = await session.partitions([topic])
            ends = await session.offsets(partitions, _When.latest())
            found = await session.offsets(partitions, moment)
            return {each: found[each] if found[each] >= 0 else ends[each] for each in partitions}

        return await self._patiently(look)

    async def backlog(self, group: str, topics: Sequence[str]) -> tuple[int, int]:
        """How many records of topics a group has not taken yet, and how many partitions the topics have."""

        async def look(session: _Session) -> tuple[int, int]:
            partitions = await session.partitions(topics)
            taken = await session.taken(group, partitions)
            ends = await session.offsets(partitions, _When.latest())
            starts = await session.offsets(partitions, _When.earliest())
            left = sum(max(0, ends[each] - max(starts[each], taken.get(each, 0))) for each in partitions)
            return left, len(partitions)

        return await self._patiently(look)

    async def members(self, group: str) -> int:
        """How many members a group has now."""

        async def look(session: _Session) -> int:
            asked = session.client.describe_consumer_groups([group], request_timeout=session.timeout_s)
            found = await session.ask(asked[group], accept={KafkaError.GROUP_ID_NOT_FOUND})
            return 0 if found is None else len(found.members)

        return await self._patiently(look)

    async def _patiently(self, look: Callable[[_Session], Awaitable[T]], passing: frozenset[str] = _PASSING) -> T:
        """Look again while the brokers are settling (an election, a topic just created), within one timeout."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._kafka.request_timeout_s
        async with self._session() as session:
            while True:
                try:
                    return await look(session)
                except DependencyUnavailableError as error:
                    if _cause(error) not in passing or loop.time() >= deadline:
                        raise
                    await asyncio.sleep(random.uniform(*_PAUSE_S))  # noqa: S311 - no secret

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[_Session]:
        health = Health()
        try:
            config: dict[str, Any] = {**self._kafka.client(), "error_cb": health.error}
            client = AdminClient(config, logger=health)
        except KafkaException as error:
            raise refused(self._kafka, error) from None
        session = _Session(self._kafka, client, health)
        try:
            yield session
        finally:
            await asyncio.shield(asyncio.to_thread(session.close))


def _cause(error: DependencyUnavailableError) -> str:
    cause = error.__cause__
    return cause.args[0].name() if isinstance(cause, KafkaException) else ""


class _Session:
    """One admin client in use."""

    def __init__(self, kafka: Kafka, client: AdminClient, health: Health) -> None:
        self.client = client
        self.timeout_s = kafka.request_timeout_s
        self._kafka = kafka
        self._health = health

    def close(self) -> None:
        self.client.poll(0)
        self.client.__exit__(None, None, None)

    def failed(self, error: KafkaError | None) -> Exception:
        """What to raise; serves the callbacks first, which tell the cause."""
        self.client.poll(0)
        return self._health.unavailable(self._kafka, error)

    async def ask(self, future: Future[T], accept: Iterable[int] = ()) -> T | None:
        """Await an answer; None for an error code that is accepted."""
        try:
            async with asyncio.timeout(self.timeout_s + _GRACE_S):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise self.failed(None) from error
        except KafkaException as error:
            found: KafkaError = error.args[0]
            if found.code() in accept:
                return None
            raise self.failed(found) from error

    async def brokers(self) -> int:
        described = await self.ask(self.client.describe_cluster(request_timeout=self.timeout_s))
        return 0 if described is None else len(described.nodes)

    async def partitions(self, topics: Sequence[str]) -> list[Partition]:
        asked = self.client.describe_topics(TopicCollection(list(topics)), request_timeout=self.timeout_s)
        found: list[Partition] = []
        for topic, future in asked.items():
            described: Any = await self.ask(future)
            found += [Partition(topic, each.id) for each in described.partitions]
        return found

    async def faults(self, topic: Topic) -> list[str]:
        asked = self.client.describe_topics(TopicCollection([topic.name]), request_timeout=self.timeout_s)
        described: Any = await self.ask(asked[topic.name], accept={KafkaError.UNKNOWN_TOPIC_OR_PART})
        if described is None:
            return [f"topic {topic.name} is missing: run `python -m deployments.register`"]
        found, partitions = [], described.partitions
        if len(partitions) != topic.partitions:
            found.append(f"topic {topic.name} has {len(partitions)} partitions, the settings say {topic.partitions}")
        if any(len(each.replicas) != topic.replication_factor for each in partitions):
            counts = sorted({len(each.replicas) for each in partitions})
            found.append(f"topic {topic.name} has {counts} replicas, the settings say {topic.replication_factor}")
        if behind := [each.id for each in partitions if len(each.isr) < len(each.replicas)]:
            found.append(f"topic {topic.name}: replicas are missing or behind in partitions {behind[:10]}")
        if leaderless := [each.id for each in partitions if each.leader is None]:
            found.append(f"topic {topic.name}: no leader for partitions {leaderless[:10]}: nothing can be sent there")
        return found

    async def offsets(self, partitions: Sequence[Partition], spec: Any) -> dict[Partition, int]:
        request = {TopicPartition(*partition): spec for partition in partitions}
        asked: Mapping[TopicPartition, Future[Any]] = self.client.list_offsets(request, request_timeout=self.timeout_s)
        answers = {Partition(at.topic, at.partition): await self.ask(future) for at, future in asked.items()}
        return {partition: answer.offset for partition, answer in answers.items() if answer is not None}

    async def taken(self, group: str, partitions: Sequence[Partition]) -> dict[Partition, int]:
        request = ConsumerGroupTopicPartitions(group, [TopicPartition(*partition) for partition in partitions])
        asked = self.client.list_consumer_group_offsets([request], request_timeout=self.timeout_s)
        answer: Any = await self.ask(asked[group], accept={KafkaError.GROUP_ID_NOT_FOUND})
        found = [] if answer is None else answer.topic_partitions
        return {Partition(each.topic, each.partition): each.offset for each in found if each.offset >= 0}
