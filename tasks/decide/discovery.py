"""What a source's complete answer means for one namespace: new, changed and missing clusters, as changes and events.

Nothing is ever deleted here: a cluster that its source no longer tells of is marked missing. A cluster belongs to the
source that told of it first; what another says of it is refused, and said. A record that could not be used is no absence:
what it may be about stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from blocks.models.base import Json
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.event import EventDraft, EventType
from blocks.models.ids import ClusterRef
from blocks.models.record import Change
from blocks.models.source import DiscoveredCluster, DiscoveredNode, Rejected, Source
from tasks.decide.diff import draft


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a source's answer leads to."""

    changes: dict[str, Change] = field(default_factory=dict)
    """By cluster key: one all-or-nothing change each. Unchanged clusters have none."""
    new: tuple[ClusterRef, ...] = ()
    changed: tuple[ClusterRef, ...] = ()
    missing: tuple[ClusterRef, ...] = ()
    """Those that went missing now, not those that already were."""
    rejected: tuple[Rejected, ...] = ()
    suspicious: str | None = None
    """Why nothing at all was concluded, although there was an answer."""


def discovered(
    source: Source,
    clusters: tuple[DiscoveredCluster, ...],
    known: Mapping[str, Discovery],
    specs: frozenset[str],
    *,
    now: datetime,
    unusable: Sequence[Rejected] = (),
) -> Outcome:
    """Compare a source's answer with what is stored.

    Args:
        source: who answered.
        clusters: its answer, each cluster once.
        known: by cluster key, the discovery records of the source's namespace.
        specs: keys of the clusters that have a spec.
        now: when it answered.
        unusable: records of the answer that could not be used.
    """
    mine = {key: record for key, record in known.items() if record.source == source.key}
    present = {key for key, record in mine.items() if record.missing_since is None}
    if not clusters and present:
        return Outcome(suspicious=f"an empty answer after one with {len(present)} clusters: nothing was changed")
    changes: dict[str, Change] = {}
    new: list[ClusterRef] = []
    changed: list[ClusterRef] = []
    rejected: list[Rejected] = []
    told = {ClusterRef(namespace=source.namespace, cluster_id=bad.cluster_id).key for bad in unusable if bad.cluster_id}
    for cluster in clusters:
        ref = ClusterRef(namespace=source.namespace, cluster_id=cluster.cluster_id)
        told.add(ref.key)
        before = known.get(ref.key)
        if before is not None and before.source != source.key:
            rejected.append(
                Rejected(what=str(ref), reason=f"it belongs to source {before.source}, which told of it first")
            )
            continue
        nodes = _with_unusable(cluster, before, unusable)
        change = _cluster(source, ref, cluster.evolve(nodes=nodes), before, has_spec=ref.key in specs)
        if not change.empty:
            changes[ref.key] = change
            (new if before is None else changed).append(ref)
    missing = []
    for key in sorted(present - told) if all(bad.cluster_id for bad in unusable) else ():
        changes[key] = _missing(mine[key], now)
        missing.append(mine[key].ref)
    return Outcome(changes, tuple(new), tuple(changed), tuple(missing), tuple(rejected))


def _with_unusable(
    cluster: DiscoveredCluster, before: Discovery | None, unusable: Sequence[Rejected]
) -> tuple[DiscoveredNode, ...]:
    """The cluster's nodes, and those known ones of which the answer may have told in a record that could not be used."""
    bad = {one.node_id for one in unusable if one.cluster_id == cluster.cluster_id}
    if before is None or not bad:
        return cluster.nodes
    told = {node.node_id for node in cluster.nodes}
    kept = (node for node in before.nodes if node.node_id not in told and (None in bad or node.node_id in bad))
    return (*cluster.nodes, *kept)


def _cluster(
    source: Source, ref: ClusterRef, cluster: DiscoveredCluster, before: Discovery | None, *, has_spec: bool
) -> Change:
    after = Discovery(
        namespace=ref.namespace,
        cluster_id=ref.cluster_id,
        source=source.key,
        display_name=cluster.display_name,
        nodes=tuple(sorted(cluster.nodes, key=lambda node: node.node_id)),
        version=(before.version if before is not None else 0) + 1,
    )
    change = Change()
    if not has_spec:
        spec = ClusterSpec(namespace=ref.namespace, cluster_id=ref.cluster_id, synthetic=True, version=1)
        synthesised = draft(ref, EventType.CLUSTER_SPEC_SYNTHESISED, str(ref), source=source.key)
        change += Change(swaps=(spec,), drafts=(synthesised,))
    if before is None:
        drafts = (draft(ref, EventType.CLUSTER_DISCOVERED, str(ref), source=source.key, nodes=_nodes(after.nodes)),)
        return change + Change(swaps=(after,), drafts=drafts)
    returned = before.missing_since is not None
    if not returned and (before.display_name, before.nodes) == (after.display_name, after.nodes):
        return change
    drafts_of_change = []
    if returned:
        drafts_of_change.append(draft(ref, EventType.CLUSTER_RETURNED, str(ref), source=source.key))
    if before.nodes != after.nodes or before.display_name != after.display_name:
        drafts_of_change.append(_changed(ref, before, after))
    return change + Change(swaps=(after,), drafts=tuple(drafts_of_change))


def _changed(ref: ClusterRef, before: Discovery, after: Discovery) -> EventDraft:
    return draft(
        ref,
        EventType.CLUSTER_DISCOVERY_CHANGED,
        str(ref),
        before={"display_name": before.display_name, "nodes": _nodes(before.nodes)},
        after={"display_name": after.display_name, "nodes": _nodes(after.nodes)},
    )


def _missing(before: Discovery, now: datetime) -> Change:
    after = before.evolve(missing_since=now, version=before.version + 1)
    told = draft(before.ref, EventType.CLUSTER_MISSING, str(before.ref), source=before.source)
    return Change(swaps=(after,), drafts=(told,))


def _nodes(nodes: tuple[DiscoveredNode, ...]) -> list[Json]:
    return [{"node_id": node.node_id, "agent_address": node.agent_address} for node in nodes[:1_000]]
