"""What every store does with work: the timetable and the queue."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from blocks.errors import ConflictError
from blocks.models.record import Change
from blocks.models.request import Ended, Priority, Request, WorkKind, WorkState
from blocks.store.protocol import RetryPolicy, Store, WorkCounts
from blocks.store.timetable import made
from doubles.store_samples import NOW, item, items, later, spec

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


async def test_unchanged_items_are_not_written(store: Store) -> None:
    """Putting the same items on the timetable again changes nothing and counts nothing."""
    assert 300 == await store.ensure_work(items(300), NOW)
    before = await store.list_work()

    assert 0 == await store.ensure_work(items(300), later(5))
    assert before == await store.list_work()


async def test_first_turns_are_spread_over_the_interval(store: Store) -> None:
    """Without a wanted start, first turns lie within one interval, evenly, and the same whoever puts them there."""
    given = [item(f"prod/c{number}", 100.0, next_at=None) for number in range(200)]
    await store.ensure_work(given, NOW)
    due = [
        sum(1 for stored in await store.list_work() if stored.next_at and stored.next_at <= later(s))
        for s in (0, 50, 100)
    ]

    assert due[0] <= 2
    assert 70 <= due[1] <= 130
    assert 200 == due[2]


async def test_ensured_item_keeps_its_turn(store: Store) -> None:
    """An item that is there takes interval and activity only; its turn comes forward, never back."""
    await store.ensure_work([item("prod/a", 60.0, next_at=later(50))], NOW)

    assert 1 == await store.ensure_work([item("prod/a", 600.0, next_at=NOW)], NOW)
    assert (600.0, later(50)) == ((await one(store)).interval, (await one(store)).next_at)
    assert 1 == await store.ensure_work([item("prod/a", 5.0)], NOW)
    assert (await one(store)).next_at in [later(ms / 1_000) for ms in range(5_001)]


async def test_inactive_item_is_not_queued_by_the_timetable(store: Store) -> None:
    """Inactive items wait, and get a new turn when they are active again; a person may still ask."""
    await store.ensure_work([item("prod/a", active=False)], NOW)

    assert 0 == await store.queue_due(later(999), 10)
    await store.ensure_work([item("prod/a")], later(999))
    again = (await one(store)).next_at
    assert again is not None
    assert later(999) <= again <= later(1_059)
    await store.ensure_work([item("prod/a", active=False)], later(999))
    assert WorkState.QUEUED is (await store.ask(KIND, "prod/a", Priority.PERSON, later(999))).state


async def test_due_items_are_queued_once_most_overdue_first(store: Store) -> None:
    """A turn of the timetable queues what is due, up to its limit; what is queued is not queued again."""
    given = [item(f"prod/{name}", next_at=later(second)) for name, second in (("a", 3), ("b", 1), ("c", 2), ("d", 9))]
    await store.ensure_work(given, NOW)

    assert 2 == await store.queue_due(later(5), 2)
    assert ["prod/b", "prod/c"] == [stored.subject for stored in await store.list_work([WorkState.QUEUED])]
    assert 1 == await store.queue_due(later(5), 10)
    assert 0 == await store.queue_due(later(5), 10)


async def test_concurrent_timetables_queue_each_item_once(store: Store) -> None:
    """Two that do the duty at once queue every item once in all."""
    await store.ensure_work(items(40), NOW)

    assert 40 == sum(await asyncio.gather(*(store.queue_due(NOW, 100) for _ in range(4))))


async def test_unsent_pointers_come_by_priority_then_wanted_start(store: Store) -> None:
    """Urgent ones first, then people's, then by how long they are overdue; sent ones only when they may be lost."""
    given = [item(f"prod/{name}", next_at=later(second)) for name, second in (("a", 3), ("b", 1), ("c", 9))]
    await store.ensure_work(given, NOW)
    await store.queue_due(later(5), 10)
    await store.ask(KIND, "prod/person", Priority.PERSON, later(5))
    await store.ask(KIND, "prod/c", Priority.URGENT, later(5))

    async def subjects(second: float, limit: int = 10) -> list[str]:
        return [stored.subject[5:] for stored in await store.unsent(later(second), 30.0, limit)]

    assert ["c", "person", "b", "a"] == await subjects(5)
    assert ["c", "person"] == await subjects(5, 2)
    await store.mark_sent([f"{KIND}:prod/c", f"{KIND}:prod/b"], later(5))
    assert ["person", "a"] == await subjects(6)
    assert ["c", "person", "b", "a"] == await subjects(35.001)


async def test_claim_takes_queued_items_once(store: Store) -> None:
    """Ten workers with the same pointers: every item is claimed by exactly one."""
    keys = await queued(store, 50)
    got = await asyncio.gather(*(store.claim_work([*keys, "gone"], f"w{n}", later(1)) for n in range(10)))
    owners = [(stored.key, stored.owner) for batch in got for stored in batch]

    assert keys == sorted(key for key, _ in owners)
    assert sorted(owners) == [(stored.key, stored.owner) for stored in await store.list_work()]
    assert [] == await store.claim_work(keys, "late", later(1))


async def test_claims_of_one_owner_do_not_mix(store: Store) -> None:
    """Two claims of one worker at once return each item once."""
    keys = await queued(store, 30)
    first, second = await asyncio.gather(store.claim_work(keys, "w", NOW), store.claim_work(keys, "w", NOW))

    assert keys == sorted(stored.key for stored in (*first, *second))


async def test_claim_tells_how_late_it_is(store: Store) -> None:
    """A claimed item says who has it, since when, and by how much it started late."""
    await store.ensure_work([item("prod/a", next_at=NOW)], NOW)
    await store.queue_due(later(2), 10)
    (got,) = await store.claim_work([A], "w", later(7.5))

    assert (WorkState.CLAIMED, "w", later(7.5), 7.5) == (got.state, got.owner, got.claimed_at, got.late_s)


async def test_claim_any_takes_urgent_work_of_its_kinds_first(store: Store) -> None:
    """Without a queue: urgent, then people's, then the most overdue; other kinds are left alone, sent ones are not."""
    given = [item(f"prod/{name}", next_at=later(second)) for name, second in (("a", 3), ("b", 1))]
    await store.ensure_work(given, NOW)
    await store.queue_due(later(5), 10)
    await store.mark_sent([A], later(5))
    for kind, subject, priority in (
        (KIND, "p", Priority.PERSON),
        (KIND, "u", Priority.URGENT),
        ("new", "x", Priority.URGENT),
    ):
        await store.ask(kind, subject, priority, later(5))

    async def claim(limit: int) -> list[str]:
        return [got.subject for got in await store.claim_any([KIND, "discover"], "w", later(5), limit)]

    assert ["u", "p", "prod/b"] == await claim(3)
    assert ["prod/a"] == await claim(10)
    assert [("new", WorkState.QUEUED)] == [(i.kind, i.state) for i in await store.list_work([WorkState.QUEUED])]


async def test_claim_any_shares_work_out(store: Store) -> None:
    """Workers that claim at once get everything once, though all want the same first."""
    await queued(store, 40)
    got = await asyncio.gather(*(store.claim_any([KIND], f"w{n}", NOW, 10) for n in range(4)))

    assert [entry.key for entry in items(40)] == sorted(stored.key for batch in got for stored in batch)


async def test_dropped_work_is_gone(store: Store) -> None:
    """Dropping takes items off whatever their state; ending one afterwards brings nothing back."""
    await claimed(store)
    await store.ensure_work([item("prod/b")], NOW)

    assert 2 == await store.drop_work([A, f"{KIND}:prod/b", "gone"])
    await store.finish_work([Ended(key=A)], "w", NOW, POLICY)
    assert [] == await store.list_work()


async def test_work_is_listed_most_overdue_first(store: Store) -> None:
    """Items come by wanted start, those without one last; state and limit narrow."""
    given = [item(f"prod/{name}", next_at=later(second)) for name, second in (("a", 3), ("b", 1), ("c", 2))]
    await store.ensure_work([*given, item("prod/never", None, next_at=None)], NOW)
    await store.queue_due(later(1), 10)

    assert ["prod/b", "prod/c", "prod/a", "prod/never"] == [stored.subject for stored in await store.list_work()]
    assert ["prod/c"] == [stored.subject for stored in await store.list_work([WorkState.IDLE], limit=1)]


async def test_work_is_counted(store: Store) -> None:
    """Counts by state, how many of the queued ones wait, and how late the latest of them is."""
    assert WorkCounts() == await store.count_work(NOW)
    keys = await queued(store, 5)
    await store.ensure_work([item("prod/c0000", None), item("prod/idle", next_at=later(99))], NOW)
    await store.claim_work(keys[:3], "w", NOW)
    await store.finish_work([Ended(key=keys[0], error="x")], "w", NOW, RetryPolicy(attempts_max=1))
    await store.finish_work([Ended(key=keys[1], error="x")], "w", later(3), RetryPolicy(backoff_base_s=100.0))

    assert WorkCounts(idle=1, queued=3, claimed=1, retrying=1, dead=1, late_worst_s=4.0) == await store.count_work(
        later(4)
    )


async def test_every_change_raises_the_version(store: Store) -> None:
    """An item's version tells whether it changed."""
    versions = []
    await store.ensure_work([item("prod/a")], NOW)
    versions.append((await one(store)).version)
    await store.queue_due(NOW, 1)
    versions.append((await one(store)).version)
    (got,) = await store.claim_work([A], "w", NOW)
    versions.append(got.version)
    await store.finish_work([Ended(key=A)], "w", NOW, POLICY)
    versions.append((await one(store)).version)

    assert [1, 2, 3, 4] == versions


async def test_new_work_is_made_with_the_change_or_not_at_all(store: Store) -> None:
    """The item is there to be sent and claimed as if it had been asked for; a conflict makes none."""
    there, other = (made("apply", subject, Priority.PERSON, NOW) for subject in ("a", "b"))
    await store.commit(Change(swaps=(spec(1),), work=(there,)), now=NOW)
    with pytest.raises(ConflictError):
        await store.commit(Change(swaps=(spec(1),), work=(other,)), now=NOW)
    await store.ask("apply", "c", Priority.PERSON, NOW)

    assert ["apply:a", "apply:c"] == [item.key for item in await store.unsent(NOW, 10.0, 10)]
    asked, committed = [await store.claim_work([f"apply:{subject}"], "w", NOW) for subject in "ca"]
    assert asked == [item.evolve(subject="c") for item in committed]


async def test_work_that_is_there_is_not_made_anew(store: Store) -> None:
    """It stays as it is, in whatever state: here a worker has it."""
    item = made("apply", "a", Priority.PERSON, NOW)
    await store.commit(Change(work=(item,)), now=NOW)
    claimed = await store.claim_work([item.key], "w", NOW)
    await store.commit(Change(work=(item,)), now=NOW)

    assert claimed == await store.list_work()
