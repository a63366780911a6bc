"""What goes into Kafka and comes out of it, free of the client library's types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Partition(NamedTuple):
    """One partition of a topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be sent."""

    topic: str
    value: bytes
    key: bytes | None = None
    """Records of one key keep their order; None spreads them evenly."""
    headers: dict[str, bytes] = field(default_factory=dict)
    timestamp_ms: int = 0
    """Milliseconds since 1970; 0: when it is sent."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record that came."""

    partition: Partition
    offset: int
    value: bytes
    key: bytes | None
    headers: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is to be created."""

    name: str
    partitions: int
    replication_factor: int
    config: dict[str, str] = field(default_factory=dict)

    @property
    def full_config(self) -> dict[str, str]:
        """Its configuration with how many copies must exist before a record counts as stored: one may be missing."""
        return {"min.insync.replicas": str(max(1, self.replication_factor - 1)), **self.config}

    def in_danger(self, brokers: int) -> bool:
        """Whether it is to have one copy only although there are brokers for more."""
        return self.replication_factor == 1 and brokers > 1


def worth_a_line(count: int) -> bool:
    """Whether the `count`-th of many equal messages is worth a line in the log: the 1st, 10th, 100th and so on."""
    return str(count).rstrip("0") == "1"
