"""Which work there is and how often: one item per active source and cluster."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace
from blocks.models.node import NodeStatus
from blocks.models.request import Request, WorkKind
from blocks.models.rolling import RollingState
from blocks.models.source import Source
from blocks.models.view import ClusterView
from tasks.decide.problems import pending_ends
from tasks.decide.rolling_turn import waits_until

FOLLOW_UP_MIN_S = 0.5
FOLLOW_UP_SHARE = 0.25
"""What has been under way for a while is looked at again after this share of that while."""


def timetable(
    namespaces: Iterable[Namespace], sources: Iterable[Source], specs: Iterable[ClusterSpec]
) -> tuple[Request, ...]:
    """The items that should be on the timetable. What is switched off stays on it, inactive, so that it is not lost."""
    by_name = {namespace.name: namespace for namespace in namespaces}
    items = [_source_item(source, by_name[source.namespace]) for source in sources if source.namespace in by_name]
    items += [_cluster_item(spec, by_name[spec.namespace]) for spec in specs if spec.namespace in by_name]
    return tuple(items)


def _source_item(source: Source, namespace: Namespace) -> Request:
    active = source.enabled and namespace.may_look
    interval = source.interval if source.interval is not None else namespace.settings.discovery_interval
    return Request(kind=WorkKind.DISCOVER, subject=source.key, interval=interval, active=active)


def _cluster_item(spec: ClusterSpec, namespace: Namespace) -> Request:
    interval = spec.interval if spec.interval is not None else namespace.settings.orchestrate_interval
    active = spec.active and namespace.may_look
    return Request(kind=WorkKind.ORCHESTRATE, subject=spec.key, interval=interval, active=active)


def follow_up(view: ClusterView, *, now: datetime) -> datetime | None:
    """When to look at a cluster again before its turn; None when nothing is under way on it.

    Something is under way when an action is with its agent (or may be, or was cancelled there), or waits for its next try, a rolling action waits, a
    node is joining or leaving, or something is a problem only if it lasts. What has just begun is looked at often, what takes hours seldom.
    """
    begun = [
        action.history[-1].at if action.history else action.created_at
        for action in view.actions.values()
        if action.under_way
    ]
    transit = {NodeStatus.JOINING_CLUSTER, NodeStatus.LEAVING_CLUSTER}
    begun += [
        one.since for one in view.rollings.values() if one.state is RollingState.RUNNING and one.since is not None
    ]
    begun += [node.status_since for node in view.nodes.values() if node.status in transit]
    soonest = now + timedelta(seconds=FOLLOW_UP_MIN_S)
    wanted = [ends] if (ends := pending_ends(view)) is not None else []
    wanted += [ends] if (ends := waits_until(view)) is not None else []
    wanted += [
        action.not_before
        for action in view.actions.values()
        if not action.state.final and action.not_before is not None and action.not_before > now
    ]
    if begun:
        age_s = max(0.0, (now - max(begun)).total_seconds())
        wanted.append(now + timedelta(seconds=age_s * FOLLOW_UP_SHARE))
    return max(soonest, min(wanted)) if wanted else None
