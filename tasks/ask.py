"""Ask a source what exists, and save what that means, cluster by cluster."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.coordinator.protocol import Claim
from blocks.errors import ConflictError, NotFoundError, RecordError, SourceError
from blocks.models.base import Json
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.event import EventDraft, EventType
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.record import Change, Fence
from blocks.models.request import Priority, WorkKind
from blocks.models.source import Rejected, Source, SourceReport
from blocks.sources.protocol import Found, Sources
from blocks.store.protocol import Store, Where
from tasks.decide.discovery import Outcome, discovered
from tasks.decide.timetable import timetable
from tasks.hold import fence_of

NAMES_MAX = 100
"""So many new, changed, missing clusters and refused records are named in a source's report; the rest is counted."""
CLUSTERS_AT_ONCE = 100
"""So many clusters are saved in one transaction."""
NODES_AT_ONCE = 2_000
"""With no more nodes than this, or one cluster alone."""
AT_ONCE_MAX = 100
"""So many new or changed clusters are looked at right away; the others have their turn within their interval."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A source and its answer."""

    source: Source
    namespace: Namespace
    found: Found | None
    error: str | None
    duration_s: float
    failure: str | None = None
    """The part of the error that stays the same as long as the trouble does."""
    stamp: str | None = None
    """What a file was like before it was read."""
    closed: bool = False
    """Nothing was asked, because its namespace is not to be looked at: that is no trouble of the source."""


@task(name="ask source", cache_policy=NO_CACHE)
async def ask_source(store: Store, sources: Sources, key: str) -> Asked:
    """Ask a source for everything it knows.

    Raises:
        NotFoundError: there is no such source.
    """
    source = await store.get(Source, key)
    if source is None:
        msg = f"there is no source {key}; apply a DiscoverySettings manifest first"
        raise NotFoundError(msg)
    namespace = await store.get(Namespace, source.namespace)
    if namespace is None:
        msg = f"source {key} is in namespace {source.namespace}, which does not exist"
        raise NotFoundError(msg)
    begun = time.monotonic()
    if not namespace.may_look:
        return _closed(source, namespace, 0.0)
    stamp = await sources.stamp(source)
    try:
        found = await sources.ask(source)
    except SourceError as error:
        return Asked(source, namespace, None, str(error), time.monotonic() - begun, error.kind, stamp)
    return Asked(source, namespace, found, None, time.monotonic() - begun, stamp=stamp)


def _closed(source: Source, namespace: Namespace, duration_s: float) -> Asked:
    return Asked(source, namespace, None, f"namespace {namespace.name} is {namespace.status}", duration_s, closed=True)


@task(name="save discovery", cache_policy=NO_CACHE)
async def save_discovery(store: Store, asked: Asked, claim: Claim, clock: Callable[[], datetime]) -> SourceReport:
    """Save what an answer means, many clusters in a transaction, then the source's report.

    Whatever ends it half-way has saved whole clusters with their events, and the next run does the rest.

    Raises:
        FencedError: a newer holder has taken the source.
    """
    now, fence = clock(), fence_of(claim)
    home = await store.get(Namespace, asked.source.namespace)  # it may have changed while the source was asked
    if not asked.closed and home is not None and not home.may_look:
        asked = _closed(asked.source, home, asked.duration_s)
    found = asked.found
    outcome = await _compared(store, asked.source, found, now) if found is not None else Outcome()
    refused = await _save(store, asked.namespace, outcome.changes, fence, now)
    if (
        found is not None and refused
    ):  # another source may have told of them at the same moment: once more, as it is now
        again = await _compared(store, asked.source, found, now)
        refused = await _save(store, asked.namespace, again.changes, fence, now)
        outcome = _both(outcome, again)
    before = await store.get(SourceReport, asked.source.key)
    report = _report(asked, outcome, refused, before, now)
    drafts = () if asked.closed else (*_told(before, report), *_told_conflicts(before, report, outcome))
    await store.commit(Change(puts=(report,), drafts=drafts), now=now, fence=fence)
    return report


async def _compared(store: Store, source: Source, found: Found, now: datetime) -> Outcome:
    """Compare an answer with what is stored of this source, and of others for the clusters that it tells of."""
    told = {
        ClusterRef(namespace=source.namespace, cluster_id=cluster.cluster_id).key: cluster for cluster in found.clusters
    }
    where = Where(namespace=source.namespace, source=source.key)
    mine = {record.key: record async for page in store.pages(Discovery, where) for record in page}
    others = await store.get_many(Discovery, told.keys() - mine.keys())
    owners = await store.existing(Source, {record.source for record in others.values()})
    specs = await store.existing(ClusterSpec, told.keys())
    return await asyncio.to_thread(  # of a large answer it takes a while
        discovered,
        source,
        found.clusters,
        mine | others,
        frozenset(specs),
        now=now,
        owners=frozenset(owners),
        unusable=found.rejected,
    )


async def _save(
    store: Store, namespace: Namespace, changes: Mapping[str, Change], fence: Fence, now: datetime
) -> dict[str, Rejected]:
    """Save changes and put their clusters to work; returns, by cluster key, those that could not be saved."""
    refused: dict[str, Rejected] = {}
    at_once = AT_ONCE_MAX
    for batch in _batches(changes):
        refused |= await _commit(store, batch, fence, now)
        saved = {key: change for key, change in batch.items() if key not in refused}
        at_once -= await _schedule(store, namespace, saved, at_once, now)
    return refused


def _both(first: Outcome, again: Outcome) -> Outcome:
    """What two comparisons of one answer found: the second saw what the first had saved."""

    def union(one: tuple[ClusterRef, ...], other: tuple[ClusterRef, ...]) -> tuple[ClusterRef, ...]:
        there = {bad.cluster_id for bad in again.rejected}
        kept = (ref for ref in one if ref.cluster_id not in there)
        return tuple({ref.key: ref for ref in (*kept, *other)}.values())

    return replace(
        again,
        new=union(first.new, again.new),
        changed=union(first.changed, again.changed),
        missing=union(first.missing, again.missing),
    )


def _batches(changes: Mapping[str, Change]) -> Iterator[dict[str, Change]]:
    batch: dict[str, Change] = {}
    nodes = 0
    for key, change in changes.items():
        more = sum(len(record.nodes) for record in change.swaps if isinstance(record, Discovery))
        if batch and (len(batch) >= CLUSTERS_AT_ONCE or nodes + more > NODES_AT_ONCE):
            yield batch
            batch, nodes = {}, 0
        batch[key] = change
        nodes += more
    if batch:
        yield batch


async def _commit(store: Store, batch: Mapping[str, Change], fence: Fence, now: datetime) -> dict[str, Rejected]:
    """Save a batch in one transaction; where something is in the way, cluster by cluster, so that only that one waits."""
    try:
        await store.commit(sum(batch.values(), Change()), now=now, fence=fence)
    except (ConflictError, RecordError) as error:
        if len(batch) == 1:
            return {key: Rejected(what=key, reason=_why(error)) for key in batch}
        refused: dict[str, Rejected] = {}
        for key, change in batch.items():
            refused |= await _commit(store, {key: change}, fence, now)
        return refused
    return {}


def _why(error: ConflictError | RecordError) -> str:
    if isinstance(error, ConflictError):
        return f"changed by somebody else meanwhile, tried again next time: {error}"
    return str(error)


async def _schedule(
    store: Store, namespace: Namespace, saved: Mapping[str, Change], at_once: int, now: datetime
) -> int:
    """Put clusters on the timetable, and have the first so many looked at at once; returns how many that are."""
    made = {
        record.key: record for change in saved.values() for record in change.swaps if isinstance(record, ClusterSpec)
    }
    specs = made | await store.get_many(ClusterSpec, saved.keys() - made.keys())
    await store.ensure_work(timetable([namespace], [], specs.values()), now)
    first = [key for key, spec in specs.items() if spec.active][:at_once]
    if first:
        await store.ask_many(WorkKind.ORCHESTRATE, first, Priority.ROUTINE, now)
    return len(first)


def _report(
    asked: Asked, outcome: Outcome, refused: Mapping[str, Rejected], before: SourceReport | None, now: datetime
) -> SourceReport:
    found = asked.found or Found()
    rejected = _some_of_each(outcome.rejected, tuple(refused.values()), found.rejected)
    everything = (*outcome.rejected, *refused.values(), *found.rejected)
    error = asked.error or outcome.suspicious
    conflicts = _stamp_of(outcome.owners)
    good_at: datetime | None = now
    clusters, nodes = len(found.clusters), sum(len(cluster.nodes) for cluster in found.clusters)
    absent = outcome.absent
    if error is not None:  # nothing was concluded: as it was
        conflicts = None if before is None else before.conflicts
        good_at, clusters, nodes = (None, 0, 0) if before is None else (before.good_at, before.clusters, before.nodes)
        absent = 0 if before is None else before.absent

    def ids(refs: Iterable[ClusterRef]) -> list[str]:
        return [ref.cluster_id for ref in refs if ref.key not in refused]

    new, changed, missing = ids(outcome.new), ids(outcome.changed), ids(outcome.missing)
    return SourceReport(
        namespace=asked.source.namespace,
        name=asked.source.name,
        at=now,
        duration_s=round(asked.duration_s, 4),
        error=error,
        failure=(None if before is None else before.failure) if asked.closed else asked.failure or error,
        good_at=good_at,
        clusters=clusters,
        nodes=nodes,
        new=len(new),
        changed=len(changed),
        missing=len(missing),
        absent=absent,
        new_clusters=tuple(new[:NAMES_MAX]),
        changed_clusters=tuple(changed[:NAMES_MAX]),
        missing_clusters=tuple(missing[:NAMES_MAX]),
        rejected=rejected,
        rejected_total=len(everything),
        left_out_total=sum(one.partial for one in everything),
        conflicts=conflicts,
        stamp=asked.stamp,
    )


def _some_of_each(*sorts: Sequence[Rejected]) -> tuple[Rejected, ...]:
    """The first so many in all, of each sort its share at least: one that is plentiful hides no other."""
    left, kept = NAMES_MAX, []
    for number, sort in enumerate(sorted(sorts, key=len)):
        share = left // (len(sorts) - number)
        kept.append(sort[:share])
        left -= len(kept[-1])
    chosen = {id(one) for part in kept for one in part}
    return tuple(one for sort in sorts for one in sort if id(one) in chosen)


def _stamp_of(owners: Mapping[str, str]) -> str | None:
    return hashlib.sha256(repr(sorted(owners.items())).encode()).hexdigest()[:16] if owners else None


def _told(before: SourceReport | None, after: SourceReport) -> tuple[EventDraft, ...]:
    failed_before = before is not None and before.error is not None and before.failure is not None
    if after.error is not None and (before is None or (before.failure or before.error) != after.failure):
        type_ = EventType.SOURCE_FAILED
    elif after.error is None and failed_before:
        type_ = EventType.SOURCE_RECOVERED
    else:
        return ()
    return (_draft(type_, after, error=after.error),)


def _told_conflicts(before: SourceReport | None, after: SourceReport, outcome: Outcome) -> tuple[EventDraft, ...]:
    """Once per change: a conflict lasts for many turns."""
    if after.conflicts == (None if before is None else before.conflicts):
        return ()
    owners = outcome.owners
    first: dict[str, Json] = {name: owners[name] for name in sorted(owners)[:NAMES_MAX]}
    return (_draft(EventType.SOURCE_CONFLICT_CHANGED, after, conflicts=len(owners), owners=first),)


def _draft(type_: EventType, report: SourceReport, **data: Json) -> EventDraft:
    return EventDraft(type=type_, stream=report.namespace, subject=report.key, data={"source": report.key, **data})
