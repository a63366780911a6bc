"""What happens to a work item: pure rules, the same for every store.

Each rule takes an item as it is and returns it as it shall be, or None where there is nothing to do. A periodic item
keeps to its grid: first wanted start plus whole intervals. Being asked for in between, late or failing does not move it;
a pause begins a new one where it ends.
"""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import TypeAdapter

from blocks.models.base import Utc
from blocks.models.request import Ended, Priority, Request, WorkState
from blocks.store.protocol import RetryPolicy

_UTC: Final[TypeAdapter[datetime]] = TypeAdapter(Utc)
_FREE: Final[dict[str, Any]] = {
    "owner": None,
    "claimed_at": None,
    "sent_at": None,
    "again": False,
    "again_by_person": False,
}
"""Nobody's any more."""
_UNASKED: Final[dict[str, Any]] = {
    "state": WorkState.IDLE,
    "priority": Priority.ROUTINE,
    "by_person": False,
    "wanted_at": None,
    "queued_at": None,
    "not_before": None,
}
"""Waiting for its next turn."""
_NOT_PAUSED: Final[dict[str, Any]] = {"paused_until": None, "paused_by": None, "paused_why": None}
_SPREAD_S: Final = 60.0
"""What has no interval comes back from a pause within so many seconds."""
_ORPHANS: Final = RetryPolicy()
_CLEAN: Final[dict[str, Any]] = {"attempts": 0, "failures": 0, "orphaned": 0, "error": None, "not_before": None}


def to_utc_ms(moment: datetime) -> datetime:
    """A moment as the store keeps it: UTC, whole milliseconds."""
    return _UTC.validate_python(moment)


def fraction(text: str) -> float:
    """A number in [0, 1) that is always the same for the same text and evenly spread over texts."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="replace"), digest_size=6).digest(), "big") / 2**48


def first_turn(key: str, interval_s: float, now: datetime) -> datetime:
    """Within one interval from now, spread over it by the item's key: no wave."""
    return now + timedelta(seconds=interval_s * fraction(key))


def next_turn(wanted: datetime, interval_s: float, now: datetime) -> datetime:
    """The first moment after now that lies whole intervals after a wanted start."""
    interval = timedelta(milliseconds=round(interval_s * 1_000))
    return wanted + interval * max(0, (now - wanted) // interval + 1)


def backoff_s(key: str, failures: int, policy: RetryPolicy, longest_s: float = math.inf) -> float:
    """Seconds until the next try after so many failures: doubled each time, bounded, half of it spread."""
    whole = min(longest_s, policy.backoff_max_s, policy.backoff_base_s * 2.0 ** min(failures - 1, 60))
    return whole * (0.5 + 0.5 * fraction(f"{key}#{failures}"))


def claimable(item: Request, now: datetime) -> bool:
    """Whether a worker may take it now."""
    return item.state is WorkState.QUEUED and (item.not_before is None or item.not_before <= now)


def placed(item: Request | None, given: Request, now: datetime) -> Request | None:
    """Onto the timetable, or only its interval and activity brought up to date."""
    earliest = max(now, item.paused_until) if item is not None and item.paused_until is not None else now
    first = None if given.interval is None else first_turn(given.key, given.interval, earliest)
    if item is None:
        return Request(
            kind=given.kind,
            subject=given.subject,
            priority=given.priority,
            active=given.active,
            interval=given.interval,
            next_at=given.next_at or first,
        )
    if (item.interval, item.active) == (given.interval, given.active):
        return None
    next_at = item.next_at
    if item.state is WorkState.IDLE:
        returns = given.active and not item.active
        stays = first is not None and next_at is not None and next_at <= first and not returns
        next_at = next_at if stays else first
    return item.evolve(interval=given.interval, active=given.active, next_at=next_at)


def made(kind: str, subject: str, priority: Priority, now: datetime) -> Request:
    """An item that there was not, queued."""
    return _queued(Request(kind=kind, subject=subject), priority, now, by_person=priority is Priority.PERSON)


def asked(item: Request | None, kind: str, subject: str, priority: Priority, now: datetime) -> Request | None:
    """Asked for, now. Only a person wakes a dead item and ends the waiting of a failed one; routine ends no pause."""
    by_person = priority is Priority.PERSON
    item = item or Request(kind=kind, subject=subject)
    if priority > Priority.PERSON and paused(item, now):
        return None
    match item.state:
        case WorkState.IDLE:
            return _queued(item, priority, now, by_person=by_person)
        case WorkState.QUEUED:
            return _more_urgent(item, priority, now, by_person=by_person)
        case WorkState.CLAIMED if (
            not item.again or priority < item.priority or (by_person and not item.again_by_person)
        ):
            kept = min(priority, item.priority) if item.again else priority
            return item.evolve(again=True, priority=kept, again_by_person=by_person or item.again_by_person)
        case WorkState.DEAD if by_person:
            return retried(item, now)
    return None


def _more_urgent(item: Request, priority: Priority, now: datetime, *, by_person: bool) -> Request | None:
    if priority < item.priority or (by_person and not claimable(item, now)):
        return item.evolve(
            priority=min(priority, item.priority),
            by_person=by_person or item.by_person,
            not_before=None if by_person else item.not_before,
            sent_at=None,
        )
    return item.evolve(by_person=True) if by_person and not item.by_person else None


def paused(item: Request, now: datetime) -> bool:
    """Whether the timetable leaves it alone now."""
    return item.paused_until is not None and item.paused_until > now


def pausing(item: Request, until: datetime | None, by: str | None, why: str | None, now: datetime) -> Request | None:
    """Left alone by the timetable until then, or (None, or a moment that has passed) no longer.

    What is queued goes back, unless a person asked for it; what is claimed finishes, and is run once more only for a
    person. The next turn lies within one interval from the end of the pause, spread by key: no wave.
    """
    if until is None or until <= now:
        if item.paused_until is None:
            return None
        next_at = _after_pause(item, now) if paused(item, now) else item.next_at
        return item.evolve(**_NOT_PAUSED, next_at=next_at)
    held = item.evolve(paused_until=until, paused_by=by, paused_why=why, next_at=_after_pause(item, until))
    if held.state is WorkState.QUEUED and not held.by_person:
        held = _held_back(held)
    elif held.state is WorkState.CLAIMED:
        held = held.evolve(again=held.again_by_person)
    return None if held == item else held


def due(item: Request, now: datetime) -> Request | None:
    """Queued because its turn has come."""
    if item.state is not WorkState.IDLE or not item.active or item.next_at is None or item.next_at > now:
        return None
    if paused(item, now):
        return None
    return _queued(item if item.paused_until is None else item.evolve(**_NOT_PAUSED), item.priority, now)


def claimed(item: Request, owner: str, now: datetime) -> Request | None:
    """Taken by a worker."""
    if not claimable(item, now):
        return None
    late_s = max(0.0, (now - (item.wanted_at or now)).total_seconds())
    return item.evolve(state=WorkState.CLAIMED, owner=owner, claimed_at=now, started_at=now, late_s=late_s)


def ended(item: Request, end: Ended, owner: str, now: datetime, policy: RetryPolicy) -> Request | None:
    """Finished by the worker that holds it: well, or to be tried again, or dead."""
    if item.state is not WorkState.CLAIMED or item.owner != owner:
        return None
    if end.error is not None:
        return _failed(item, end, now, policy)
    clean = item.evolve(**{**_FREE, **_CLEAN, **_UNASKED}, next_at=_next_at(item, end, now), finished_at=now)
    return _queued(clean, item.priority, now, by_person=item.again_by_person) if item.again else clean


def _failed(item: Request, end: Ended, now: datetime, policy: RetryPolicy) -> Request:
    """What is on the timetable goes on, however often it fails; the rest dies of failures of its own."""
    attempts = item.attempts + (not end.transient)
    failures = max(item.failures, item.attempts) + 1
    by_person = item.again and item.again_by_person
    dead = item.interval is None and not end.transient and not by_person and attempts >= policy.attempts_max
    longest_s = math.inf if item.interval is None else max(item.interval, policy.backoff_base_s)
    if end.transient:
        longest_s = min(longest_s, policy.transient_max_s)
    waits = not dead and not by_person
    failed = item.evolve(
        **_FREE,
        state=WorkState.DEAD if dead else WorkState.QUEUED,
        attempts=attempts,
        failures=failures,
        error=end.error,
        by_person=by_person,
        not_before=now + timedelta(seconds=backoff_s(item.key, failures, policy, longest_s)) if waits else None,
        finished_at=now,
    )
    return _held_back(failed) if waits and paused(item, now) else failed


def given_back(item: Request, now: datetime) -> Request | None:
    """Claimed no more, to be run by whoever comes first."""
    if item.state is not WorkState.CLAIMED:
        return None
    return _taken_back(item, now, not_before=None)


def orphaned(item: Request, now: datetime, times_max: int) -> Request | None:
    """Its worker died. It is run again at once; later if that goes on, so that what was in one batch with the item to
    blame gets away from it; after more than `times_max` times in a row it is dead.
    """
    if item.state is not WorkState.CLAIMED:
        return None
    times = item.orphaned + 1
    if times > times_max:
        error = f"its worker died {times} times while running it"
        return item.evolve(**_FREE, state=WorkState.DEAD, orphaned=times, error=error, not_before=None, finished_at=now)
    waits = timedelta(seconds=backoff_s(item.key, times - 1, _ORPHANS))
    return _taken_back(item, now, orphaned=times, not_before=now + waits if times > 1 else None)


def retried(item: Request, now: datetime) -> Request | None:
    """A dead item, queued again with a clean slate by order of a person."""
    if item.state is not WorkState.DEAD:
        return None
    return _queued(item.evolve(**_CLEAN), Priority.PERSON, now, wanted_at=now, by_person=True)


def _queued(
    item: Request, priority: Priority, now: datetime, wanted_at: datetime | None = None, *, by_person: bool = False
) -> Request:
    wanted_at = wanted_at or min(item.next_at or now, now)
    return item.evolve(
        state=WorkState.QUEUED,
        priority=priority,
        by_person=by_person,
        next_at=item.next_at or now,
        wanted_at=wanted_at,
        queued_at=now,
        sent_at=None,
    )


def _held_back(item: Request) -> Request:
    """What would be queued, waiting for the end of its pause instead."""
    next_at = item.next_at
    if next_at is not None and item.paused_until is not None and next_at < item.paused_until:
        next_at = _after_pause(item, item.paused_until)
    return item.evolve(**{**_FREE, **_UNASKED}, next_at=next_at)


def _taken_back(item: Request, now: datetime, **changes: Any) -> Request:
    """Claimed no more; queued again, unless it is paused and no person asked for it."""
    by_person = item.by_person or item.again_by_person
    back = item.evolve(**_FREE, state=WorkState.QUEUED, queued_at=now, by_person=by_person, **changes)
    return _held_back(back) if paused(back, now) and not by_person else back


def _after_pause(item: Request, ends: datetime) -> datetime | None:
    """The first turn after a pause; None where nothing but a person's word starts the item."""
    return None if item.next_at is None else first_turn(item.key, item.interval or _SPREAD_S, ends)


def _next_at(item: Request, end: Ended, now: datetime) -> datetime | None:
    """The timetable's next turn, or the sooner one that the worker wishes, but none within a pause."""
    timetable = None if item.interval is None else next_turn(item.next_at or now, item.interval, now)
    wished = end.next_at
    if wished is not None and item.paused_until is not None and wished < item.paused_until and paused(item, now):
        wished = first_turn(item.key, item.interval or _SPREAD_S, item.paused_until)
    return min((moment for moment in (timetable, wished) if moment is not None), default=None)
