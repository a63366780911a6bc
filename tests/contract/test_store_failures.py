"""What every store does with work that fails, that kills its workers, or that it cannot read."""

from __future__ import annotations

import asyncio
import logging

import pytest

from blocks.errors import RecordError
from blocks.models.event import Event, EventDraft, EventType
from blocks.models.request import Ended, Priority, Request, WorkKind, WorkState
from blocks.store.mongodb import MongoStore
from blocks.store.protocol import EventQuery, RetryPolicy, Store
from doubles.store import MemoryStore
from doubles.store_samples import NOW, item, items, later

KIND = WorkKind.ORCHESTRATE.value
ONCE = RetryPolicy(attempts_max=1)
POLICY = RetryPolicy(attempts_max=3, backoff_base_s=4.0, backoff_max_s=100.0, transient_max_s=8.0)
A, B = "orchestrate:prod/a", "orchestrate:prod/b"


def told(request: Request) -> EventDraft:
    """What is said of a dead item."""
    return EventDraft(type=EventType.WORK_DEAD, stream="system", subject=request.key, data={"error": request.error})


async def claimed(store: Store, interval: float | None = None, *subjects: str) -> None:
    """Items, by default one, claimed by `w`."""
    given = [item(subject, interval) for subject in subjects or ("prod/a",)]
    await store.ensure_work(given, NOW)
    await store.queue_due(NOW, 1_000)
    assert len(given) == len(await store.claim_work([one.key for one in given], "w", NOW))


async def fail(store: Store, second: float, policy: RetryPolicy = POLICY, *, transient: bool = False) -> Request:
    """The present turn of the only item fails; returns the item."""
    await store.finish_work([Ended(key=A, error="no", transient=transient)], "w", later(second), policy)
    return await one(store)


async def one(store: Store) -> Request:
    """The only item."""
    (only,) = await store.list_work()
    return only


async def events(store: Store) -> list[Event]:
    """All events."""
    return await store.events(EventQuery(newest=1_000))


def waits_s(request: Request, second: float) -> float:
    """How long it still waits."""
    return ((request.not_before or NOW) - later(second)).total_seconds()


# -- told of the dead ---------------------------------------------------------------------------------------------------


async def test_death_is_told_with_it(store: Store) -> None:
    """Of a batch, those that die are told of, in the order given, and only they."""
    await claimed(store, None, "prod/a", "prod/b", "prod/c")
    ended = [Ended(key=B, error="y"), Ended(key=A, error="x"), Ended(key=f"{KIND}:prod/c")]
    dead = await store.finish_work(ended, "w", later(1), ONCE, told)
    found = await events(store)

    assert [B, A] == [request.key for request in dead] == [event.subject for event in found]
    assert [("system", 1, "y", later(1)), ("system", 2, "x", later(1))] == [
        (event.stream, event.sequence, event.data["error"], event.time) for event in found
    ]
    assert [A, B] == sorted(request.key for request in await store.list_work([WorkState.DEAD]))


async def test_nobody_dies_untold(store: Store) -> None:
    """Where the telling fails, the item stays claimed: both or nothing, and it can be ended once more."""
    await claimed(store)

    def stumbles(_: Request) -> EventDraft:
        raise KeyError(A)

    with pytest.raises(KeyError, match=A):
        await store.finish_work([Ended(key=A, error="x")], "w", later(1), ONCE, stumbles)
    assert (WorkState.CLAIMED, []) == ((await one(store)).state, await events(store))
    await store.finish_work([Ended(key=A, error="x")], "w", later(1), ONCE, told)
    assert (WorkState.DEAD, 1) == ((await one(store)).state, len(await events(store)))


async def test_death_is_told_once(store: Store) -> None:
    """Who ends the same item again, or at the same time, tells nothing new."""
    await claimed(store)
    end = [Ended(key=A, error="x")]
    dead = await asyncio.gather(*(store.finish_work(end, "w", later(1), ONCE, told) for _ in range(5)))

    assert 1 == sum(map(len, dead)) == len(await events(store))


async def test_what_does_not_die_is_not_told_of(store: Store) -> None:
    """Success and failure that will be tried again write no event."""
    await claimed(store, None, "prod/a", "prod/b")
    await store.finish_work([Ended(key=A, error="x"), Ended(key=B)], "w", later(1), POLICY, told)

    assert [] == await events(store)


# -- failures -----------------------------------------------------------------------------------------------------------


async def test_transient_failures_do_not_kill(store: Store) -> None:
    """They wait longer each time, up to a bound of their own, and are not counted among those that kill."""
    await claimed(store)
    for second, longest in ((0, 4.0), (100, 8.0), (200, 8.0), (300, 8.0)):
        stored = await fail(store, second, transient=True)
        assert (WorkState.QUEUED, 0, "no") == (stored.state, stored.attempts, stored.error)
        assert longest / 2 <= waits_s(stored, second) <= longest
        await store.claim_work([A], "w", later(second + 99))
    stored = await fail(store, 400)

    assert (WorkState.QUEUED, 1, 5) == (stored.state, stored.attempts, stored.failures)
    assert 32.0 <= waits_s(stored, 400) <= 64.0


async def test_periodic_work_goes_on(store: Store) -> None:
    """What is on the timetable never dies of failures, waits no longer than its interval, and shows what is wrong."""
    await claimed(store, 20.0)
    for attempt in range(1, 7):
        stored = await fail(store, 100.0 * attempt)
        assert (WorkState.QUEUED, attempt, "no") == (stored.state, stored.attempts, stored.error)
        assert waits_s(stored, 100.0 * attempt) <= 20.0
        assert [A] == [got.key for got in await store.claim_work([A], "w", later(100.0 * attempt + 20))]

    assert 10.0 <= waits_s(stored, 600)
    await store.finish_work([Ended(key=A)], "w", later(701), POLICY)
    stored = await one(store)
    assert (WorkState.IDLE, 0, 0, None) == (stored.state, stored.attempts, stored.failures, stored.error)


async def test_short_interval_does_not_make_it_hurry(store: Store) -> None:
    """Work whose interval is shorter than the first wait fails no faster than that."""
    await claimed(store, 0.5)

    assert 2.0 <= waits_s(await fail(store, 0), 0) <= 4.0


@pytest.mark.parametrize("others", [(), (Priority.URGENT,), (Priority.ROUTINE,)])
async def test_a_persons_request_is_not_lost_in_the_backoff(store: Store, others: tuple[Priority, ...]) -> None:
    """Asked for by a person while it runs, whoever else asked: it runs again at once though it fails, and does not die."""
    await claimed(store)
    for priority in (*others, Priority.PERSON, *others):
        await store.ask(KIND, "prod/a", priority, later(1))
    stored = await fail(store, 2, ONCE)

    assert (WorkState.QUEUED, 1, None, False) == (stored.state, stored.attempts, stored.not_before, stored.again)
    assert min(Priority.PERSON, *others, Priority.ROUTINE) == stored.priority
    await store.claim_work([A], "w", later(2))
    assert WorkState.DEAD is (await fail(store, 3, ONCE)).state


async def test_the_dead_stay_dead_on_the_timetable(store: Store) -> None:
    """A dead item that gets an interval is not queued by its turn; a person wakes it."""
    await claimed(store)
    await fail(store, 0, ONCE)
    await store.ensure_work([item("prod/a", 5.0)], later(1))

    assert 0 == await store.queue_due(later(99), 10)
    assert WorkState.DEAD is (await store.ask(KIND, "prod/a", Priority.URGENT, later(99))).state
    assert WorkState.QUEUED is (await store.ask(KIND, "prod/a", Priority.PERSON, later(99))).state


# -- workers that die ---------------------------------------------------------------------------------------------------


async def test_what_keeps_killing_its_workers_is_parked(store: Store) -> None:
    """Taken from dead workers too often in a row it becomes dead, periodic or not, and is told of."""
    await claimed(store, 60.0)
    for times in range(1, 4):
        assert 1 == await store.requeue_of({"w"}, later(100 * times), orphaned_max=3, told=told)
        stored = await one(store)
        assert (WorkState.QUEUED, times, 0) == (stored.state, stored.orphaned, stored.attempts)
        await store.claim_work([A], "w", later(100 * times + 99))
    assert [] == await events(store)
    assert 1 == await store.requeue_of({"w"}, later(400), orphaned_max=3, told=told)
    stored = await one(store)

    assert (WorkState.DEAD, "its worker died 4 times while running it") == (stored.state, stored.error)
    assert [(A, stored.error)] == [(event.subject, event.data["error"]) for event in await events(store)]
    assert 1 == await store.retry_work([A], later(401))
    assert (0, None) == ((await one(store)).orphaned, (await one(store)).error)


async def test_success_forgets_dead_workers(store: Store) -> None:
    """Only deaths in a row count; a release is none."""
    await claimed(store)
    await store.requeue_of({"w"}, later(1), orphaned_max=1)
    await store.claim_work([A], "w", later(2))
    await store.release_work("w", later(3))
    assert 1 == (await one(store)).orphaned
    await store.claim_work([A], "w", later(4))
    await store.finish_work([Ended(key=A)], "w", later(5), POLICY)

    assert (WorkState.IDLE, 0) == ((await one(store)).state, (await one(store)).orphaned)


async def test_victims_get_away_from_the_item_to_blame(store: Store) -> None:
    """A batch that lost its worker twice comes back spread over time, so that it is not the same batch again."""
    keys = [one.key for one in items(40)]
    await claimed(store, None, *(one.subject for one in items(40)))
    await store.requeue_of({"w"}, later(1))
    assert {None} == {stored.not_before for stored in await store.list_work()}
    await store.claim_work(keys, "w", later(2))
    await store.requeue_of({"w"}, later(3))

    assert len({stored.not_before for stored in await store.list_work()}) > 30


# -- what cannot be read ------------------------------------------------------------------------------------------------


async def spoil(store: Store, *keys: str) -> None:
    """Make items ones that this version cannot read."""
    if isinstance(store, MongoStore):
        await store.collection("work").update_many({"_id": {"$in": keys}}, {"$set": {"subject": 7}})
    else:
        assert isinstance(store, MemoryStore)
        store.unreadable |= set(keys)


async def test_unreadable_work_stops_nobody(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Items that cannot be read are left alone; all others are queued, sent, claimed, ended and listed as ever."""
    keys = [one.key for one in items(12)]
    bad, good = keys[:10], keys[10:]
    await store.ensure_work(items(12), NOW)
    await spoil(store, *bad)
    with caplog.at_level(logging.WARNING, "replicore"):
        assert 2 == await store.queue_due(NOW, 5)
        assert good == [found.key for found in await store.unsent(NOW, 1.0, 5)]
        assert good == [found.key for found in await store.list_work(limit=5)]
        assert good == [got.key for got in await store.claim_any([KIND], "w", NOW, 5)]
        assert 2 == await store.release_work("w", NOW)
        assert good == [got.key for got in await store.claim_work(keys, "w", NOW)]
        await store.finish_work([Ended(key=key) for key in keys], "w", later(1), POLICY, told)
        assert 0 == await store.ensure_work(items(12), later(1))
        assert 0 == await store.retry_work(keys, later(1))

    assert {WorkState.IDLE} == {found.state for found in await store.list_work()}
    assert len(caplog.messages) <= len(bad)
    assert 12 == (await store.count_work(later(1))).idle
    assert 12 == await store.drop_work(keys)


async def test_unreadable_work_at_the_head_of_the_queue_starves_nobody(store: Store) -> None:
    """Queued before it was spoilt, more of it than a turn takes: what stands behind is still reached."""
    keys = [one.key for one in items(12)]
    await store.ensure_work(items(12), NOW)
    await store.queue_due(NOW, 12)
    await spoil(store, *keys[:10])

    assert keys[10:] == [found.key for found in await store.unsent(NOW, 1.0, 4)]
    assert keys[10:] == [got.key for got in await store.claim_any([KIND], "w", NOW, 4)]
    assert {"w"} == await store.claimed_by()
    assert 2 == await store.requeue_of({"w"}, NOW)


async def test_unreadable_work_cannot_be_asked_for(store: Store) -> None:
    """Whoever asks for just that item is told so."""
    await store.ensure_work([item("prod/a")], NOW)
    await spoil(store, A)

    with pytest.raises(RecordError, match=f"the work item '{A}' cannot be asked for"):
        await store.ask(KIND, "prod/a", Priority.PERSON, NOW)
