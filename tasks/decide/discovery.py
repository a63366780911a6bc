"""What a source's complete answer means for one namespace: new, changed and missing clusters, as changes and events.

Nothing is ever deleted here: a cluster that its source no longer tells of is marked missing. A cluster belongs to the
source that told of it first, as long as that source exists; what another says of it is refused, and said. A record that
could not be used is no absence: what it may be about stays as it was. One of which only a part was not used is no matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from blocks.models.base import Json
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.event import EventDraft, EventType
from blocks.models.ids import ClusterRef, SourceRef
from blocks.models.record import Change
from blocks.models.source import DiscoveredCluster, DiscoveredNode, Rejected, Source, SourceReport
from tasks.decide.diff import draft
from tasks.decide.rules.base import without_secrets

NAMED_MAX = 10
SHARED_TOLD_MAX = 50
"""So many agents that are in several clusters are told of one by one."""
NODES_TOLD_MAX = 1_000
"""So many nodes of a cluster are in an event."""
LABELS_TOLD_MAX = 2_000
"""So many labels of them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a source's answer leads to."""

    changes: dict[str, Change] = field(default_factory=dict)
    """By cluster key: one all-or-nothing change each. Unchanged clusters have none."""
    new: tuple[ClusterRef, ...] = ()
    changed: tuple[ClusterRef, ...] = ()
    missing: tuple[ClusterRef, ...] = ()
    """Those that went missing now, not those that already were."""
    absent: int = 0
    """How many of the source's clusters are missing now."""
    rejected: tuple[Rejected, ...] = ()
    """Those that belong to other sources, that are not believed, or about which nothing could be concluded; and, as partial
    ones, agents that the answer has in several clusters."""
    owners: dict[str, str] = field(default_factory=dict)
    """By the id of each of these clusters, the source that it belongs to."""
    suspicious: str | None = None
    """Why nothing at all was concluded, although there was an answer."""


def discovered(
    source: Source,
    clusters: tuple[DiscoveredCluster, ...],
    known: Mapping[str, Discovery],
    specs: frozenset[str],
    *,
    now: datetime,
    owners: frozenset[str],
    unusable: Sequence[Rejected] = (),
    unreadable: Collection[str] = (),
    last: SourceReport | None = None,
) -> Outcome:
    """Compare a source's answer with what is stored.

    Args:
        source: who answered.
        clusters: its answer, each cluster once.
        known: by cluster key, the discovery records of the source, and those of others for clusters of the answer.
        specs: keys of the clusters of the answer that have a spec.
        now: when it answered.
        owners: keys of the sources that exist, among those that own a record of `known`.
        unusable: records of the answer that could not be used.
        unreadable: keys of discovery records, of the source or of clusters of the answer, that cannot be read.
        last: the source's last report.
    """
    mine = {key: record for key, record in known.items() if record.source == source.key}
    present = {key for key, record in mine.items() if record.missing_since is None}
    if not clusters and (why := _suspicious(len(present) + len(unreadable), last)):
        return Outcome(suspicious=why)
    unused = [bad for bad in unusable if not bad.partial]
    bad_nodes: dict[str, set[str | None]] = defaultdict(set)
    for bad in unused:
        if bad.cluster_id is not None:
            bad_nodes[_ref(source, bad.cluster_id).key].add(bad.node_id)
    changes: dict[str, Change] = {}
    new: list[ClusterRef] = []
    changed: list[ClusterRef] = []
    rejected = [_unread(ClusterRef.from_key(key)) for key in sorted(unreadable)]
    owned: dict[str, str] = {}
    told = set(bad_nodes)
    for cluster in clusters:
        ref = _ref(source, cluster.cluster_id)
        told.add(ref.key)
        if ref.key in unreadable:
            continue
        before = known.get(ref.key)
        if before is not None and before.source != source.key and before.source in owners:
            reason = f"it belongs to source {before.source}, which told of it first"
            owned[cluster.cluster_id] = before.source
            rejected.append(Rejected(what=str(ref), reason=reason, cluster_id=cluster.cluster_id))
            continue
        nodes = _with_unusable(cluster, before, bad_nodes.get(ref.key, set()))
        if not nodes and before is not None and before.nodes:
            reason = (
                f"it is told of without any node, after {len(before.nodes)}: not believed, nothing of it was changed"
            )
            rejected.append(Rejected(what=str(ref), reason=reason, cluster_id=cluster.cluster_id))
            continue
        change = _cluster(source, ref, cluster, nodes, before, has_spec=ref.key in specs)
        if not change.empty:
            changes[ref.key] = change
            (new if before is None else changed).append(ref)
    gone = [mine[key] for key in sorted(present - told)]
    nameless = [bad for bad in unused if bad.cluster_id is None]
    if gone and nameless:
        rejected.append(_withheld(nameless, gone))
        gone = []
    rejected += _shared_agents(clusters)
    absent = sum(record.missing_since is not None and key not in changes for key, record in mine.items())
    changes |= {record.key: _missing(record, now) for record in gone}
    return Outcome(
        changes=changes,
        new=tuple(new),
        changed=tuple(changed),
        missing=tuple(record.ref for record in gone),
        absent=absent + len(gone),
        rejected=tuple(rejected),
        owners=owned,
    )


def _suspicious(present: int, last: SourceReport | None) -> str | None:
    """Why an answer without any cluster is not believed: there was something before, if only clusters of other sources."""
    if present:
        return f"an empty answer after one with {present} clusters: nothing was changed"
    if last is not None and last.conflicts is not None:
        return (
            f"an empty answer after one with {last.clusters} clusters, some of them those of other sources: nothing was "
            "changed. If it is right, delete the source and apply it again"
        )
    return None


def _unread(ref: ClusterRef) -> Rejected:
    """A cluster of which nothing can be concluded, whether it is told of or not."""
    reason = (
        "what is stored of it cannot be read (`replictl admin validate` names it): nothing of it was changed, and it is not "
        f"missing. `replictl delete cluster {ref}` removes it; if it is told of then, it is new"
    )
    return Rejected(what=str(ref), reason=reason, cluster_id=ref.cluster_id)


def source_removed(source: Source | SourceRef, known: Iterable[Discovery], *, now: datetime) -> dict[str, Change]:
    """By cluster key, what the end of a source means: those of its clusters that are present are missing from now on.

    Args:
        source: which is gone.
        known: discovery records; those of other sources are left alone.
        now: since when.
    """
    return {
        record.key: _missing(record, now, "its source was deleted")
        for record in known
        if record.source == source.key and record.missing_since is None
    }


def _withheld(nameless: Sequence[Rejected], gone: Sequence[Discovery]) -> Rejected:
    """Why clusters that are not told of are not missing: a record that could not be used may be about any of them."""
    names = ", ".join(str(record.ref) for record in gone[:NAMED_MAX])
    more = f" and {len(gone) - NAMED_MAX} more" if len(gone) > NAMED_MAX else ""
    reason = (
        f"it does not say of which cluster it is; as long as it is there these are not marked missing: {names}{more}"
    )
    return Rejected(what=nameless[0].what, reason=reason)


def _shared_agents(clusters: Iterable[DiscoveredCluster]) -> Iterator[Rejected]:
    """Agents that an answer has in more than one cluster. They are looked at in each of them; most likely one is a mistake."""
    first: dict[str, str] = {}
    shared: dict[str, dict[str, None]] = {}
    for cluster in clusters:
        for node in cluster.nodes:
            known = first.setdefault(node.agent_address, cluster.cluster_id)
            if known != cluster.cluster_id:
                shared.setdefault(node.agent_address, {known: None})[cluster.cluster_id] = None
    for address in sorted(shared)[:SHARED_TOLD_MAX]:
        among = list(shared[address])
        more = f" and {len(among) - NAMED_MAX} more" if len(among) > NAMED_MAX else ""
        reason = f"it is told of in several clusters and looked at in each: {', '.join(among[:NAMED_MAX])}{more}"
        yield Rejected(what=f"agent {without_secrets(address)}", reason=reason, partial=True)
    if len(shared) > SHARED_TOLD_MAX:
        what, reason = f"{len(shared) - SHARED_TOLD_MAX} more agents", "they are told of in several clusters"
        yield Rejected(what=what, reason=reason, partial=True)


def _ref(source: Source, cluster_id: str) -> ClusterRef:
    return ClusterRef(namespace=source.namespace, cluster_id=cluster_id)


def _with_unusable(
    cluster: DiscoveredCluster, before: Discovery | None, bad: set[str | None]
) -> tuple[DiscoveredNode, ...]:
    """The cluster's nodes in the order of their ids, with those known ones of which the answer may have told in a record
    that could not be used; `bad` are the ids of such records, None where it could not be told. One that we do not know may
    be a known node's with a mistake in it.
    """
    nodes = list(cluster.nodes)
    if before is not None and bad:
        told, known = {node.node_id for node in nodes}, {node.node_id for node in before.nodes}
        anyone = not bad <= known
        nodes += (node for node in before.nodes if node.node_id not in told and (anyone or node.node_id in bad))
    return tuple(sorted(nodes, key=lambda node: node.node_id))


def _cluster(
    source: Source,
    ref: ClusterRef,
    cluster: DiscoveredCluster,
    nodes: tuple[DiscoveredNode, ...],
    before: Discovery | None,
    *,
    has_spec: bool,
) -> Change:
    change = Change()
    if not has_spec:
        spec = ClusterSpec(namespace=ref.namespace, cluster_id=ref.cluster_id, synthetic=True, version=1)
        synthesised = draft(ref, EventType.CLUSTER_SPEC_SYNTHESISED, str(ref), source=source.key)
        change += Change(swaps=(spec,), drafts=(synthesised,))
    if before is not None and before.missing_since is None and _facts(before) == _told_facts(source, cluster, nodes):
        return change
    after = Discovery(
        namespace=ref.namespace,
        cluster_id=ref.cluster_id,
        source=source.key,
        display_name=cluster.display_name,
        labels=cluster.labels,
        nodes=nodes,
        version=(before.version if before is not None else 0) + 1,
    )
    return change + Change(swaps=(after,), drafts=_drafts(ref, before, after))


def _facts(record: Discovery) -> tuple[object, ...]:
    return record.source, record.display_name, record.labels, record.nodes


def _told_facts(source: Source, cluster: DiscoveredCluster, nodes: tuple[DiscoveredNode, ...]) -> tuple[object, ...]:
    return source.key, cluster.display_name, cluster.labels, nodes


def _drafts(ref: ClusterRef, before: Discovery | None, after: Discovery) -> tuple[EventDraft, ...]:
    if before is None:
        return (draft(ref, EventType.CLUSTER_DISCOVERED, str(ref), **told_discovery(after)),)
    drafts = []
    if before.missing_since is not None:
        drafts.append(draft(ref, EventType.CLUSTER_RETURNED, str(ref), source=after.source))
    if _facts(before) != _facts(after):
        told = {"before": told_discovery(before), "after": told_discovery(after)}
        drafts.append(draft(ref, EventType.CLUSTER_DISCOVERY_CHANGED, str(ref), **told))
    return tuple(drafts)


def _missing(before: Discovery, now: datetime, reason: str = "its source no longer tells of it") -> Change:
    after = before.evolve(missing_since=now, version=before.version + 1)
    told = draft(before.ref, EventType.CLUSTER_MISSING, str(before.ref), source=before.source, reason=reason)
    return Change(swaps=(after,), drafts=(told,))


def told_discovery(record: Discovery) -> dict[str, Json]:
    """A discovery record as it is told in an event: not more of it than an event can hold."""
    nodes: list[Json] = []
    labels = 0
    for node in record.nodes[:NODES_TOLD_MAX]:
        labels += len(node.labels)
        left_out = {"labels"} if not node.labels or labels > LABELS_TOLD_MAX else None
        nodes.append(node.model_dump(mode="json", exclude_none=True, exclude=left_out))
    told: dict[str, Any] = {"source": record.source, "display_name": record.display_name, "labels": record.labels}
    return {**told, "nodes": nodes}
