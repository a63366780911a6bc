"""What every store does with events."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import timedelta

import pytest

from blocks.models.event import Event, EventType
from blocks.models.record import Change
from blocks.store.mongodb import MongoStore
from blocks.store.protocol import EventQuery, Store
from doubles.store import MemoryStore
from doubles.store_samples import KEY, NOW, draft, later


async def test_committed_event_has_a_place_and_a_time(store: Store) -> None:
    """A commit returns its events as they are stored: numbered from 1, at the time given, not yet published."""
    events = await store.commit(Change(drafts=(draft(1), draft(2))), now=NOW)
    event = events[0]

    assert (KEY, 1, NOW, {"number": 1}, False) == (
        event.stream,
        event.sequence,
        event.time,
        event.data,
        event.published,
    )
    assert list(events) == await store.events(EventQuery())
    assert len({event.event_id for event in events}) == 2


async def test_streams_are_numbered_apart(store: Store) -> None:
    """One change may have events of several streams; each has its own numbers, and the order given is kept."""
    drafts = (draft(1, "a"), draft(2, "b"), draft(3, "a"), draft(4, "$b.c"))
    await store.commit(Change(drafts=(draft(0, "b"),)), now=NOW)
    events = await store.commit(Change(drafts=drafts), now=NOW)

    assert [("a", 1), ("b", 2), ("a", 2), ("$b.c", 1)] == [(event.stream, event.sequence) for event in events]


async def test_time_never_goes_back_within_a_stream(store: Store) -> None:
    """A writer whose clock is behind does not put its event before the last one."""
    await store.commit(Change(drafts=(draft(1),)), now=NOW)
    events = await store.commit(Change(drafts=(draft(2), draft(3, "other"))), now=NOW - timedelta(seconds=5))

    assert [NOW, NOW - timedelta(seconds=5)] == [event.time for event in events]


async def test_sequences_have_no_holes_under_concurrency(store: Store) -> None:
    """Twenty commits at once to one stream: every number once, none missing, each commit's own in a row."""
    changes = [Change(drafts=(draft(number), draft(number))) for number in range(20)]
    committed = await asyncio.gather(*(store.commit(change, now=NOW) for change in changes))
    stored = await store.events(EventQuery(stream=KEY))

    assert list(range(1, 41)) == [event.sequence for event in stored]
    assert all(second.sequence == first.sequence + 1 for first, second in committed)


async def test_many_streams_at_once_have_no_holes(store: Store) -> None:
    """Commits at once to the same hundreds of streams, some of them new: every stream is numbered from 1 without a hole."""
    streams = [f"prod/c{number}" for number in range(300)]
    await store.commit(Change(drafts=(draft(0, streams[7]),)), now=NOW)
    changes = [Change(drafts=tuple(draft(number, stream) for stream in streams)) for number in range(4)]
    committed = await asyncio.gather(*(store.commit(change, now=NOW) for change in changes))
    sequences: dict[str, list[int]] = defaultdict(list)
    for events in committed:
        assert streams == [event.stream for event in events]
        for event in events:
            sequences[event.stream].append(event.sequence)

    assert [[2, 3, 4, 5]] == [sorted(sequences.pop(streams[7]))]
    assert {(1, 2, 3, 4)} == {tuple(sorted(numbers)) for numbers in sequences.values()}


async def test_history_is_narrowed(store: Store) -> None:
    """Stream, type and time narrow; the newest are kept, oldest first."""
    raised = draft(9).model_copy(update={"type": EventType.PROBLEM_RAISED})
    for second in range(4):
        await store.commit(Change(drafts=(draft(second), draft(second, "other"))), now=later(second))
    await store.commit(Change(drafts=(raised,)), now=later(4))

    async def numbers(query: EventQuery) -> list[object]:
        return [event.data["number"] for event in await store.events(query)]

    assert [3, 9] == await numbers(EventQuery(stream=KEY, newest=2))
    assert [1, 2] == await numbers(EventQuery(stream=KEY, since=later(1), until=later(3)))
    assert [9] == await numbers(EventQuery(types=(EventType.PROBLEM_RAISED.value,)))
    assert [2, 3, 3, 9] == (await numbers(EventQuery(newest=4)))
    assert [] == await numbers(EventQuery(newest=0))
    await store.commit(Change(drafts=(draft(10, "prod"), draft(11, "prod2/orders"))), now=later(5))
    assert [3, 9, 10] == await numbers(EventQuery(namespace="prod", newest=3))


async def test_outbox_is_in_order_of_each_stream(store: Store) -> None:
    """Unpublished events of one stream come in its order, a limit cuts the end, published ones are gone."""
    for number in range(6):
        now = NOW - timedelta(seconds=number)  # a clock that goes back
        await store.commit(Change(drafts=(draft(number, "a"), draft(number, "b"))), now=now)
    waiting = await store.unpublished(100)
    await store.mark_published([event.event_id for event in waiting[:3]])

    assert {"a": [1, 2, 3, 4, 5, 6], "b": [1, 2, 3, 4, 5, 6]} == places(waiting)
    assert waiting[3:8] == await store.unpublished(5)
    assert [] == await store.unpublished(0)


async def test_one_stream_does_not_keep_others_from_the_bus(store: Store) -> None:
    """However much waits in one stream, and for how long: a turn has its oldest few, then those of others."""
    await store.commit(Change(drafts=tuple(draft(n, "stuck") for n in range(50))), now=NOW)
    for second, name in ((3, "a"), (1, "b"), (2, "c")):
        await store.commit(Change(drafts=(draft(0, name), draft(1, name), draft(2, name))), now=later(second))

    assert {"stuck": [1, 2, 3, 4], "b": [1, 2, 3], "c": [1, 2, 3]} == places(await store.unpublished(10, per_stream=4))
    assert {"stuck": [1], "a": [1], "b": [1], "c": [1]} == places(await store.unpublished(10, per_stream=1))


async def test_skipped_streams_are_left_out(store: Store) -> None:
    """Streams in `skip` take no room in a turn, be they few or all."""
    await store.commit(Change(drafts=tuple(draft(n, f"stuck{n % 2}") for n in range(40))), now=NOW)
    await store.commit(Change(drafts=(draft(0, "a"), draft(1, "$a"), draft(2, "a"))), now=later(1))

    assert {"$a": [1], "a": [1, 2]} == places(await store.unpublished(10, skip={"stuck0", "stuck1"}))
    assert {"stuck0": [1, 2]} == places(await store.unpublished(2, per_stream=5, skip=["stuck1", "a", "$a"]))
    assert [] == await store.unpublished(10, skip=["stuck0", "stuck1", "a", "$a", "none"])


async def test_unreadable_event_holds_up_its_stream_only(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """What stands before it goes to the bus, it and what is behind it wait; said once."""
    events = await store.commit(Change(drafts=tuple(draft(n, "odd") for n in range(30))), now=NOW)
    await store.commit(Change(drafts=(draft(0, "a"),)), now=later(1))
    await spoil_event(store, events[1])
    before = places(await store.unpublished(10, per_stream=4))
    await store.mark_published([events[0].event_id])
    after = [places(await store.unpublished(limit, per_stream=20)) for limit in (10, 100)]

    assert {"odd": [1], "a": [1]} == before
    assert [{"a": [1]}, {"a": [1]}] == after
    assert len(caplog.messages) <= 1


async def spoil_event(store: Store, event: Event) -> None:
    """Make an event one that this version cannot read."""
    if isinstance(store, MongoStore):
        await store.collection("events").update_one({"_id": event.event_id}, {"$set": {"data": 7}})
    else:
        assert isinstance(store, MemoryStore)
        store.unreadable_events.add(event.event_id)


async def test_published_events_stay_in_history(store: Store) -> None:
    """Publishing changes nothing but the mark; unknown ids are no error."""
    events = await store.commit(Change(drafts=(draft(1),)), now=NOW)
    await store.mark_published([events[0].event_id, "unknown"])

    assert [events[0].evolve(published=True)] == await store.events(EventQuery())


async def test_outbox_tells_its_size_and_age(store: Store) -> None:
    """An empty outbox has no age; otherwise it is the time of the oldest."""
    assert (0, None) == await store.outbox_size()
    await store.commit(Change(drafts=(draft(1),)), now=later(1))
    await store.commit(Change(drafts=(draft(2, "other"),)), now=NOW)

    assert (2, NOW) == await store.outbox_size()


def places(events: list[Event]) -> dict[str, list[int]]:
    """By stream, the sequences in the order given."""
    found = defaultdict(list)
    for event in events:
        found[event.stream].append(event.sequence)
    return dict(found)


async def test_events_go_to_the_bus_once_more(store: Store) -> None:
    """From a moment on, those that are on the bus, with their ids and places; the oldest where there are too many."""
    told = [(await store.commit(Change(drafts=(draft(number),)), now=later(number)))[0] for number in range(5)]
    await store.mark_published([event.event_id for event in told[:4]])
    counts = (await store.published_since(later(1), limit=10), await store.published_since(later(1), limit=2))
    done = (await store.republish(later(2), limit=1), await store.republish(later(1), limit=10))

    assert ((3, 2), (1, 2)) == (counts, done)
    assert told[1:] == await store.unpublished(10)


async def test_lost_events_are_read_back(store: Store) -> None:
    """What others have and the store has lost is history again, on the bus, and its stream goes on behind it; what is there
    already stays, and counts as published.
    """
    (first,) = await store.commit(Change(drafts=(draft(1),)), now=NOW)
    lost = [
        first.evolve(event_id=f"lost {stream}", stream=stream, sequence=sequence, time=later(9), published=True)
        for stream, sequence in ((KEY, 2), ("younger", 1))
    ]
    counts = [await store.read_back([first, *lost]) for _ in range(2)]
    after = await store.commit(Change(drafts=(draft(3), draft(4, "younger"))), now=later(5))

    assert [2, 0] == counts
    assert [(KEY, 3, later(9)), ("younger", 2, later(9))] == [(e.stream, e.sequence, e.time) for e in after]
    assert [first.evolve(published=True), lost[0], after[0]] == await store.events(EventQuery(stream=KEY))
    assert {event.event_id for event in after} == {event.event_id for event in await store.unpublished(10)}
