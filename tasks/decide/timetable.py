"""Which work there is and how often: one item per active source and cluster."""

from __future__ import annotations

from collections.abc import Iterable

from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace
from blocks.models.request import Request, WorkKind
from blocks.models.source import Source


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
    return Request(kind=WorkKind.DISCOVER, subject=source.key, interval=source.interval, active=active)


def _cluster_item(spec: ClusterSpec, namespace: Namespace) -> Request:
    interval = spec.interval if spec.interval is not None else namespace.settings.orchestrate_interval
    active = spec.active and namespace.may_look
    return Request(kind=WorkKind.ORCHESTRATE, subject=spec.key, interval=interval, active=active)
