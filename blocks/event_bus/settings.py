"""Settings of the event bus."""

from __future__ import annotations

from pydantic import Field

from blocks.settings import Settings


class EventBusSettings(Settings):
    """Name and sizes of the event bus. How to reach Kafka is said in the block `Kafka`."""

    _block_type_name = "Replicore Event Bus"
    _block_type_slug = "replicore-event-bus"
    _description = "The Kafka topic that tells everybody what changed, as CloudEvents."
    part = "EVENT_BUS"

    topic: str = Field(default="replicore.events", min_length=1, description="Topic of the events")
    partitions: int = Field(default=12, ge=1, le=1_000, description="Streams are spread over them")
    replication_factor: int = Field(default=1, ge=1, le=15, description="Copies of each event; 3 in production")
    retention_days: float = Field(default=7.0, gt=0, description="How long events are kept on the bus")
    data_bytes_max: int = Field(
        default=524_288, ge=1_024, le=786_432, description="Bigger data stays in the history; the event says so"
    )
