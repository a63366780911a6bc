"""What every store does with work: how turns end, are asked for again, and come back."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from blocks.models.request import Ended, Priority, Request, WorkKind, WorkState
from blocks.store.protocol import RetryPolicy, Store
from doubles.store_samples import NOW, item, items, later

KIND = WorkKind.ORCHESTRATE.value
POLICY = RetryPolicy(attempts_max=3, backoff_base_s=10.0, backoff_max_s=15.0)
A = "orchestrate:prod/a"


async def one(store: Store) -> Request:
    """The only item there is."""
    (only,) = await store.list_work()
    return only


async def queued(store: Store, count: int, now: datetime = NOW) -> list[str]:
    """Put so many items on the timetable and queue them; returns their keys."""
    await store.ensure_work(items(count), now)
    assert count == await store.queue_due(now, count)
    return [item.key for item in items(count)]


async def claimed(store: Store, subject: str = "prod/a", interval: float | None = 60.0) -> Request:
    """One item, claimed by `w`."""
    await store.ensure_work([item(subject, interval)], NOW)
    await store.queue_due(NOW, 10)
    (only,) = await store.claim_work([f"{KIND}:{subject}"], "w", NOW)
    return only


async def test_success_goes_back_to_the_grid(store: Store) -> None:
    """The next turn lies whole intervals after the wanted start, after now: no drift, no turns made up for."""
    await claimed(store)

    assert [] == await store.finish_work([Ended(key=A)], "w", later(130), POLICY)
    stored = await one(store)
    assert (WorkState.IDLE, later(180), None, None, 0) == (
        stored.state,
        stored.next_at,
        stored.owner,
        stored.wanted_at,
        stored.attempts,
    )
    assert later(130) == stored.finished_at


async def test_worker_may_wish_for_a_sooner_turn(store: Store) -> None:
    """A wished turn counts when it is sooner than the timetable's, or when there is no timetable."""
    await claimed(store, "prod/a")
    await claimed(store, "prod/b")
    await claimed(store, "prod/c", None)
    ended = [
        Ended(key=f"{KIND}:prod/{name}", next_at=later(second)) for name, second in (("a", 9), ("b", 99), ("c", 9))
    ]
    await store.finish_work(ended, "w", later(1), POLICY)

    assert {"prod/a": later(9), "prod/b": later(60), "prod/c": later(9)} == {
        stored.subject: stored.next_at for stored in await store.list_work()
    }
    assert 2 == await store.queue_due(later(9), 10)


async def test_failure_waits_longer_each_time_and_dies(store: Store) -> None:
    """Failed work is queued with doubled, bounded, jittered backoff; without interval it dies of `attempts_max` failures."""
    await claimed(store, interval=None)
    at = 0.0
    for attempts, longest in ((1, 10.0), (2, 15.0)):
        assert [] == await store.finish_work([Ended(key=A, error="no")], "w", later(at), POLICY)
        stored = await one(store)
        assert (WorkState.QUEUED, attempts, "no", None) == (stored.state, stored.attempts, stored.error, stored.sent_at)
        assert stored.not_before is not None
        assert longest / 2 <= (stored.not_before - later(at)).total_seconds() <= longest
        assert [] == await store.claim_work([A], "w", later(at + longest / 2 - 0.001))
        assert [] == await store.unsent(later(at + longest / 2 - 0.001), 1.0, 10)
        at += longest
        assert [A] == [got.key for got in await store.claim_work([A], "w", later(at))]
    dead = await store.finish_work([Ended(key=A, error="no more")], "w", later(at), POLICY)

    assert [(A, WorkState.DEAD, 3, "no more")] == [(d.key, d.state, d.attempts, d.error) for d in dead]
    assert [] == await store.claim_work([A], "w", later(9_999))
    assert 0 == await store.queue_due(later(9_999), 10)


async def test_success_forgets_failures(store: Store) -> None:
    """After a success the count of failures starts anew, and the turn stays on the grid of the first wanted start."""
    await claimed(store)
    await store.finish_work([Ended(key=A, error="no")], "w", later(1), POLICY)
    await store.claim_work([A], "w", later(20))
    await store.finish_work([Ended(key=A)], "w", later(21), POLICY)
    stored = await one(store)

    assert (0, None, None, later(60)) == (stored.attempts, stored.error, stored.not_before, stored.next_at)


async def test_only_the_holder_ends_work(store: Store) -> None:
    """What somebody else has claimed, or nobody, is left alone."""
    before = await claimed(store)
    await store.finish_work([Ended(key=A, error="mine?"), Ended(key="gone")], "other", later(1), POLICY)

    assert before == await one(store)


async def test_asking_makes_queues_and_coalesces(store: Store) -> None:
    """Asking makes an item without an interval; asking again only makes it more urgent, and its pointer is sent again."""
    first = await store.ask(KIND, "prod/a", Priority.PERSON, NOW)
    await store.mark_sent([A], NOW)
    same = await store.ask(KIND, "prod/a", Priority.ROUTINE, later(1))
    assert (WorkState.QUEUED, Priority.PERSON, NOW) == (first.state, first.priority, first.wanted_at)
    assert (Priority.PERSON, NOW, NOW) == (same.priority, same.wanted_at, same.sent_at)
    urgent = await store.ask(KIND, "prod/a", Priority.URGENT, later(2))

    assert (Priority.URGENT, NOW, None) == (urgent.priority, urgent.wanted_at, urgent.sent_at)
    assert urgent == await one(store)


async def test_many_that_ask_at_once_get_one_item(store: Store) -> None:
    """Twenty who ask for the same at once end with one queued item, and all are told of it."""
    asked = await asyncio.gather(*(store.ask(KIND, "prod/a", Priority.URGENT, NOW) for _ in range(20)))

    assert [await one(store)] * 20 == asked


async def test_asking_in_between_does_not_move_the_grid(store: Store) -> None:
    """An urgent turn between two of the timetable leaves the timetable as it was, and is not counted as late."""
    await store.ensure_work([item("prod/a", 60.0, next_at=later(50))], NOW)
    await store.ask(KIND, "prod/a", Priority.URGENT, later(20))
    (got,) = await store.claim_work([A], "w", later(21))
    await store.finish_work([Ended(key=A)], "w", later(25), POLICY)
    stored = await one(store)

    assert (1.0, later(50), Priority.ROUTINE) == (got.late_s, stored.next_at, stored.priority)


async def test_asked_while_claimed_runs_once_more(store: Store) -> None:
    """Asking for claimed work queues it again at its end, once, as urgent as asked, also if it has an interval."""
    await claimed(store)
    for priority in (Priority.URGENT, Priority.PERSON):
        assert (await store.ask(KIND, "prod/a", priority, later(1))).again
    await store.finish_work([Ended(key=A)], "w", later(2), POLICY)
    stored = await one(store)

    assert (WorkState.QUEUED, Priority.URGENT, later(2), later(60), False) == (
        stored.state,
        stored.priority,
        stored.wanted_at,
        stored.next_at,
        stored.again,
    )
    await store.claim_work([A], "w", later(3))
    await store.finish_work([Ended(key=A)], "w", later(4), POLICY)
    assert WorkState.IDLE is (await one(store)).state


async def test_again_does_not_shorten_the_backoff(store: Store) -> None:
    """Work that failed waits although somebody asked for it while it ran; a person ends the waiting."""
    await claimed(store)
    await store.ask(KIND, "prod/a", Priority.URGENT, later(1))
    await store.finish_work([Ended(key=A, error="no")], "w", later(1), POLICY)
    await store.ask(KIND, "prod/a", Priority.URGENT, later(1))
    assert [] == await store.claim_work([A], "w", later(1))
    await store.ask(KIND, "prod/a", Priority.PERSON, later(1))

    assert [A] == [got.key for got in await store.claim_work([A], "w", later(1))]


@pytest.mark.parametrize("by", ["retry", "ask"])
async def test_a_person_wakes_the_dead(store: Store, by: str) -> None:
    """Dead work stays dead for everybody but a person, who queues it with a clean slate."""
    await claimed(store, interval=None)
    await store.finish_work([Ended(key=A, error="no")], "w", NOW, RetryPolicy(attempts_max=1))
    assert WorkState.DEAD is (await store.ask(KIND, "prod/a", Priority.URGENT, later(1))).state
    if by == "retry":
        assert 1 == await store.retry_work([A, "gone"], later(5))
    else:
        await store.ask(KIND, "prod/a", Priority.PERSON, later(5))
    stored = await one(store)

    assert (WorkState.QUEUED, 0, None, later(5)) == (stored.state, stored.attempts, stored.error, stored.wanted_at)
    assert 0 == await store.retry_work([A], later(5))


async def test_release_gives_back_what_an_owner_has(store: Store) -> None:
    """A worker that leaves gives its work back, to be sent and run at once; that of others stays."""
    keys = await queued(store, 4)
    await store.mark_sent(keys, NOW)
    await store.claim_work(keys[:3], "w", NOW)
    await store.claim_work(keys[3:], "other", NOW)

    assert 3 == await store.release_work("w", later(1))
    assert keys[:3] == [stored.key for stored in await store.unsent(later(1), 999.0, 10)]
    assert [keys[3]] == [stored.key for stored in await store.list_work([WorkState.CLAIMED])]


async def test_orphans_are_queued_again(store: Store) -> None:
    """What is claimed by owners that are gone is queued again at once; the gone owner can no longer end it."""
    keys = await queued(store, 4)
    await store.claim_work(keys[:2], "gone", NOW)
    await store.claim_work(keys[2:], "alive", NOW)

    assert {"gone", "alive"} == await store.claimed_by()
    assert 2 == await store.requeue_of({"gone", "idle"}, later(1))
    assert 0 == await store.requeue_of(set(), later(1))
    assert [] == await store.finish_work([Ended(key=keys[0], error="x")], "gone", later(1), RetryPolicy(attempts_max=1))
    assert keys[:2] == [got.key for got in await store.claim_any([KIND], "w", later(1), 10)]
    assert 4 == await store.requeue_of(await store.claimed_by(), later(1))
    assert set() == await store.claimed_by()
