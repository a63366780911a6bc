"""Settings of the work queue."""

from __future__ import annotations

from pydantic import Field

from blocks.settings import Settings


class WorkQueueSettings(Settings):
    """Names, sizes and timeouts of the work queue. How to reach Kafka is said in the block `Kafka`."""

    _block_type_name = "Replicore Work Queue"
    _block_type_slug = "replicore-work-queue"
    _description = "The Kafka topics and the consumer group that spread work over the workers."
    part = "WORK_QUEUE"

    topic: str = Field(default="replicore.work", min_length=1, description="Topic of routine work")
    urgent_topic: str = Field(default="replicore.work.urgent", min_length=1, description="Topic of what goes first")
    partitions: int = Field(default=12, ge=1, le=1_000, description="Of each topic: more workers than this idle")
    replication_factor: int = Field(default=1, ge=1, le=15, description="Copies of each record; 3 in production")
    retention_hours: float = Field(default=24.0, gt=0, description="How long pointers are kept")
    group: str = Field(default="replicore-workers", min_length=1, description="The consumer group of the workers")
    session_timeout_s: float = Field(default=3.0, gt=0, description="A worker silent for so long loses its partitions")
    heartbeat_s: float = Field(default=0.5, gt=0, description="Time between signs of life; also a rebalance's pace")
    buffer_max: int = Field(default=1_000, ge=10, le=100_000, description="Pointers a worker holds ready, per topic")
    close_within_s: float = Field(default=5.0, gt=0, description="Deadline of leaving the group")
