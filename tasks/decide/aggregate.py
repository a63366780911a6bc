"""From the nodes of a cluster to the cluster: counts, lag, problems and health."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from blocks.models.cluster import ClusterState, Health
from blocks.models.node import Node, ShardRole
from blocks.models.problem import Problem, Severity
from blocks.models.view import ClusterView
from tasks.decide.problems import find_problems, fresh


def aggregate(view: ClusterView, *, now: datetime) -> ClusterState:
    """The cluster's new state.

    Args:
        view: the new nodes, and the state before.
        now: when the cycle looked.
    """
    problems, pending = find_problems(view, now=now)
    health = _health(view, problems)
    before = view.state
    kept = before is not None and before.health is health
    nodes = list(fresh(view))
    return ClusterState(
        namespace=view.spec.namespace,
        cluster_id=view.spec.cluster_id,
        health=health,
        health_since=before.health_since if before is not None and kept else now,
        problems=problems,
        pending=pending,
        nodes_total=len(view.nodes),
        nodes_by_status=dict(sorted(Counter(node.status.value for node in view.nodes.values()).items())),
        shards=len({shard.shard_id for node in nodes for shard in node.shards}),
        primaries=sum(shard.role is ShardRole.PRIMARY for node in nodes for shard in node.shards),
        lag_worst_ms=_lag_worst_ms(nodes),
        stores=tuple(sorted({_store(node) for node in view.nodes.values() if node.store_id is not None})),
        observed_at=now,
    )


def _health(view: ClusterView, problems: tuple[Problem, ...]) -> Health:
    if not view.nodes:
        return Health.UNKNOWN
    severities = {problem.severity for problem in problems}
    if Severity.CRITICAL in severities:
        return Health.CRITICAL
    return Health.DEGRADED if Severity.WARNING in severities else Health.HEALTHY


def _lag_worst_ms(nodes: list[Node]) -> int | None:
    lags = [shard.lag.milliseconds for node in nodes for shard in node.shards if shard.lag is not None]
    return max((lag for lag in lags if lag is not None and lag >= 0), default=None)


def _store(node: Node) -> str:
    return f"{node.store_id} {node.store_version}" if node.store_version is not None else str(node.store_id)
