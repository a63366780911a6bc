"""Which nodes are watched, where their agents are, and how often: from what discovery and people say."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.agents.protocol import Target
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.ids import NodeRef
from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.models.record import Record
from blocks.models.request import WorkKind, work_key
from blocks.store.protocol import Store

CLUSTERS_MAX = 100_000
PROBE_TIMEOUT_MIN_S = 1.0
"""The interval does not make the deadline of a probe shorter than this, in seconds: agents need some time to answer."""

R = TypeVar("R", bound=Record)

_logger = logging.getLogger("replicore.watch")


@dataclass(frozen=True, slots=True)
class Watchable:
    """A node that is watched."""

    cluster: str
    """Key of its cluster."""
    target: Target
    interval_s: float
    """Seconds between two probes; 0 means that it is not watched."""


@task(name="load targets", cache_policy=NO_CACHE)
async def load_targets(store: Store, now: datetime) -> dict[str, Watchable]:
    """By node key, every node of every active cluster in a namespace that may be looked at, but of no paused one."""
    paused = await store.paused(now)
    namespaces = {namespace.name: namespace for namespace in await _readable(store, Namespace)}
    specs = {spec.key: spec for spec in await _readable(store, ClusterSpec)}
    found: dict[str, Watchable] = {}
    for discovery in await _readable(store, Discovery):
        spec, namespace = specs.get(discovery.key), namespaces.get(discovery.namespace)
        if spec is None or namespace is None or not spec.active or not namespace.may_look:
            continue
        if work_key(WorkKind.ORCHESTRATE, spec.key) in paused:
            continue
        interval_s = spec.probe_interval if spec.probe_interval is not None else namespace.settings.probe_interval
        if interval_s <= 0:
            continue
        for node in discovery.nodes:
            ref = NodeRef(namespace=discovery.namespace, cluster_id=discovery.cluster_id, node_id=node.node_id)
            target = Target(
                node_id=node.node_id,
                agent_address=node.agent_address,
                only=namespace.settings.agent_protocol,
                tls=namespace.tls,
                timeout_s=probe_timeout_s(namespace.settings, interval_s),
            )
            found[ref.key] = Watchable(discovery.key, target, interval_s)
    return found


async def _readable(store: Store, type_: type[R]) -> list[R]:
    """All that can be read; one broken record keeps nothing else from being watched."""
    found, broken = await store.readable(type_, limit=CLUSTERS_MAX)
    if broken:
        _logger.warning("%d %s records cannot be read, such as %s", len(broken), type_.__name__, broken[0])
    return found


def probe_timeout_s(settings: NamespaceSettings, interval_s: float) -> float:
    """Deadline of a probe, in seconds: what the namespace says, but no more than a look gets for a request, and no more than
    the interval, so that two misses in a row are told within about two intervals.
    """
    return min(settings.probe_timeout, settings.agent_timeout, max(interval_s, PROBE_TIMEOUT_MIN_S))
