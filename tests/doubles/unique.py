"""Settings with names of their own, so that tests on one broker do not meet."""

from __future__ import annotations

import uuid

from blocks.event_bus.settings import EventBusSettings
from blocks.kafka.settings import Kafka
from blocks.work_queue.settings import WorkQueueSettings


def work_queue() -> WorkQueueSettings:
    """Topics and a group that nobody else uses; few partitions, quick timeouts."""
    mark = uuid.uuid4().hex[:12]
    return WorkQueueSettings(
        topic=f"work-{mark}",
        urgent_topic=f"urgent-{mark}",
        group=f"group-{mark}",
        partitions=4,
        session_timeout_s=1.5,
        heartbeat_s=0.1,
    )


def event_bus() -> EventBusSettings:
    """A topic that nobody else uses."""
    return EventBusSettings(topic=f"events-{uuid.uuid4().hex[:12]}", partitions=4)


def nowhere() -> Kafka:
    """A broker that does not exist, sought with little patience."""
    return Kafka(bootstrap="127.0.0.1:1", request_timeout_s=0.5, message_timeout_s=0.5)
