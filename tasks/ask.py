"""Ask a source what exists, and save what that means, cluster by cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.coordinator.protocol import Claim
from blocks.errors import ConflictError, NotFoundError, SourceError
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.event import EventDraft, EventType
from blocks.models.namespace import Namespace
from blocks.models.record import Change, Fence
from blocks.models.request import Priority, WorkKind
from blocks.models.source import Rejected, Source, SourceReport
from blocks.sources.protocol import Found, Sources
from blocks.store.protocol import Store, Where
from tasks.decide.discovery import Outcome, discovered
from tasks.decide.timetable import timetable
from tasks.hold import fence_of

REJECTED_MAX = 100
"""So many refused records are kept in a source's report, with their reasons; the rest is counted."""
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
        return Asked(source, namespace, None, f"namespace {namespace.name} is {namespace.status}", 0.0)
    try:
        found = await sources.ask(source)
    except SourceError as error:
        return Asked(source, namespace, None, str(error), time.monotonic() - begun)
    return Asked(source, namespace, found, None, time.monotonic() - begun)


@task(name="save discovery", cache_policy=NO_CACHE)
async def save_discovery(store: Store, asked: Asked, claim: Claim, clock: Callable[[], datetime]) -> SourceReport:
    """Save what an answer means, each changed cluster in a transaction of its own, then the source's report."""
    now, fence = clock(), fence_of(claim)
    found = asked.found
    outcome = await _compared(store, asked, found, now) if found is not None else Outcome()
    conflicts = await _commit(store, outcome, fence, now)
    await _schedule(store, asked, outcome, now)
    error = asked.error or outcome.suspicious
    rejected = (*(found.rejected if found is not None else ()), *outcome.rejected, *conflicts)
    report = SourceReport(
        namespace=asked.source.namespace,
        name=asked.source.name,
        at=now,
        duration_s=round(asked.duration_s, 4),
        error=error,
        clusters=len(found.clusters) if found is not None else 0,
        nodes=sum(len(cluster.nodes) for cluster in found.clusters) if found is not None else 0,
        new=len(outcome.new),
        changed=len(outcome.changed),
        missing=len(outcome.missing),
        rejected=rejected[:REJECTED_MAX],
    )
    before = await store.get(SourceReport, report.key)
    await store.commit(Change(puts=(report,), drafts=_told(before, report)), now=now, fence=fence)
    return report


async def _compared(store: Store, asked: Asked, found: Found, now: datetime) -> Outcome:
    where = Where(namespace=asked.source.namespace)
    known = {record.key: record for record in await store.find(Discovery, where, limit=100_000)}
    specs = frozenset(spec.key for spec in await store.find(ClusterSpec, where, limit=100_000))
    return discovered(asked.source, found.clusters, known, specs, now=now, unusable=found.rejected)


async def _commit(store: Store, outcome: Outcome, fence: Fence, now: datetime) -> tuple[Rejected, ...]:
    conflicts = []
    for key, change in outcome.changes.items():
        try:
            await store.commit(change, now=now, fence=fence)
        except ConflictError as error:
            conflicts.append(
                Rejected(what=key, reason=f"changed by somebody else meanwhile, tried again next time: {error}")
            )
    return tuple(conflicts)


async def _schedule(store: Store, asked: Asked, outcome: Outcome, now: datetime) -> None:
    touched = (*outcome.new, *outcome.changed)
    if not touched:
        return
    specs = [spec for ref in touched if (spec := await store.get(ClusterSpec, ref.key)) is not None]
    await store.ensure_work(timetable([asked.namespace], [], specs), now)
    for spec in specs[:AT_ONCE_MAX]:
        if spec.active:
            await store.ask(WorkKind.ORCHESTRATE, spec.key, Priority.ROUTINE, now)


def _told(before: SourceReport | None, after: SourceReport) -> tuple[EventDraft, ...]:
    failed_before = before is not None and before.error is not None
    if after.error is not None and (before is None or before.error != after.error):
        type_ = EventType.SOURCE_FAILED
    elif after.error is None and failed_before:
        type_ = EventType.SOURCE_RECOVERED
    else:
        return ()
    return (
        EventDraft(
            type=type_, stream=after.namespace, subject=after.key, data={"source": after.key, "error": after.error}
        ),
    )
