"""What is kept of a run of a source, and what is told of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from blocks.models.base import Json
from blocks.models.event import EventDraft, EventType
from blocks.models.ids import SourceRef
from blocks.models.source import Rejected, SourceReport
from tasks.decide.discovery import Outcome

NAMES_MAX = 100
"""So many new, changed, missing clusters and refused records are named in a source's report; the rest is counted."""


def failed_report(source: SourceRef, before: SourceReport | None, error: str, now: datetime) -> SourceReport:
    """The report of a run that ended before anything was concluded: what its last good answer told of stays."""
    kept = before or SourceReport(namespace=source.namespace, name=source.name, at=now, duration_s=0.0)
    return kept.evolve(
        at=now,
        duration_s=0.0,
        error=error,
        failure=error,
        new=0,
        changed=0,
        missing=0,
        new_clusters=(),
        changed_clusters=(),
        missing_clusters=(),
        rejected=(),
        rejected_total=0,
        left_out_total=0,
    )


def some_of_each(*sorts: Sequence[Rejected]) -> tuple[Rejected, ...]:
    """The first so many in all, of each sort its share at least: one that is plentiful hides no other."""
    left, kept = NAMES_MAX, []
    for number, sort in enumerate(sorted(sorts, key=len)):
        share = left // (len(sorts) - number)
        kept.append(sort[:share])
        left -= len(kept[-1])
    chosen = {id(one) for part in kept for one in part}
    return tuple(one for sort in sorts for one in sort if id(one) in chosen)


def conflicts_stamp(owners: Mapping[str, str]) -> str | None:
    """A short text that changes with these clusters and their owners; None: there are none."""
    return hashlib.sha256(repr(sorted(owners.items())).encode()).hexdigest()[:16] if owners else None


def source_told(before: SourceReport | None, after: SourceReport) -> tuple[EventDraft, ...]:
    """That a source began to fail, fails for another reason, or gives a good answer again."""
    failed_before = before is not None and before.error is not None and before.failure is not None
    if after.error is not None and (before is None or (before.failure or before.error) != after.failure):
        type_ = EventType.SOURCE_FAILED
    elif after.error is None and failed_before:
        type_ = EventType.SOURCE_RECOVERED
    else:
        return ()
    return (_draft(type_, after, error=after.error),)


def conflicts_told(before: SourceReport | None, after: SourceReport, outcome: Outcome) -> tuple[EventDraft, ...]:
    """Once per change: a conflict lasts for many turns."""
    if after.conflicts == (None if before is None else before.conflicts):
        return ()
    owners = outcome.owners
    first: dict[str, Json] = {name: owners[name] for name in sorted(owners)[:NAMES_MAX]}
    return (_draft(EventType.SOURCE_CONFLICT_CHANGED, after, conflicts=len(owners), owners=first),)


def _draft(type_: EventType, report: SourceReport, **data: Json) -> EventDraft:
    return EventDraft(type=type_, stream=report.namespace, subject=report.key, data={"source": report.key, **data})
