"""A node and its shards, in one vocabulary for both agent protocols."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from blocks.models.base import Fact, Id, Name, Text, Utc
from blocks.models.ids import ClusterRef, NodeRef

ATTRIBUTES_MAX = 200
SHARDS_MAX = 20_000
REWINDS_MAX = 20

Attribute = bool | int | float | str | None
Unit = Annotated[str, Field(max_length=64)]
"""What an offset or a lag counts, in the agent's words."""


class NodeStatus(StrEnum):
    """How a node is; the first two are ours, the others are the agent's word."""

    UNREACHABLE = "UNREACHABLE"
    """Its agent does not answer."""
    INCOMPLETE = "INCOMPLETE"
    """Its agent says HEALTHY but could not tell all of it."""
    UNAVAILABLE = "UNAVAILABLE"
    NOT_IN_CLUSTER = "NOT_IN_CLUSTER"
    JOINING_CLUSTER = "JOINING_CLUSTER"
    LEAVING_CLUSTER = "LEAVING_CLUSTER"
    UNHEALTHY = "UNHEALTHY"
    HEALTHY = "HEALTHY"
    UNKNOWN = "UNKNOWN"
    """Anything else; `status_text` says what."""


class Protocol(StrEnum):
    """Which wire protocol an agent speaks."""

    A = "A"
    B = "B"


class ShardRole(StrEnum):
    """What a node is for a shard."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    RECOVERING = "recovering"
    OTHER = "other"
    """`role_text` says what."""


VALUE_MIN, VALUE_MAX = -(2**63), 2**63 - 1


class Offset(Fact):
    """A position or a distance in a store's log; comparable only within one unit."""

    unit: Unit
    value: Annotated[int, Field(ge=VALUE_MIN, le=VALUE_MAX)]

    @property
    def milliseconds(self) -> int | None:
        """The value in milliseconds where the unit is one of time and that many fit into 64 bits, else None."""
        match self.unit:
            case "milliseconds":
                return self.value
            case "seconds":
                found = self.value * 1_000
                return found if VALUE_MIN <= found <= VALUE_MAX else None
            case _:
                return None


class Shard(Fact):
    """A node's copy of a shard."""

    shard_id: Id
    role: ShardRole
    role_text: Text | None = None
    commit_offset: Offset | None = None
    lag: Offset | None = None
    stale_since: Utc | None = None
    """Since when it could not be read although others of its node could; None while it is as fresh as these."""
    led: Offset | None = None
    """How far it was when it was last seen as primary; None where it never was, or is further now."""
    behind_since: Utc | None = None
    """Since when it is primary and has not been seen as far as the primaries before it; None when it has."""


class Rewind(Fact):
    """The log of a shard's primary was shorter than before: writes may be lost."""

    shard_id: Id
    before: Offset
    after: Offset
    at: Utc


class ClockOff(Fact):
    """An agent's clock does not agree with ours, as the times of one of its actions show."""

    action_id: Id
    seconds: float
    """How far it is ahead of ours at least; negative: behind."""
    at: Utc


class Version(Fact):
    """A version as reported."""

    number: Text
    checkout: Text | None = None
    taint: Text | None = None
    extra: Text | None = None

    def __str__(self) -> str:
        return self.number


class Node(Fact):
    """What we know of a node: the last good facts, and how fresh each part is."""

    namespace: Name
    cluster_id: Id
    node_id: Id
    agent_address: str
    node_class: str | None = None
    node_group: str | None = None
    status: NodeStatus
    status_text: Text | None = None
    """Why, in one sentence: the agent's words or the transport's reason."""
    status_since: Utc
    pending_status: NodeStatus | None = None
    """What was last seen, where it is not said yet because it has not held for long enough; None when `status` was seen."""
    pending_text: Text | None = None
    pending_since: Utc | None = None
    """Since when something else than `status` is seen."""
    protocol: Protocol | None = None
    protocol_before: Protocol | None = None
    """What its agent spoke until `protocol_changed_at`; both are forgotten an hour later."""
    protocol_changed_at: Utc | None = None
    agent_version: Version | None = None
    store_id: Text | None = None
    store_version: Version | None = None
    reported_node_id: Text | None = None
    reported_cluster_id: Text | None = None
    foreign_id: Text | None = None
    """The id of another cluster that its store says: what it tells is refused; None while nothing is refused."""
    tls_trouble: Text | None = None
    """Why the TLS material that it is asked with cannot be used any more, while the last good one still is."""
    addresses: dict[str, Text] = Field(default_factory=dict, max_length=50)
    attributes: dict[str, Attribute] = Field(default_factory=dict, max_length=ATTRIBUTES_MAX)
    store_attributes: dict[str, Attribute] = Field(default_factory=dict, max_length=ATTRIBUTES_MAX)
    shards: Annotated[tuple[Shard, ...], Field(max_length=SHARDS_MAX)] = ()
    rewinds: Annotated[tuple[Rewind, ...], Field(max_length=REWINDS_MAX)] = ()
    """The last ones, oldest first, each kept for an hour."""
    clock_off: ClockOff | None = None
    """The last disagreement of its clock with ours; forgotten an hour later, or when its times agree again."""
    info_stale_since: Utc | None = None
    store_stale_since: Utc | None = None
    shards_stale_since: Utc | None = None
    """Since when that part could not be read again; None while it is fresh."""
    actions_stale_since: Utc | None = None
    notes: tuple[Text, ...] = ()
    """What was wrong with the last answers, bounded."""
    version: int = 0

    @property
    def seen_status(self) -> NodeStatus:
        """What was last seen, said or not."""
        return self.pending_status or self.status

    @property
    def shards_fresh(self) -> bool:
        """Whether its shards were read when it was last looked at; some of them may be stale by themselves."""
        return self.shards_stale_since is None and self.info_stale_since is None

    @property
    def takes_actions(self) -> bool:
        """Whether actions may be sent to it: its agent answers, for this cluster."""
        return self.foreign_id is None and self.seen_status is not NodeStatus.UNREACHABLE

    @property
    def ref(self) -> NodeRef:
        """Its name."""
        return NodeRef(namespace=self.namespace, cluster_id=self.cluster_id, node_id=self.node_id)

    @property
    def cluster(self) -> ClusterRef:
        """Its cluster's name."""
        return ClusterRef(namespace=self.namespace, cluster_id=self.cluster_id)

    @property
    def key(self) -> str:
        """Its key in the store."""
        return self.ref.key
