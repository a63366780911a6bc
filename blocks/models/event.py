"""An event: one fact that changed, as a CloudEvent, in order within its stream, kept in history and sent to the bus."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from blocks.models.base import Fact, Json, Utc

SOURCE = "/replicore"
SYSTEM_STREAM = "replicore"


class EventType(StrEnum):
    """Every type we send. The number at the end is the version of its data."""

    NAMESPACE_APPLIED = "io.replicante.namespace.applied.v1"
    NAMESPACE_DELETED = "io.replicante.namespace.deleted.v1"
    SOURCE_APPLIED = "io.replicante.source.applied.v1"
    SOURCE_DELETED = "io.replicante.source.deleted.v1"
    SOURCE_FAILED = "io.replicante.source.failed.v1"
    SOURCE_RECOVERED = "io.replicante.source.recovered.v1"
    SOURCE_CONFLICT_CHANGED = "io.replicante.source.conflict-changed.v1"
    CLUSTER_SPEC_APPLIED = "io.replicante.cluster.spec-applied.v1"
    CLUSTER_SPEC_SYNTHESISED = "io.replicante.cluster.spec-synthesised.v1"
    CLUSTER_DISCOVERED = "io.replicante.cluster.discovered.v1"
    CLUSTER_DISCOVERY_CHANGED = "io.replicante.cluster.discovery-changed.v1"
    CLUSTER_DELETED = "io.replicante.cluster.deleted.v1"
    CLUSTER_MISSING = "io.replicante.cluster.missing.v1"
    CLUSTER_RETURNED = "io.replicante.cluster.returned.v1"
    CLUSTER_HEALTH_CHANGED = "io.replicante.cluster.health-changed.v1"
    CLUSTER_REPORT = "io.replicante.cluster.report.v1"
    NODE_ADDED = "io.replicante.node.added.v1"
    NODE_CHANGED = "io.replicante.node.changed.v1"
    NODE_STATUS_CHANGED = "io.replicante.node.status-changed.v1"
    NODE_REMOVED = "io.replicante.node.removed.v1"
    SHARD_ADDED = "io.replicante.shard.added.v1"
    SHARD_CHANGED = "io.replicante.shard.changed.v1"
    SHARD_REMOVED = "io.replicante.shard.removed.v1"
    PROBLEM_RAISED = "io.replicante.problem.raised.v1"
    PROBLEM_CLEARED = "io.replicante.problem.cleared.v1"
    PROBLEM_ACKNOWLEDGED = "io.replicante.problem.acknowledged.v1"
    ACTION_CREATED = "io.replicante.action.created.v1"
    ACTION_CHANGED = "io.replicante.action.changed.v1"
    ACTION_FINISHED = "io.replicante.action.finished.v1"
    ACTION_REFUSED = "io.replicante.action.refused.v1"
    ROLLING_CHANGED = "io.replicante.rolling.changed.v1"
    ROLLING_REFUSED = "io.replicante.rolling.refused.v1"
    GATE_PLACED = "io.replicante.gate.placed.v1"
    GATE_LIFTED = "io.replicante.gate.lifted.v1"
    WORK_PAUSED = "io.replicante.work.paused.v1"
    WORK_RESUMED = "io.replicante.work.resumed.v1"
    WORK_DEAD = "io.replicante.work.dead.v1"
    COMMAND_GIVEN = "io.replicante.command.given.v1"
    COORDINATOR_RESET = "io.replicante.coordinator.reset.v1"
    STORE_RESTORED = "io.replicante.store.restored.v1"
    DEGRADED_ENTERED = "io.replicante.degraded.entered.v1"
    DEGRADED_LEFT = "io.replicante.degraded.left.v1"


class EventDraft(Fact):
    """An event before it has an id and a place in its stream; what `decide` returns."""

    type: EventType
    stream: Annotated[str, Field(min_length=1, max_length=1024)]
    """What it is ordered in: the cluster's key, a namespace's name, or `SYSTEM_STREAM`."""
    subject: Annotated[str, Field(max_length=1024)]
    """What it is about: cluster, cluster/node, source ..."""
    data: dict[str, Json]


class Event(Fact):
    """An event as stored and sent. `type` is a text here: an older reader meets types it does not know."""

    event_id: str
    type: str
    stream: str
    subject: str
    sequence: int
    """Place within the stream: 1, 2, 3 ... without holes."""
    time: Utc
    data: dict[str, Json]
    published: bool = False

    @property
    def key(self) -> str:
        """Its key in the store."""
        return self.event_id
