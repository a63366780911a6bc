"""The rules of pauses: what the timetable leaves alone, and how it comes back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.request import Ended, Priority, Request, WorkState
from blocks.store import timetable
from blocks.store.protocol import RetryPolicy
from doubles.store_samples import NOW, item, later

POLICY = RetryPolicy(attempts_max=3)
UNTIL = later(3_600)
INTERVAL_S = 60.0


def _paused(current: Request, now: datetime = NOW, until: datetime | None = UNTIL) -> Request:
    return timetable.pausing(current, until, "ann", "a broken disk", now) or current


def _queued(priority: Priority = Priority.ROUTINE, **fields: Any) -> Request:
    asked = timetable.asked(item("a", INTERVAL_S, **fields), "orchestrate", "a", priority, NOW)
    assert asked is not None
    return asked


def _claimed(current: Request, now: datetime = NOW) -> Request:
    taken = timetable.claimed(current, "w", now)
    assert taken is not None
    return taken


def _ended(current: Request, now: datetime, error: str | None = None, **fields: Any) -> Request:
    done = timetable.ended(current, Ended(key=current.key, error=error, **fields), "w", now, POLICY)
    assert done is not None
    return done


def test_paused_item_has_its_next_turn_after_the_pause() -> None:
    """It tells until when, by whom and why; no turn before, one within an interval after."""
    held = _paused(item("a", INTERVAL_S))

    assert (UNTIL, "ann", "a broken disk") == (held.paused_until, held.paused_by, held.paused_why)
    assert None is timetable.due(held, later(3_599.999))
    assert held.next_at is not None
    assert UNTIL <= held.next_at < UNTIL + timedelta(seconds=INTERVAL_S)
    back = timetable.due(held, held.next_at)
    assert back is not None
    assert (WorkState.QUEUED, held.next_at, None, None) == (
        back.state,
        back.wanted_at,
        back.paused_until,
        back.paused_why,
    )


@pytest.mark.parametrize("resumed", [False, True])
def test_what_was_paused_together_does_not_come_back_together(resumed: bool) -> None:
    """Turns after a pause, ended by time or by a person, are spread evenly over one interval."""
    many = [_paused(item(f"c{number}", 100.0)) for number in range(400)]
    ends = later(10) if resumed else UNTIL
    if resumed:
        many = [_paused(one, later(10), None) for one in many]
    turns = [(one.next_at - ends).total_seconds() for one in many if one.next_at is not None]

    assert 400 == len(turns)
    assert 0 <= min(turns) <= max(turns) < 100.0
    assert all(70 <= sum(at <= turn < at + 25 for turn in turns) <= 130 for at in (0, 25, 50, 75))


@pytest.mark.parametrize(
    ("priority", "state"),
    [
        (Priority.ROUTINE, WorkState.IDLE),
        (Priority.URGENT, WorkState.IDLE),
        (Priority.PERSON, WorkState.QUEUED),
    ],
)
def test_pausing_takes_back_what_no_person_asked_for(priority: Priority, state: WorkState) -> None:
    """A queued turn of the timetable or the watch is taken back; a person's stays."""
    held = _paused(_queued(priority))

    assert (state, state is WorkState.QUEUED) == (held.state, held.wanted_at is not None)


def test_a_persons_wish_is_not_lost_in_an_urgent_one() -> None:
    """Asked for by the watch and by a person, in whatever order: the pause does not take it back."""
    first = timetable.asked(_queued(Priority.URGENT), "orchestrate", "a", Priority.PERSON, NOW)
    then = timetable.asked(_queued(Priority.PERSON), "orchestrate", "a", Priority.URGENT, NOW)

    assert first is not None
    assert then is not None
    assert [(WorkState.QUEUED, Priority.URGENT)] * 2 == [
        (held.state, held.priority) for held in (_paused(first), _paused(then))
    ]


@pytest.mark.parametrize("priority", Priority)
def test_a_paused_item_runs_when_asked_for(priority: Priority) -> None:
    """A person and an urgent wish are served, then it is left alone again; routine is not served."""
    held = _paused(item("a", INTERVAL_S))
    asked = timetable.asked(held, "orchestrate", "a", priority, later(5))
    if priority is Priority.ROUTINE:
        assert None is asked
        return
    assert asked is not None
    done = _ended(_claimed(asked, later(6)), later(7), next_at=later(8))

    assert (WorkState.IDLE, held.next_at, UNTIL) == (done.state, done.next_at, done.paused_until)
    assert (later(6), 1.0) == (done.started_at, done.late_s)


def test_a_claimed_item_finishes_and_is_then_left_alone() -> None:
    """A pause does not stop what runs; routine and urgent wishes to run once more are forgotten, a person's is kept."""
    running = _claimed(_queued())
    urged = timetable.asked(running, "orchestrate", "a", Priority.URGENT, NOW)
    wished = timetable.asked(running, "orchestrate", "a", Priority.PERSON, NOW)
    assert urged is not None
    assert wished is not None

    assert [WorkState.CLAIMED] * 3 == [_paused(one).state for one in (running, urged, wished)]
    assert [WorkState.IDLE, WorkState.IDLE, WorkState.QUEUED] == [
        _ended(_paused(one), later(1)).state for one in (running, urged, wished)
    ]


@pytest.mark.parametrize("interval_s", [INTERVAL_S, None])
def test_a_failure_is_not_tried_again_before_the_pause_ends(interval_s: float | None) -> None:
    """It waits with its error, and comes back spread; also what is on no timetable."""
    asked = timetable.asked(_paused(item("a", interval_s, next_at=None)), "orchestrate", "a", Priority.PERSON, NOW)
    assert asked is not None
    failed = _ended(_claimed(asked), later(1), "no")
    assert failed.next_at is not None

    assert (WorkState.IDLE, "no", 1) == (failed.state, failed.error, failed.attempts)
    assert UNTIL <= failed.next_at < UNTIL + timedelta(seconds=60)
    assert None is not timetable.due(failed, failed.next_at)


@pytest.mark.parametrize("take_back", ["given back", "orphaned"])
@pytest.mark.parametrize("by_person", [True, False])
def test_what_a_worker_leaves_behind_while_paused(take_back: str, by_person: bool) -> None:
    """Queued again for a person; otherwise it waits for the end of the pause."""
    running = _paused(_claimed(_queued(Priority.PERSON if by_person else Priority.ROUTINE)))
    back = (
        timetable.given_back(running, later(1))
        if take_back == "given back"
        else timetable.orphaned(running, later(1), 5)
    )
    assert back is not None

    assert (WorkState.QUEUED if by_person else WorkState.IDLE, None) == (back.state, back.owner)


def test_placing_does_not_touch_a_pause() -> None:
    """Re-applied unchanged: nothing. With another interval: the pause stays, and no turn comes before its end."""
    held = _paused(item("a", INTERVAL_S))
    quicker = timetable.placed(held, item("a", 1.0), later(5))

    assert None is timetable.placed(held, item("a", INTERVAL_S), later(5))
    assert quicker is not None
    assert (UNTIL, "ann") == (quicker.paused_until, quicker.paused_by)
    assert quicker.next_at is not None
    assert UNTIL <= quicker.next_at <= UNTIL + timedelta(seconds=1)


def test_resuming_what_is_not_paused_changes_nothing() -> None:
    """No pause, no new turn; a pause that is over is only forgotten."""
    current = item("a", INTERVAL_S, next_at=later(30))
    over = _paused(current)

    assert None is timetable.pausing(current, None, None, None, NOW)
    assert None is timetable.pausing(current, NOW, "ann", None, NOW)
    assert over.evolve(paused_until=None, paused_by=None, paused_why=None) == _paused(over, later(3_601), None)


def test_pausing_again_moves_the_end() -> None:
    """The last word counts, and saying the same again writes nothing."""
    held = _paused(item("a", INTERVAL_S))
    longer = _paused(held, later(1), later(7_200))

    assert None is timetable.pausing(held, UNTIL, "ann", "a broken disk", later(1))
    assert longer.next_at is not None
    assert later(7_200) <= longer.next_at < later(7_260)


OPERATIONS: dict[str, Callable[[Request, datetime], Request | None]] = {
    "due": timetable.due,
    "claim": lambda i, now: timetable.claimed(i, "w", now),
    "succeed": lambda i, now: timetable.ended(i, Ended(key=i.key), "w", now, POLICY),
    "fail": lambda i, now: timetable.ended(i, Ended(key=i.key, error="no"), "w", now, POLICY),
    "give back": timetable.given_back,
    "orphan": lambda i, now: timetable.orphaned(i, now, 10**6),
    "place": lambda i, now: timetable.placed(i, item("a", INTERVAL_S), now),
    "person": lambda i, now: timetable.asked(i, "orchestrate", "a", Priority.PERSON, now),
    "urgent": lambda i, now: timetable.asked(i, "orchestrate", "a", Priority.URGENT, now),
    "routine": lambda i, now: timetable.asked(i, "orchestrate", "a", Priority.ROUTINE, now),
    "resume": lambda i, now: timetable.pausing(i, None, None, None, now),
    "pause": lambda i, now: timetable.pausing(i, now + timedelta(seconds=90), "ann", None, now),
}
STEPS = st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 40)), max_size=40)


@given(STEPS)
def test_no_operations_lose_an_item(path: list[tuple[str, int]]) -> None:
    """Whatever happens to an item, it comes back: after the end of its pause, within one interval, by the ordinary rules
    alone. Paused, it is not due; and until somebody pauses or resumes it, it keeps to its grid.
    """
    current, now = item("a", INTERVAL_S, next_at=NOW), NOW
    grid: datetime = NOW
    for name, wait_s in path:
        now += timedelta(seconds=wait_s)
        after = OPERATIONS[name](current, now)
        if after is not None and name in {"pause", "resume"} and after.next_at is not None:
            grid = after.next_at
        current = after or current
        assert current.next_at is not None
        assert timedelta(0) == (current.next_at - grid) % timedelta(seconds=INTERVAL_S)
        if timetable.paused(current, now):
            assert None is timetable.due(current, now)
    if current.state is WorkState.CLAIMED:
        current = _ended(current, now)
    now = max(now, current.paused_until or now)
    if current.state is WorkState.IDLE:
        assert current.next_at <= now + timedelta(seconds=INTERVAL_S)
        current = timetable.due(current, max(now, current.next_at)) or current
    current = _claimed(current, max(now, current.next_at, current.not_before or now))

    assert WorkState.IDLE is _ended(current, now + timedelta(seconds=INTERVAL_S)).state
