"""From the nodes of a cluster to the cluster: counts, lag, problems and health."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from blocks.models.cluster import ClusterState, Health
from blocks.models.node import Node, Offset
from blocks.models.problem import Problem, Severity
from blocks.models.view import ClusterView
from tasks.decide.gates import open_since
from tasks.decide.lag import lags
from tasks.decide.problems import find_problems
from tasks.decide.rules.base import Scene, scene_of
from tasks.decide.rules.table import UNKNOWN

UNITS_MAX = 20
"""In so many units the largest lag is kept, those of time first."""
COUNTED_MAX = 50
"""So many different versions, classes and groups are counted, the most frequent ones."""


def aggregate(view: ClusterView, *, now: datetime) -> ClusterState:
    """The cluster's new state.

    Args:
        view: the new nodes, and the state before.
        now: when the cycle looked.
    """
    scene = scene_of(view, now=now)
    problems, pending = find_problems(scene)
    health = _health(scene, problems)
    before, nodes = view.state, view.nodes.values()
    kept = before is not None and before.health is health
    stores = Counter(_store(node) for node in nodes if node.store_id is not None)
    lag_worst, synthesised = _lag_worst(scene)
    return ClusterState(
        namespace=view.spec.namespace,
        cluster_id=view.spec.cluster_id,
        health=health,
        health_since=before.health_since if before is not None and kept else now,
        problems=problems,
        pending=pending,
        nodes_total=len(view.nodes),
        nodes_by_status=dict(sorted(scene.statuses.items())),
        shards=len(scene.primaries),
        primaries=sum(scene.primaries.values()),
        lag_worst_ms=_worst_ms(lag_worst),
        lag_worst=lag_worst,
        lags_synthesised=synthesised,
        stores=tuple(sorted(stores)),
        versions=_counted(stores),
        agents=_counted(Counter(str(node.agent_version) for node in nodes if node.agent_version is not None)),
        node_classes=_counted(Counter(node.node_class for node in nodes if node.node_class is not None)),
        node_groups=_counted(Counter(node.node_group for node in nodes if node.node_group is not None)),
        observed_at=now,
        open_since=open_since(view, now),
    )


def _health(scene: Scene, problems: Sequence[Problem]) -> Health:
    """That of the worst problem that is no symptom of another; unknown where no node is known to serve and some may."""
    if not scene.view.nodes:
        return Health.UNKNOWN
    severities = {problem.severity for problem in problems if problem.root}
    if Severity.CRITICAL in severities:
        return Health.CRITICAL
    if any(problem.code == UNKNOWN for problem in problems) or not (scene.total or scene.newcomers):
        return Health.UNKNOWN
    return Health.DEGRADED if Severity.WARNING in severities else Health.HEALTHY


def _lag_worst(scene: Scene) -> tuple[dict[str, int], int]:
    """By unit the largest lag, and how many lags we have computed ourselves."""
    worst: dict[str, int] = {}
    synthesised = 0
    for lag in lags(scene.fresh, scene.primaries):
        synthesised += lag.synthesised
        if lag.value > worst.get(lag.unit, -1):
            worst[lag.unit] = lag.value
    kept = sorted(worst.items(), key=lambda item: (Offset(unit=item[0], value=item[1]).milliseconds is None, item[0]))
    return dict(sorted(kept[:UNITS_MAX])), synthesised


def _worst_ms(worst: dict[str, int]) -> int | None:
    moments = (Offset(unit=unit, value=value).milliseconds for unit, value in worst.items())
    return max((moment for moment in moments if moment is not None), default=None)


def _counted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.most_common(COUNTED_MAX)))


def _store(node: Node) -> str:
    return f"{node.store_id} {node.store_version}" if node.store_version is not None else str(node.store_id)
