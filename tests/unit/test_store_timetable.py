"""The rules of work items."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.request import Ended, Priority, Request, WorkState
from blocks.store import timetable
from blocks.store.protocol import RetryPolicy
from doubles.store_samples import NOW, item, later

POLICY = RetryPolicy(attempts_max=3, backoff_base_s=1.0, backoff_max_s=8.0)
Rule = Callable[[Request | None, datetime], Request | None]

RULES: dict[str, Rule] = {
    "place": lambda i, now: timetable.placed(i, item("a", 60.0, next_at=None), now),
    "place quicker": lambda i, now: timetable.placed(i, item("a", 7.0), now),
    "place inactive": lambda i, now: timetable.placed(i, item("a", None, active=False, next_at=None), now),
    "ask": lambda i, now: timetable.asked(i, "orchestrate", "a", Priority.PERSON, now),
    "urge": lambda i, now: timetable.asked(i, "orchestrate", "a", Priority.URGENT, now),
    "due": lambda i, now: i and timetable.due(i, now),
    "claim": lambda i, now: i and timetable.claimed(i, "w", now),
    "succeed": lambda i, now: i and timetable.ended(i, Ended(key=i.key), "w", now, POLICY),
    "fail": lambda i, now: i and timetable.ended(i, Ended(key=i.key, error="no"), "w", now, POLICY),
    "fail for others": lambda i, now: (
        i and timetable.ended(i, Ended(key=i.key, error="no", transient=True), "w", now, POLICY)
    ),
    "orphan": lambda i, now: i and timetable.orphaned(i, now, 2),
    "give back": lambda i, now: i and timetable.given_back(i, now),
    "retry": lambda i, now: i and timetable.retried(i, now),
    "pause": lambda i, now: i and timetable.pausing(i, now + timedelta(seconds=150), "ann", "disk", now),
    "pause briefly": lambda i, now: i and timetable.pausing(i, now + timedelta(seconds=3), "ann", None, now),
    "resume": lambda i, now: i and timetable.pausing(i, None, None, None, now),
}
steps = st.lists(st.tuples(st.sampled_from(sorted(RULES)), st.floats(0.0, 100.0)), max_size=25)


@given(steps)
def test_item_makes_sense_after_any_steps(path: list[tuple[str, float]]) -> None:
    """Claimed has an owner, idle has none and waits for a turn if it is periodic, queued wants to start, dead has failed."""
    current: Request | None = None
    now = NOW
    for name, pause in path:
        now = timetable.to_utc_ms(now + timedelta(seconds=pause))
        current = RULES[name](current, now) or current
        if current is None:
            continue
        claimed, idle = current.state is WorkState.CLAIMED, current.state is WorkState.IDLE

        assert claimed == (current.owner is not None) == (current.claimed_at is not None)
        assert claimed or not current.again
        assert idle == (current.wanted_at is None)
        assert not (idle and current.interval is not None and current.next_at is None)
        assert current.wanted_at is None or current.wanted_at <= now
        assert current.again or not current.again_by_person
        assert current.failures >= current.attempts
        assert current.state is not WorkState.DEAD or current.orphaned > 2 or current.attempts >= POLICY.attempts_max
        assert current.state is not WorkState.DEAD or current.error
        assert not timetable.paused(current, now) or timetable.due(current, now) is None
        assert not (idle and current.by_person)
        if idle and timetable.paused(current, now) and current.next_at is not None and current.paused_until is not None:
            assert current.next_at >= current.paused_until


@given(st.floats(0.1, 10**6) | st.none(), st.integers(0, 100), st.booleans())
def test_wait_after_a_failure_is_bounded(interval_s: float | None, before: int, transient: bool) -> None:
    """No longer than the policy says, than the interval of what is on the timetable, and than transient failures may."""
    policy = RetryPolicy(attempts_max=1_000, backoff_base_s=2.0, backoff_max_s=300.0, transient_max_s=10.0)
    started = item("a", interval_s).evolve(state=WorkState.CLAIMED, owner="w", failures=before)
    failed = timetable.ended(started, Ended(key=started.key, error="no", transient=transient), "w", NOW, policy)
    assert failed is not None
    assert failed.not_before is not None
    wait_s = (failed.not_before - NOW).total_seconds()

    assert 0.99 <= wait_s <= 300.0
    assert interval_s is None or wait_s <= max(interval_s, 2.0)
    assert not transient or wait_s <= 10.0


def test_items_of_older_versions_keep_their_wait() -> None:
    """What an older version counted as attempts only goes on from there."""
    old = item("a", None).evolve(state=WorkState.CLAIMED, owner="w", attempts=5)
    failed = timetable.ended(old, Ended(key=old.key, error="no", transient=True), "w", NOW, POLICY)

    assert (5, 6) == (failed and failed.attempts, failed and failed.failures)


@given(st.integers(-(10**6), 10**9), st.floats(0.1, 10**6))
def test_next_turn_lies_on_the_grid_after_now(behind_ms: int, interval_s: float) -> None:
    """It is after now, at most one interval if the wanted start was not, and whole intervals after the wanted start."""
    now = NOW + timedelta(milliseconds=behind_ms)
    interval = timedelta(milliseconds=round(interval_s * 1_000))
    turn = timetable.next_turn(NOW, interval_s, now)

    assert turn > now
    assert turn <= max(NOW, now + interval)
    assert timedelta(0) == (turn - NOW) % interval


@pytest.mark.parametrize(("attempts", "whole"), [(1, 1.0), (2, 2.0), (4, 8.0), (5, 8.0), (10_000, 8.0)])
def test_backoff_doubles_up_to_its_bound(attempts: int, whole: float) -> None:
    """Half of the wait is sure, half is spread over items."""
    waits = [timetable.backoff_s(f"k{number}", attempts, POLICY) for number in range(100)]

    assert whole / 2 <= min(waits) < whole * 0.6
    assert whole * 0.9 < max(waits) <= whole


def test_spread_is_the_same_everywhere() -> None:
    """Every process and version computes the same place in the interval, whatever the text."""
    assert 0.3488 == round(timetable.fraction("orchestrate:prod/orders"), 4)
    assert 0 <= timetable.fraction("\ud800") < 1


def test_late_item_skips_the_turns_it_missed() -> None:
    """Hours late, it runs once and then at its next place in the grid."""
    current = RULES["due"](item("a", 60.0), later(7_230))
    assert current is not None
    taken = timetable.claimed(current, "w", later(7_230))
    assert taken is not None
    done = timetable.ended(taken, Ended(key=taken.key), "w", later(7_235), POLICY)

    assert (7_230.0, later(7_260)) == (taken.late_s, done and done.next_at)
