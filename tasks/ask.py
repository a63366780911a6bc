"""Ask a source what exists, and save what that means, cluster by cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.coordinator.protocol import Claim
from blocks.errors import ConflictError, NotFoundError, RecordError, SourceError
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.ids import ClusterRef, SourceRef
from blocks.models.namespace import Namespace
from blocks.models.record import Change, Fence
from blocks.models.request import Priority, WorkKind
from blocks.models.source import Rejected, Source, SourceReport
from blocks.sources.protocol import Found, Sources
from blocks.store.protocol import Store, Where
from tasks.decide.discovery import Outcome, discovered
from tasks.decide.source_reports import (
    NAMES_MAX,
    conflicts_stamp,
    conflicts_told,
    failed_report,
    some_of_each,
    source_told,
)
from tasks.decide.timetable import timetable
from tasks.hold import fence_of

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
    before = await _last_report(store, asked.source.key)
    outcome = await _compared(store, asked.source, found, before, now) if found is not None else Outcome()
    refused = await _save(store, asked.namespace, outcome.changes, fence, now)
    if (
        found is not None and refused
    ):  # another source may have told of them at the same moment: once more, as it is now
        again = await _compared(store, asked.source, found, before, now)
        refused = await _save(store, asked.namespace, again.changes, fence, now)
        outcome = _both(outcome, again)
    report = _report(asked, outcome, refused, before, now)
    drafts = () if asked.closed else (*source_told(before, report), *conflicts_told(before, report, outcome))
    await store.commit(Change(puts=(report,), drafts=drafts), now=now, fence=fence)
    return report


@task(name="save failure", cache_policy=NO_CACHE)
async def save_failure(
    store: Store, source: SourceRef, error: RecordError, claim: Claim, clock: Callable[[], datetime]
) -> SourceReport:
    """Keep that a run ended because of a stored record that cannot be read, so that the report is not the success before.

    Raises:
        FencedError: a newer holder has taken the source.
    """
    now, before = clock(), await _last_report(store, source.key)
    report = failed_report(source, before, str(error), now)
    await store.commit(Change(puts=(report,), drafts=source_told(before, report)), now=now, fence=fence_of(claim))
    return report


async def _last_report(store: Store, key: str) -> SourceReport | None:
    """The report of the run before; one that cannot be read is as good as none, and is replaced."""
    return (await store.readable_many(SourceReport, {key}))[0].get(key)


async def _compared(store: Store, source: Source, found: Found, last: SourceReport | None, now: datetime) -> Outcome:
    """Compare an answer with what is stored of this source, and of others for the clusters that it tells of."""
    told = {
        ClusterRef(namespace=source.namespace, cluster_id=cluster.cluster_id).key: cluster for cluster in found.clusters
    }
    where = Where(namespace=source.namespace, source=source.key)
    mine: dict[str, Discovery] = {}
    unreadable: set[str] = set()
    async for page, broken in store.pages(Discovery, where):
        mine |= {record.key: record for record in page}
        unreadable |= set(broken)
    others, broken = await store.readable_many(Discovery, told.keys() - mine.keys())
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
        unreadable=unreadable | set(broken),
        last=last,
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
    specs = made | (await store.readable_many(ClusterSpec, saved.keys() - made.keys()))[0]
    await store.ensure_work(timetable([namespace], [], specs.values()), now)
    first = [key for key, spec in specs.items() if spec.active][:at_once]
    if first:
        await store.ask_many(WorkKind.ORCHESTRATE, first, Priority.ROUTINE, now)
    return len(first)


def _report(
    asked: Asked, outcome: Outcome, refused: Mapping[str, Rejected], before: SourceReport | None, now: datetime
) -> SourceReport:
    found = asked.found or Found()
    rejected = some_of_each(outcome.rejected, tuple(refused.values()), found.rejected)
    everything = (*outcome.rejected, *refused.values(), *found.rejected)
    error = asked.error or outcome.suspicious
    conflicts = conflicts_stamp(outcome.owners)
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
