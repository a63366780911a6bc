"""What a reason is, what is known for it beside a cluster's records, and what keeps the cluster's own cycles. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from blocks.models.base import Fact, Text, Utc
from blocks.models.request import Request, WorkState
from blocks.models.view import ClusterView
from tasks.decide.cluster_kinds import Catalogue

LOCK_OLD_S = 10.0
"""A lock that is held for longer than a cycle takes is worth a word."""


class Reason(Fact):
    """One rule that keeps something from moving, or what it waits for."""

    rule: str
    """A word for programs."""
    text: Text
    until: Utc | None = None
    """When this may be over; None: nobody knows."""
    about: str | None = None
    """The action it is about, where a cluster was asked about."""


@dataclass(frozen=True, slots=True)
class Lock:
    """Who holds the cluster's lock."""

    owner: str
    since: datetime
    purpose: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known beside the cluster's own records."""

    now: datetime
    kinds: Catalogue
    lock: Lock | None = None
    item: Request | None = None
    """The cluster's place on the timetable and in the queue."""
    ahead: int | None = None
    """How many items of the queue go before it; None: it is not queued."""
    namespace_holders: frozenset[str] = frozenset()
    """The actions that take room of the namespace's budget, where it has one."""


def reason_of(rule: str, text: str, until: datetime | None = None) -> Reason:
    """One reason."""
    return Reason(rule=rule, text=text, until=until)


def keeping_cluster(view: ClusterView, around: Circumstances) -> Iterator[Reason]:
    """What keeps the cluster's cycles."""
    item, now = around.item, around.now
    if not view.spec.active:
        yield reason_of("INACTIVE", "its ClusterSpec is not active")
    if not view.namespace.may_look:
        yield reason_of("NAMESPACE", f"namespace {view.namespace.name} is {view.namespace.status}")
    if around.lock is not None and around.lock.since < now - timedelta(seconds=LOCK_OLD_S):
        age_s = (now - around.lock.since).total_seconds()
        text = f"its lock is held by {around.lock.owner} for {age_s:.0f} s ({around.lock.purpose})"
        yield reason_of("LOCK", text)
    if item is None:
        yield reason_of("NOT_SCHEDULED", "it has no place on the timetable yet")
    elif item.state is WorkState.DEAD:
        yield reason_of(
            "WORK_DEAD",
            f"its work failed too often, `replictl work retry {item.key}`: {item.error or 'no reason is known'}",
        )
    elif item.state is WorkState.QUEUED and item.not_before is not None and item.not_before > now:
        yield reason_of("WORK_BACKOFF", f"its last cycle failed: {item.error or 'no reason is known'}", item.not_before)
    elif item.paused_until is not None and item.paused_until > now and not item.by_person:
        who = f" by {item.paused_by}" if item.paused_by else ""
        yield reason_of(
            "PAUSED", f"its turns are paused{who}: {item.paused_why or 'no reason was given'}", item.paused_until
        )
    elif around.ahead:
        yield reason_of("QUEUE", f"{around.ahead} other items go before it in the work queue")
    if item is not None and item.error and not _told_with_state(item, now):
        yield reason_of("WORK_FAILED", f"its last cycle failed ({item.failures} in a row): {item.error}")


def _told_with_state(item: Request, now: datetime) -> bool:
    """Whether the reason for which its work waits has its error already."""
    return item.state is WorkState.DEAD or (
        item.state is WorkState.QUEUED and item.not_before is not None and item.not_before > now
    )


def turn_of(around: Circumstances, does: str = "it begins") -> Reason:
    """That nothing keeps it, and when its turn is."""
    item = around.item
    if item is not None and item.state is WorkState.CLAIMED:
        return reason_of("TURN", f"nothing keeps it; {item.owner or 'a worker'} is at work on its cluster now")
    if item is not None and item.state is WorkState.QUEUED:
        return reason_of("TURN", "nothing keeps it; its cluster is queued and the next in turn")
    due = item.next_at if item is not None else None
    return reason_of("TURN", f"nothing keeps it: {does} with the next cycle of its cluster", due)
