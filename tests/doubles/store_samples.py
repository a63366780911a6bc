"""Records as the store's tests need them, and Hypothesis strategies for records with hostile contents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.event import EventDraft, EventType
from blocks.models.gate import Disruptions, Gate, GateKind, Weekly
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.node import Node, NodeStatus, Offset, Shard, ShardRole
from blocks.models.record import Fence, Record
from blocks.models.report import CycleOutcome, Report
from blocks.models.request import Request, WorkKind
from blocks.models.rolling import Pace, Rolling, RollingPlan, RollingState
from blocks.models.source import HttpDiscovery, Source, SourceReport
from blocks.models.submission import Applied, Difference, Effect, Submission
from blocks.models.tls import Sensitive, Tls

NOW = datetime(2030, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
REF = ClusterRef(namespace="prod", cluster_id="orders")
KEY = REF.key
MINUTE = timedelta(minutes=1)


def later(seconds: float) -> datetime:
    """So many seconds after `NOW`."""
    return NOW + timedelta(seconds=seconds)


def fence(token: int, generation: int = 1, subject: str = KEY) -> Fence:
    """A right to write."""
    return Fence(subject=subject, generation=generation, token=token)


def draft(number: int = 0, stream: str = KEY) -> EventDraft:
    """An event that tells its number."""
    return EventDraft(type=EventType.NODE_CHANGED, stream=stream, subject=f"{stream}/n", data={"number": number})


def spec(version: int = 1, cluster_id: str = "orders", namespace: str = "prod", interval: float = 60.0) -> ClusterSpec:
    """A wanted cluster."""
    return ClusterSpec(namespace=namespace, cluster_id=cluster_id, version=version, interval=interval)


def node(number: int = 1, cluster_id: str = "orders", namespace: str = "prod", shards: int = 1) -> Node:
    """A node with shards, a lag and names that are not ours."""
    return Node(
        namespace=namespace,
        cluster_id=cluster_id,
        node_id=f"n{number}",
        agent_address="http://127.0.0.1:8000",
        status=NodeStatus.HEALTHY,
        status_since=NOW,
        attributes={"a.b": 1, "$set": "x", "": None, "big": 10**40, "real": 0.5},
        shards=tuple(
            Shard(
                shard_id=f"s/{index}",
                role=ShardRole.SECONDARY,
                commit_offset=Offset(unit="messages", value=2**62),
                lag=Offset(unit="seconds", value=index),
            )
            for index in range(shards)
        ),
    )


def state(version: int = 1, cluster_id: str = "orders", namespace: str = "prod", seen_s: float = 0.0) -> ClusterState:
    """What a cycle saw, `seen_s` seconds after `NOW`."""
    return ClusterState(
        namespace=namespace,
        cluster_id=cluster_id,
        version=version,
        nodes_by_status={"HEALTHY": 3},
        observed_at=later(seen_s),
    )


def action(
    number: int = 1, what: ActionState = ActionState.NEW, version: int = 1, cluster_id: str = "orders"
) -> Action:
    """An action with arguments that are not ours."""
    return Action(
        action_id=str(UUID(int=number)),
        namespace="prod",
        cluster_id=cluster_id,
        node_id="n1",
        kind="agent.replicante.io/test.success",
        args={"$where": {"a.b": [1, 2**70, None, {"": "\x00"}]}},
        metadata={"replicore.io/fence": "1:2"},
        state=what,
        created_at=later(number),
        created_by="alice",
        version=version,
    )


def rolling(
    number: int = 1, what: RollingState = RollingState.RUNNING, version: int = 1, cluster_id: str = "orders"
) -> Rolling:
    """A rolling action with arguments that are not ours; node by node, its batches."""
    plan = RollingPlan(
        namespace="prod",
        cluster_id=cluster_id,
        kind="agent.replicante.io/node.restart",
        args={"$where": {"a.b": [1, 2**70, None]}},
        pace=Pace(by="zone"),
        batches=(("n2",), ("n3",), ("n1",)),
        members=("n1", "n2", "n3"),
    )
    return Rolling(
        rolling_id=str(UUID(int=1_000 + number)),
        plan=plan,
        state=what,
        created_at=later(number),
        created_by="alice",
        ended={"n2": ActionState.DONE},
        version=version,
    )


def source() -> Source:
    """A source with secrets."""
    tls = Tls(
        ca_bundle=Sensitive.model_validate({"file": "/ca.pem"}), client_cert=Sensitive.model_validate("CERTIFICATE")
    )
    return Source.model_validate(
        {
            "namespace": "prod",
            "name": "inventory",
            "http": HttpDiscovery.model_validate(
                {
                    "url": "https://inventory:8443/path?a=b",
                    "headers": {"X.Token$": "open sesame"},
                    "body": {"$in": [10**30]},
                    "tls": tls,
                }
            ),
            "version": 1,
        }
    )


def one_of_each() -> list[Record]:
    """A record of every type."""
    return [
        Namespace(name="prod", tls=Tls(ca_bundle=Sensitive.model_validate("-----BEGIN"))),
        source(),
        SourceReport(namespace="prod", name="inventory", at=NOW, duration_s=0.25, clusters=3),
        spec(),
        Discovery(namespace="prod", cluster_id="orders", source="prod/inventory"),
        state(),
        node(),
        action(),
        Report(
            namespace="prod",
            cluster_id="orders",
            started_at=NOW,
            outcome=CycleOutcome.SUCCESS,
            phases_ms={"poll.nodes": 12.5},
        ),
        Gate(
            name="nights",
            kind=GateKind.MAINTENANCE,
            namespace="prod",
            reason="few users",
            owner="ann",
            expires_at=later(86_400),
            weekly=Weekly(days=("sat", "sun"), at="02:00", minutes=240, zone="Europe/Rome"),
            created_at=NOW,
            created_by="ann",
        ),
        rolling(),
        Disruptions(namespace="prod", holders=("00000000-0000-0000-0000-000000000001",)),
        Submission(
            submission_id="00000000-0000-0000-0000-000000000009",
            manifests="kind: Namespace",
            by="ann",
            at=NOW,
            applied=(
                Applied(
                    kind="ClusterSpec",
                    name="prod/orders",
                    effect=Effect.CHANGED,
                    differences=(Difference(path="interval", after=5.0),),
                ),
            ),
        ),
    ]


def item(
    subject: str, interval: float | None = 60.0, *, active: bool = True, next_at: datetime | None = NOW
) -> Request:
    """A work item to be put on the timetable."""
    return Request(kind=WorkKind.ORCHESTRATE.value, subject=subject, interval=interval, active=active, next_at=next_at)


def items(count: int) -> list[Request]:
    """So many different ones, due at `NOW`."""
    return [item(f"prod/c{number:04}") for number in range(count)]
