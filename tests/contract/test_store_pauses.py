"""What every store does with work that is paused."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from blocks.models.event import EventDraft, EventType
from blocks.models.request import Ended, Priority, Request, WorkKind, WorkState
from blocks.store.protocol import EventQuery, RetryPolicy, Store
from doubles.store_samples import NOW, item, items, later

KIND = WorkKind.ORCHESTRATE.value
A = f"{KIND}:prod/a"
UNTIL = later(3_600)
POLICY = RetryPolicy(attempts_max=3)


async def _paused(store: Store, *given: Request, now: datetime = NOW) -> Request:
    """The first of these items, on the timetable and paused until `UNTIL`."""
    await store.ensure_work(given, NOW)
    held = await store.pause_work(given[0].key, UNTIL, "ann", "a broken disk", now)
    assert held is not None
    return held


async def test_paused_item_is_not_queued_by_the_timetable(store: Store) -> None:
    """The item says until when, by whom and why; the others are queued, and it is when the pause is over."""
    held = await _paused(store, item("prod/a"), item("prod/b"))

    assert (UNTIL, "ann", "a broken disk") == (held.paused_until, held.paused_by, held.paused_why)
    assert [held] == [stored for stored in await store.list_work() if stored.key == A]
    assert 1 == await store.queue_due(later(3_599), 10)
    assert 1 == await store.queue_due(UNTIL + timedelta(seconds=60), 10)
    assert {None} == {stored.paused_until for stored in await store.list_work()}


async def test_paused_items_are_told_apart(store: Store) -> None:
    """Those whose pause is not over, whatever their state."""
    await _paused(store, item("prod/a"), item("prod/b"))

    assert ({A}, set()) == (await store.paused(later(3_599)), await store.paused(UNTIL))


async def test_pausing_what_is_not_there(store: Store) -> None:
    """There is nothing to pause, and nothing is made."""
    assert None is await store.pause_work(A, UNTIL, "ann", None, NOW)
    assert [] == await store.list_work()


@pytest.mark.parametrize(("by", "state"), [(Priority.PERSON, WorkState.QUEUED), (Priority.URGENT, WorkState.IDLE)])
async def test_queued_item_goes_back_unless_a_person_asked(store: Store, by: Priority, state: WorkState) -> None:
    """It is claimed no more, unless a person asked for it."""
    await store.ask(KIND, "prod/a", by, NOW)
    held = await _paused(store, item("prod/a"))

    assert state is held.state
    assert (state is WorkState.QUEUED) == bool(await store.claim_work([A], "w", later(1)))


async def test_claimed_item_finishes_its_turn(store: Store) -> None:
    """Its end is taken as ever, and its next turn is after the pause; when it started is kept."""
    await store.ensure_work([item("prod/a")], NOW)
    await store.queue_due(NOW, 10)
    await store.claim_work([A], "w", later(2))
    held = await _paused(store, item("prod/a"), now=later(3))
    await store.finish_work([Ended(key=A)], "w", later(5), POLICY)
    (stored,) = await store.list_work()

    assert (WorkState.CLAIMED, WorkState.IDLE) == (held.state, stored.state)
    assert (later(2), 2.0, later(5), held.next_at) == (
        stored.started_at,
        stored.late_s,
        stored.finished_at,
        stored.next_at,
    )


async def test_paused_item_is_served_when_asked_for(store: Store) -> None:
    """Routine leaves it alone, a person and the watch do not; what fails then waits for the end of the pause."""
    await _paused(store, item("prod/a"))
    routine = await store.ask(KIND, "prod/a", Priority.ROUTINE, NOW)
    for priority in (Priority.URGENT, Priority.PERSON):
        await store.ask(KIND, "prod/a", priority, NOW)
        assert [A] == [got.key for got in await store.claim_work([A], "w", later(1))]
        await store.finish_work([Ended(key=A, error="no")], "w", later(2), POLICY)
    (stored,) = await store.list_work()

    assert WorkState.IDLE is routine.state
    assert (WorkState.IDLE, "no", 2) == (stored.state, stored.error, stored.attempts)
    assert 0 == await store.queue_due(later(3_599), 10)


async def test_resumed_item_comes_back_within_its_interval(store: Store) -> None:
    """Its pause is forgotten and its next turn is near; resuming again changes nothing."""
    await _paused(store, item("prod/a", 60.0))
    back = await store.pause_work(A, None, None, None, later(10))
    assert back is not None
    assert back.next_at is not None

    assert (None, None, None) == (back.paused_until, back.paused_by, back.paused_why)
    assert later(10) <= back.next_at <= later(70)
    assert back == await store.pause_work(A, None, None, None, later(20))


async def test_unchanged_item_keeps_pause_and_schedule(store: Store) -> None:
    """Put on the timetable again as it is, nothing of it changes."""
    held = await _paused(store, item("prod/a"))

    assert 0 == await store.ensure_work([item("prod/a")], later(5))
    assert [held] == await store.list_work()


async def test_those_paused_together_come_back_one_after_the_other(store: Store) -> None:
    """No wave when the pause of many is over."""
    await store.ensure_work(items(40), NOW)
    for one in items(40):
        await store.pause_work(one.key, UNTIL, "ann", None, NOW)
    waves = [await store.queue_due(UNTIL + timedelta(seconds=second), 100) for second in (0, 15, 30, 45, 60)]

    assert 40 == sum(waves)
    assert max(waves) < 25


async def test_pause_is_told_with_the_change_or_not_at_all(store: Store) -> None:
    """One event for a change, in its transaction; none where nothing changes."""

    def told(paused: Request) -> EventDraft:
        return EventDraft(type=EventType.WORK_PAUSED, stream="prod", subject=paused.key, data={"by": paused.paused_by})

    await store.ensure_work([item("prod/a")], NOW)
    for _ in range(2):
        await store.pause_work(A, UNTIL, "ann", None, NOW, told)

    assert [(A, {"by": "ann"})] == [(event.subject, event.data) for event in await store.events(EventQuery())]


async def test_pausing_while_others_change_it(store: Store) -> None:
    """Pauses, requests and turns at once: the item is paused, and what the person asked for is not lost."""
    await store.ensure_work([item("prod/a")], NOW)
    await asyncio.gather(
        *(store.pause_work(A, UNTIL, "ann", None, NOW) for _ in range(4)),
        *(store.ask(KIND, "prod/a", priority, NOW) for priority in Priority),
        store.queue_due(NOW, 10),
    )
    (stored,) = await store.list_work()

    assert {A} == await store.paused(NOW)
    assert (WorkState.QUEUED, True) == (stored.state, stored.by_person)


async def test_many_are_asked_for_at_once(store: Store) -> None:
    """Each as if alone: made, queued, or left alone where it is paused; the number of changes is told."""
    await _paused(store, item("prod/a"))
    subjects = [f"prod/{name}" for name in "abc"]

    assert 2 == await store.ask_many(KIND, subjects, Priority.ROUTINE, NOW)
    assert 0 == await store.ask_many(KIND, subjects, Priority.ROUTINE, NOW)
    assert ["prod/b", "prod/c"] == [stored.subject for stored in await store.list_work([WorkState.QUEUED])]


async def test_items_of_the_timetable_are_listed_by_key(store: Store) -> None:
    """Of the given kinds, those with an interval that no worker has; dropping can spare those that one has."""
    await store.ensure_work([item("prod/a"), item("prod/b"), item("prod/once", None)], NOW)
    await store.ask("discover", "prod/s", Priority.PERSON, NOW)
    await store.queue_due(NOW, 1)
    (got,) = await store.claim_any([KIND], "w", NOW, 1)
    both = [A, f"{KIND}:prod/b"]

    assert set(both) - {got.key} == await store.on_timetable([KIND, "discover"])
    assert 1 == await store.drop_work(both, spare_claimed=True)
    assert got.key in {stored.key for stored in await store.list_work()}
