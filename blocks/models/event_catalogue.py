"""The catalogue of events: by type, its data, when it is sent, in which stream, about what, and an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from blocks.models import event_data as data
from blocks.models.base import Json
from blocks.models.event import EventType


class Stream(StrEnum):
    """What events are ordered in."""

    CLUSTER = "the cluster"
    NAMESPACE = "the namespace"
    SYSTEM = "the system"


@dataclass(frozen=True, slots=True)
class Entry:
    """One type of event."""

    data: type[data.Data]
    when: str
    stream: Stream
    subject: str
    example: Mapping[str, Json]

    @property
    def stream_example(self) -> str:
        """The stream of the example."""
        return {Stream.CLUSTER: "prod/orders", Stream.NAMESPACE: "prod", Stream.SYSTEM: "replicore"}[self.stream]


def _of_cluster(data_: type[data.Data], when: str, about: str = "prod/orders", /, **example: Json) -> Entry:
    return Entry(data_, when, Stream.CLUSTER, about, example)


def _of_node(data_: type[data.Data], when: str, **example: Json) -> Entry:
    return Entry(data_, when, Stream.CLUSTER, "prod/orders/n1", {"node_id": "n1", **example})


def _of_namespace(data_: type[data.Data], when: str, about: str, /, **example: Json) -> Entry:
    return Entry(data_, when, Stream.NAMESPACE, about, example)


def _of_system(data_: type[data.Data], when: str, about: str, /, **example: Json) -> Entry:
    return Entry(data_, when, Stream.SYSTEM, about, example)


def _action(when: str, state: str, before: str | None, **example: Json) -> Entry:
    moved: dict[str, Json] = {
        "action_id": "00000000-0000-0000-0000-000000000001",
        "node_id": "n1",
        "kind": "agent.replicante.io/test.success",
        "state": state,
        "state_before": before,
        "payload": None,
        "error": None,
        "attempts": 0,
    }
    return Entry(data.ActionMoved, when, Stream.CLUSTER, "prod/orders/n1", {**moved, **example})


_SPEC: dict[str, Json] = {"namespace": "prod", "cluster_id": "orders", "interval": 60.0, "active": True}
_SOURCE: dict[str, Json] = {"namespace": "prod", "name": "inventory", "interval": 60.0}
_NODE: dict[str, Json] = {"node_id": "n1", "agent_address": "http://10.0.0.1:8000", "node_class": "mongodb"}
_TOLD: dict[str, Json] = {"source": "prod/inventory", "display_name": "Orders", "labels": {"env": "prod"}}
_REPORT: dict[str, Json] = {
    "namespace": "prod",
    "cluster_id": "orders",
    "started_at": "2026-03-01T12:00:00Z",
    "outcome": "success",
    "phases_ms": {"poll": 12.5, "decide": 0.4, "save": 3.1},
    "nodes_synced": 3,
    "events": 1,
}
_DEGRADED: dict[str, Json] = {
    "mode": "NO_QUEUE",
    "meaning": "Kafka is away: work is claimed straight from MongoDB, events wait in the outbox",
    "worker": "host-1-4711",
}
_GATE: dict[str, Json] = {
    "name": "freeze-prod-orders",
    "kind": "freeze",
    "where": "prod/orders",
    "owner": "ann",
    "who": "ann",
    "why": "disk trouble",
}
_PAUSE: dict[str, Json] = {"kind": "orchestrate", "subject": "prod/orders", "who": "ann", "why": "disks"}

CATALOGUE: Mapping[EventType, Entry] = MappingProxyType({
    EventType.NAMESPACE_APPLIED: _of_namespace(
        data.Applied, "A Namespace was created or changed, or begins to be deleted.", "prod",
        who="ann", kind="Namespace", before=None, after={"name": "prod", "status": "Active"},
    ),
    EventType.NAMESPACE_DELETED: _of_namespace(
        data.NamespaceDeleted, "Nothing is left in a deleted namespace; once more when a person frees its name.", "prod", name_free=False
    ),
    EventType.SOURCE_APPLIED: _of_namespace(
        data.Applied, "A DiscoverySettings or Platform was created or changed.", "prod/inventory",
        who="ann", kind="DiscoverySettings", before=None, after=_SOURCE,
    ),
    EventType.SOURCE_DELETED: _of_namespace(
        data.SourceDeleted, "A DiscoverySettings or Platform was deleted.", "prod/inventory",
        who="ann", why="moved", forced=False, kind="DiscoverySettings", clusters_missing=3, secrets_forgotten=[],
    ),
    EventType.SOURCE_FAILED: _of_namespace(
        data.SourceState, "A source fails that did not, or in another way than before.", "prod/inventory",
        source="prod/inventory", error="connection refused",
    ),
    EventType.SOURCE_RECOVERED: _of_namespace(
        data.SourceState, "A source that failed gives a good answer.", "prod/inventory", source="prod/inventory", error=None
    ),
    EventType.SOURCE_CONFLICT_CHANGED: _of_namespace(
        data.SourceConflict, "A source tells of clusters that belong to other sources, of which it did not before; or no longer does.",
        "prod/inventory", source="prod/inventory", conflicts=1, owners={"orders": "prod/metal"},
    ),
    EventType.CLUSTER_SPEC_APPLIED: _of_cluster(
        data.Applied, "A ClusterSpec was created or changed.", who="ann", kind="ClusterSpec", before=None, after=_SPEC
    ),
    EventType.CLUSTER_SPEC_SYNTHESISED: _of_cluster(
        data.FromSource, "A source told of a cluster that nobody had declared: a ClusterSpec was made.", source="prod/inventory"
    ),
    EventType.CLUSTER_DISCOVERED: _of_cluster(
        data.DiscoveredAs, "A source told of a cluster for the first time.", "prod/orders", **_TOLD, nodes=[_NODE]
    ),
    EventType.CLUSTER_DISCOVERY_CHANGED: _of_cluster(
        data.DiscoveryChanged, "The source tells other nodes, labels or names of a cluster.",
        before={**_TOLD, "nodes": []}, after={**_TOLD, "nodes": [_NODE]},
    ),
    EventType.CLUSTER_DELETED: _of_cluster(
        data.ClusterDeleted, "A cluster was deleted by a person, or with its namespace.",
        who="ann", why="retired", forced=False, nodes=3, actions_cancelled=1, source="prod/inventory", still_told_by=None,
    ),
    EventType.CLUSTER_MISSING: _of_cluster(
        data.Missing, "A good answer of the source came without the cluster, or the source was deleted.",
        source="prod/inventory", reason="its source no longer tells of it",
    ),
    EventType.CLUSTER_RETURNED: _of_cluster(
        data.FromSource, "A source tells again of a missing cluster.", source="prod/inventory"
    ),
    EventType.CLUSTER_HEALTH_CHANGED: _of_cluster(
        data.HealthChanged, "A cycle judged the cluster's health to be another one.",
        before="HEALTHY", after="DEGRADED", nodes_total=3, nodes_by_status={"HEALTHY": 2, "UNREACHABLE": 1},
    ),
    EventType.CLUSTER_REPORT: _of_cluster(
        data.Reported, "A cycle changed or sent something, failed, or was run by a person.", report=_REPORT
    ),
    EventType.NODE_ADDED: _of_node(
        data.NodeAdded, "A node was looked at for the first time.", status="HEALTHY",
        agent_address="http://10.0.0.1:8000", protocol="B", store_id="mongo.replica", store_version={"number": "8.0.4"},
    ),
    EventType.NODE_CHANGED: _of_node(
        data.NodeChanged, "Versions, addresses, attributes or identity of a node changed.",
        before={"store_version": {"number": "8.0.4"}}, after={"store_version": {"number": "8.0.5"}},
    ),
    EventType.NODE_STATUS_CHANGED: _of_node(
        data.NodeStatusChanged, "A node's status changed.", before="HEALTHY", after="UNREACHABLE", reason="connection refused"
    ),
    EventType.NODE_REMOVED: _of_node(
        data.NodeRemoved, "The source no longer lists the node. Its shards go with it; its problems are told to be cleared.", status="UNREACHABLE"
    ),
    EventType.SHARD_ADDED: _of_node(data.ShardAdded, "A node tells of a shard that it had not.", shard_id="rs0", role="secondary"),
    EventType.SHARD_CHANGED: _of_node(
        data.ShardChanged, "A node is something else for a shard: an election, a failover.",
        shard_id="rs0", role="primary", role_before="secondary",
    ),
    EventType.SHARD_REMOVED: _of_node(data.ShardRemoved, "A good answer of the node came without the shard.", shard_id="rs0"),
    EventType.PROBLEM_RAISED: _of_cluster(
        data.ProblemRaised, "A rule of the table of problems matches that did not.", "prod/orders/n1",
        code="NODE_UNREACHABLE", node_id="n1", severity="warning", description="The agent does not answer.", evidence="connection refused",
    ),
    EventType.PROBLEM_CLEARED: _of_cluster(
        data.ProblemCleared, "It matches no longer.", "prod/orders/n1", code="NODE_UNREACHABLE", node_id="n1"
    ),
    EventType.PROBLEM_ACKNOWLEDGED: _of_cluster(
        data.ProblemAcknowledged, "A person has seen it. What only tells of the past is cleared by that, with an event of its own.",
        "prod/orders/n1", code="OFFSET_WENT_BACK", node_id="n1", since="2026-03-01T12:00:00Z", who="ann", why="restored from backup",
    ),
    EventType.ACTION_CREATED: _action(
        "An action was ordered, or an agent tells of one that we do not know.", "PENDING_APPROVE", None, who="ann", why="ordered"
    ),
    EventType.ACTION_CHANGED: _action(
        "An action moved (approved, sent, runs), or told of progress.", "RUNNING", "NEW", payload={"percent": 50}, who="agent"
    ),
    EventType.ACTION_FINISHED: _action("An action came into a final state: it never moves again.", "DONE", "RUNNING", who="agent"),
    EventType.ACTION_REFUSED: _of_node(
        data.ActionRefused, "An agent claims a move of an action that there is not; told once.",
        action_id="00000000-0000-0000-0000-000000000001", state="DONE", wanted="RUNNING", reason="DONE is final",
    ),
    EventType.ROLLING_CHANGED: _of_cluster(
        data.RollingChanged, "A rolling action was ordered, moved, or went on to its next batch.",
        rolling_id="00000000-0000-0000-0000-000000000002", kind="agent.replicante.io/node.restart", state="RUNNING",
        state_before="PENDING_APPROVE", batch=0, batches=3, nodes_done=0, nodes_failed=0, digest="0123456789abcdef",
        who="bob", why="approved",
    ),
    EventType.ROLLING_REFUSED: _of_cluster(
        data.RollingRefused, "A person ordered a move of a rolling action that there is not, or that they may not order.",
        rolling_id="00000000-0000-0000-0000-000000000002", state="DONE", wanted="CANCELLED", who="bob", reason="DONE is final",
    ),
    EventType.GATE_PLACED: _of_cluster(
        data.GatePlaced, "A person froze something, or declared a window. In the stream of the cluster, of the namespace, or of the system.",
        "freeze-prod-orders", **_GATE, until="2026-03-01T14:00:00Z",
    ),
    EventType.GATE_LIFTED: _of_cluster(data.GateLifted, "A person took it away.", "freeze-prod-orders", **_GATE),
    EventType.WORK_PAUSED: _of_cluster(
        data.WorkPaused, "A person paused a cluster, or (in its namespace's stream) a source.", "orchestrate:prod/orders",
        **_PAUSE, until="2026-03-01T14:00:00Z",
    ),
    EventType.WORK_RESUMED: _of_cluster(
        data.WorkPaused, "A person ended a pause. A pause that ends by itself makes no event: `until` said it.",
        "orchestrate:prod/orders", **_PAUSE, until=None,
    ),
    EventType.WORK_DEAD: _of_system(
        data.WorkDead, "A work item failed, or killed its worker, too often.", "apply:4711",
        kind="apply", subject="4711", attempts=8, error="record too large",
    ),
    EventType.COMMAND_GIVEN: _of_system(
        data.CommandGiven, "The audit: a person gave a command, whatever came of it.", "00000000-0000-0000-0000-000000000001",
        command="approve", subject="00000000-0000-0000-0000-000000000001", arguments={"comment": "go"}, who="ann@host-1",
        origin="replictl, ann@host-1", flow_run=None, outcome="refused", reason="it is DONE",
    ),
    EventType.COORDINATOR_RESET: _of_system(
        data.CoordinatorReset, "A person raised the generation after ZooKeeper lost its data.", "coordinator",
        generation=2, who="ann", why="ensemble rebuilt",
    ),
    EventType.STORE_RESTORED: _of_system(
        data.StoreRestored, "A person set MongoDB back to an earlier moment. Nothing is done until that person's freeze is lifted.",
        "store", at="2026-03-01T12:00:00Z", who="ann", why="the disk burned", read_back=120, doubted=2,
    ),
    EventType.DEGRADED_ENTERED: _of_system(
        data.Degraded, "A worker finds a dependency away. Said once the store takes it.", "replicore", **_DEGRADED, detail="no broker answers"
    ),
    EventType.DEGRADED_LEFT: _of_system(
        data.Degraded, "It is back.", "replicore", **_DEGRADED, detail="after 12.0 s"
    ),
})  # fmt: skip
"""Every type that we send."""
