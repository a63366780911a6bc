"""Records of Kafka lost and doubled, by Kafka's own means."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

_WITHIN_S = 8.0
_NEWEST = 20
"""So many of a partition are doubled at most."""


def lose(bootstrap: str, topics: tuple[str, ...]) -> int:
    """Delete everything that is in these topics now, read or not; returns how many records may have been lost."""
    found = ends(bootstrap, topics)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    at_end = [TopicPartition(topic, number, last) for (topic, number), (first, last) in found.items() if last > first]
    if at_end:
        for future in admin.delete_records(at_end, request_timeout=_WITHIN_S).values():
            future.result(_WITHIN_S)
    return sum(last - first for first, last in found.values())


def double(bootstrap: str, topics: tuple[str, ...]) -> int:
    """Append exact copies of the newest records; returns how many."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "message.timeout.ms": int(_WITHIN_S * 1_000)})
    copied = 0
    with closing(_consumer(bootstrap)) as consumer:
        found = _ends(consumer, topics)
        starts = {place: max(first, last - _NEWEST) for place, (first, last) in found.items() if last > first}
        consumer.assign([TopicPartition(topic, number, start) for (topic, number), start in starts.items()])
        wanted = sum(found[place][1] - start for place, start in starts.items())
        for message in consumer.consume(wanted, timeout=_WITHIN_S) if wanted else []:
            if message.error() is None:
                headers: Any = message.headers()
                producer.produce(
                    str(message.topic()), message.value(), message.key(), message.partition() or 0, headers=headers
                )
                copied += 1
    producer.flush(_WITHIN_S)
    return copied


def ends(bootstrap: str, topics: tuple[str, ...]) -> dict[tuple[str, int], tuple[int, int]]:
    """By topic and partition, the first offset and the one after the last."""
    with closing(_consumer(bootstrap)) as consumer:
        return _ends(consumer, topics)


def _consumer(bootstrap: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "chaos-nemesis",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )


def _ends(consumer: Consumer, topics: tuple[str, ...]) -> dict[tuple[str, int], tuple[int, int]]:
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for topic in topics:
        for number in consumer.list_topics(topic, timeout=_WITHIN_S).topics[topic].partitions:
            low_high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_WITHIN_S)
            if low_high is not None:
                found[topic, number] = low_high
    return found
