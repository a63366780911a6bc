"""Attempts to do what somebody has no right to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from doubles.rights import WITHIN_S


def refused_by(attempt: Callable[[], Any], error: type[Exception], *names: str) -> bool:
    """Whether an attempt fails with this error, and where names are given, one of Kafka's of such a name."""
    try:
        attempt()
    except error as refusal:
        return not names or refusal.args[0].name() in names
    return False


def written(config: dict[str, Any], topic: str) -> None:
    """Send a record.

    Raises:
        KafkaException: it was not stored.
    """
    errors: list[KafkaError] = []
    producer = Producer(config)
    producer.produce(topic, b"x", on_delivery=lambda error, _: errors.append(error) if error else None)
    producer.flush(WITHIN_S)
    if errors:
        raise KafkaException(errors[0])


def joined(config: dict[str, Any], group: str, topic: str) -> None:
    """Read a topic as a member of a group.

    Raises:
        KafkaException: the brokers refuse.
    """
    consumer = Consumer({**config, "group.id": group, "group.protocol": "consumer"})
    try:
        consumer.subscribe([topic])
        message = consumer.poll(WITHIN_S)
        error = None if message is None else message.error()
        if error is not None:
            raise KafkaException(error)
    finally:
        consumer.close()
