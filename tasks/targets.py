"""Which nodes are watched, where their agents are, and how often: from what discovery and people say."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.agents.protocol import Target
from blocks.errors import RecordError
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.ids import NodeRef
from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.models.record import Record
from blocks.models.request import WorkKind, work_key
from blocks.store.protocol import Store

CLUSTERS_MAX = 100_000
PROBE_TIMEOUT_MIN_S = 1.0
"""The interval does not make the deadline of a probe shorter than this, in seconds: agents need some time to answer."""

WHOLE_EVERY = timedelta(seconds=60)
"""So often everything is read, whatever versions say."""

R = TypeVar("R", bound=Record)
S = TypeVar("S", ClusterSpec, Discovery)

_logger = logging.getLogger("replicore.watch")


@dataclass(frozen=True, slots=True)
class Watchable:
    """A node that is watched."""

    cluster: str
    """Key of its cluster."""
    target: Target
    interval_s: float
    """Seconds between two probes; 0 means that it is not watched."""


Made = tuple[tuple[str, Watchable], ...]
"""The nodes of one cluster, by key."""


@dataclass(slots=True)
class Known:
    """What was loaded last: of an unchanged fleet only the versions of records are read again."""

    whole_at: datetime | None = None
    """When everything was read."""
    specs: dict[str, ClusterSpec] = field(default_factory=dict)
    discoveries: dict[str, Discovery] = field(default_factory=dict)
    made: dict[str, tuple[ClusterSpec, Discovery, Namespace, Made]] = field(default_factory=dict)
    """By cluster key, what its nodes were made from, and they."""


@task(name="load targets", cache_policy=NO_CACHE)
async def load_targets(store: Store, now: datetime, known: Known | None = None) -> dict[str, Watchable]:
    """By node key, every node of every active cluster in a namespace that may be looked at, but of no paused one.

    Args:
        store: where they are.
        now: the present.
        known: what was loaded last, changed in place. Everything is read anew each `WHOLE_EVERY`: a record that was deleted and
            made again has a version that it had before.
    """
    known = known if known is not None else Known()
    paused = await store.paused(now)
    namespaces = {namespace.name: namespace for namespace in await _readable(store, Namespace)}
    whole = known.whole_at is None or now - known.whole_at >= WHOLE_EVERY
    known.specs = await _current(store, ClusterSpec, {} if whole else known.specs)
    known.discoveries = await _current(store, Discovery, {} if whole else known.discoveries)
    known.whole_at = now if whole else known.whole_at
    made: dict[str, tuple[ClusterSpec, Discovery, Namespace, Made]] = {}
    found: dict[str, Watchable] = {}
    for key, discovery in known.discoveries.items():
        spec, namespace = known.specs.get(key), namespaces.get(discovery.namespace)
        if spec is None or namespace is None or not spec.active or not namespace.may_look:
            continue
        if work_key(WorkKind.ORCHESTRATE, spec.key) in paused:
            continue
        before = known.made.get(key)
        same = before is not None and before[0] is spec and before[1] is discovery and before[2] == namespace
        made[key] = (
            before if before is not None and same else (spec, discovery, namespace, _made(spec, discovery, namespace))
        )
        found.update(made[key][3])
    known.made = made
    return found


def _made(spec: ClusterSpec, discovery: Discovery, namespace: Namespace) -> Made:
    interval_s = spec.probe_interval if spec.probe_interval is not None else namespace.settings.probe_interval
    if interval_s <= 0:
        return ()
    timeout_s = probe_timeout_s(namespace.settings, interval_s)
    nodes = []
    for node in discovery.nodes:
        ref = NodeRef(namespace=discovery.namespace, cluster_id=discovery.cluster_id, node_id=node.node_id)
        target = Target(
            node_id=node.node_id,
            agent_address=node.agent_address,
            only=namespace.settings.agent_protocol,
            tls=namespace.tls,
            timeout_s=timeout_s,
        )
        nodes.append((ref.key, Watchable(discovery.key, target, interval_s)))
    return tuple(nodes)


async def _current(store: Store, type_: type[S], known: Mapping[str, S]) -> dict[str, S]:
    """All that can be read; with `known`, only what has another version than there."""
    if not known:
        return {record.key: record for record in await _readable(store, type_)}
    versions = await store.versions(type_, limit=CLUSTERS_MAX)
    kept = {key: record for key, record in known.items() if versions.get(key) == record.version}
    other = versions.keys() - kept.keys()
    try:
        return kept | await store.get_many(type_, other)
    except RecordError:
        return {record.key: record for record in await _readable(store, type_)}


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
