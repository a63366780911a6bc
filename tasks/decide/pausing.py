"""Pausing what the timetable does: until when, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

from blocks.errors import InvalidInputError
from blocks.models.base import Json
from blocks.models.event import EventDraft, EventType
from blocks.models.request import Request, WorkKind
from tasks.decide.manifest_kinds import kind_of

PAUSE_MAX = timedelta(days=366)


class Pausable(StrEnum):
    """What can be paused."""

    CLUSTER = "cluster"
    SOURCE = "source"

    @classmethod
    def _missing_(cls, value: object) -> Pausable | None:
        """By any name that its kind of manifest has; a platform is a source."""
        try:
            return _PAUSABLES.get(kind_of(str(value)).name)
        except InvalidInputError:
            return None

    @property
    def work(self) -> WorkKind:
        """What the timetable does with it."""
        return WorkKind.ORCHESTRATE if self is Pausable.CLUSTER else WorkKind.DISCOVER


_PAUSABLES = {
    "ClusterSpec": Pausable.CLUSTER,
    "DiscoverySettings": Pausable.SOURCE,
    "Platform": Pausable.SOURCE,
}


def pause_end(until: datetime | None, for_s: float | None, *, now: datetime) -> datetime:
    """When a pause ends that is given as a moment or as a duration in seconds.

    Raises:
        InvalidInputError: both or neither are given, or that is not within the next 366 days.
    """
    if (until is None) == (for_s is None):
        message = "say for how long or until when, one of the two"
        raise InvalidInputError(message)
    if until is not None and until.tzinfo is None:
        message = f"{until.isoformat()} has no time zone, so nobody knows when that is"
        raise InvalidInputError(message)
    try:
        end = until if until is not None else now + timedelta(seconds=for_s or 0.0)
        fits = timedelta(milliseconds=1) <= end - now <= PAUSE_MAX
    except (OverflowError, ValueError):
        fits, end = False, now
    if not fits:
        message = f"a pause ends in the future, at most {PAUSE_MAX.days} days from now"
        raise InvalidInputError(message)
    return end


def told_pause(type_: EventType, stream: str, by: str, why: str | None) -> Callable[[Request], EventDraft]:
    """What to tell of a work item that was paused or goes on.

    Args:
        type_: which of the two.
        stream: the cluster's key, or the source's namespace.
        by: who wanted it.
        why: their reason.
    """

    def told(item: Request) -> EventDraft:
        until = item.paused_until.isoformat().replace("+00:00", "Z") if item.paused_until is not None else None
        data: dict[str, Json] = {"kind": item.kind, "subject": item.subject, "who": by, "why": why, "until": until}
        return EventDraft(type=type_, stream=stream, subject=item.key, data=data)

    return told
