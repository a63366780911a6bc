"""One suite for the fake and the real event bus."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # no `__all__`
    AdminClient,
    ConfigResource,
    ConfigSource,
    ResourceType,
)

from blocks.errors import DependencyUnavailableError
from blocks.event_bus.kafka import KafkaEventBus
from blocks.event_bus.protocol import EventBus
from blocks.event_bus.settings import EventBusSettings
from blocks.kafka.admin import Admin
from blocks.kafka.producer import Sender
from blocks.kafka.reader import Reader
from blocks.kafka.records import Outgoing, Partition, Topic
from blocks.kafka.settings import Kafka
from blocks.models.event import Event, EventDraft, EventType
from blocks.models.record import Change
from doubles import unique
from doubles.event_bus import FakeEventBus
from doubles.store import MemoryStore
from tasks.duties import Relay, relay_events

LONG_S = 15.0
START = datetime(2026, 1, 1, tzinfo=UTC)
FOREIGN = (
    Outgoing("", b"\xff not an event"),
    Outgoing("", b"{}", headers={"ce_id": b"1", "ce_source": b"/other", "ce_type": b"t", "ce_specversion": b"1.0"}),
    Outgoing("", b"{}", headers={"ce_id": b"2", "ce_source": b"/replicore", "ce_type": b"t", "ce_specversion": b"1.0"}),
)


@dataclass
class World:
    """A bus, and what its Protocol does not offer."""

    bus: EventBus
    put_foreign: Callable[[], Awaitable[None]]
    break_off: Callable[[], Awaitable[EventBus]]
    """The bus as seen by somebody who cannot reach it."""


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A prepared, empty bus."""
    if request.param == "fake":
        yield _fake()
        return
    kafka, settings = Kafka(bootstrap=request.getfixturevalue("kafka")), unique.event_bus()
    async with KafkaEventBus(kafka, settings) as bus:
        await bus.prepare()

        async def put_foreign() -> None:
            sender = Sender(kafka)
            records = [Outgoing(settings.topic, each.value, headers=each.headers) for each in FOREIGN]
            assert [None] * len(FOREIGN) == await sender.send(records)
            await sender.close()

        async def break_off() -> EventBus:
            return KafkaEventBus(unique.nowhere(), settings)

        yield World(bus, put_foreign, break_off)


def _fake() -> World:
    bus = FakeEventBus()

    async def put_foreign() -> None:
        bus.put([each.value for each in FOREIGN])

    async def break_off() -> EventBus:
        bus.down = True
        return bus

    return World(bus, put_foreign, break_off)


def event(stream: str, sequence: int, at: datetime | None = None, **changes: object) -> Event:
    """An event of a stream, by default a second after the one before it."""
    values: dict[str, object] = {
        "event_id": f"{stream}#{sequence}",
        "type": "io.replicante.node.changed.v1",
        "stream": stream,
        "subject": f"{stream}/node-é",
        "sequence": sequence,
        "time": at or START + timedelta(seconds=sequence),
        "data": {"before": None, "after": {"ünï": [1, 2.5, True, "x"]}},
    }
    return Event.model_validate(values | changes)


def travelled(events: Sequence[Event]) -> list[Event]:
    """Events as they come out of the bus, in order of stream and sequence."""
    return sorted((each.evolve(published=True) for each in events), key=lambda each: (each.stream, each.sequence))


async def take(following: AsyncGenerator[Event, None], count: int) -> list[Event]:
    """The next events."""
    async with asyncio.timeout(LONG_S):
        return [await anext(following) for _ in range(count)]


def streams(events: Sequence[Event]) -> dict[str, list[int]]:
    """By stream, the sequence numbers in the order in which the events came."""
    found: dict[str, list[int]] = {}
    for each in events:
        found.setdefault(each.stream, []).append(each.sequence)
    return found


async def test_events_travel_unchanged_and_in_the_order_of_their_stream(world: World) -> None:
    """Every field survives the way through the bus, and each stream keeps its order."""
    sent = [event(f"prod/c{number}", sequence) for sequence in range(1, 21) for number in range(5)]

    ids = await world.bus.publish(sent)
    async with aclosing(world.bus.follow(START)) as following:
        found = await take(following, len(sent))

    assert [each.event_id for each in sent] == ids
    assert travelled(sent) == travelled(found)
    assert {f"prod/c{number}": list(range(1, 21)) for number in range(5)} == streams(found)


async def test_optional_parts_may_be_empty(world: World) -> None:
    """An event without subject and data, with an unknown type, and with an odd stream name arrives as it is."""
    sent = event("prod/ä b%2F:c", 2**40, START, subject="", data={}, type="io.replicante.future.v9")

    await world.bus.publish([sent])
    async with aclosing(world.bus.follow(START)) as following:
        found = await take(following, 1)

    assert travelled([sent]) == found


async def test_publishing_nothing_is_fine(world: World) -> None:
    """An empty list is published as nothing."""
    assert await world.bus.publish([]) == []


async def test_following_since_a_moment_leaves_out_what_is_older(world: World) -> None:
    """`since` is the time of the first event wanted, itself included."""
    sent = [event("prod/a", 1), event("prod/b", 2), event("prod/a", 3), event("prod/b", 4)]
    await world.bus.publish(sent)

    async with aclosing(world.bus.follow(sent[1].time)) as following:
        found = await take(following, 3)

    assert travelled(sent[1:]) == travelled(found)


async def test_following_from_now_on_begins_with_what_comes(world: World) -> None:
    """Without `since`, events that were there before are not seen; those that come are, as soon as they come."""
    await world.bus.publish([event("prod/a", sequence) for sequence in range(1, 4)])
    async with aclosing(world.bus.follow()) as following:
        first = asyncio.create_task(anext(following))
        sequence = 3
        async with asyncio.timeout(LONG_S):
            while not first.done():  # where it begins is known only when the first has come
                sequence += 1
                await world.bus.publish([event("prod/a", sequence)])
                await asyncio.wait([first], timeout=0.05)
        found = [await first, *await take(following, sequence - (await first).sequence)]

    assert (await first).sequence > 3
    assert list(range((await first).sequence, sequence + 1)) == [each.sequence for each in found]


async def test_two_followers_see_everything_each(world: World) -> None:
    """Followers do not take events from each other, and one that is closed does not disturb another."""
    sent = [event("prod/a", sequence) for sequence in range(1, 6)]
    await world.bus.publish(sent)

    async with aclosing(world.bus.follow(START)) as one:
        async with aclosing(world.bus.follow(START)) as other:
            found = [await take(one, 2), await take(other, 5)]
        found[0] += await take(one, 3)

    assert [travelled(sent)] * 2 == found


async def test_closing_ends_a_waiting_follower(world: World) -> None:
    """A follower that waits for an event can be cancelled and closed in little time."""
    following = world.bus.follow()
    waiting = asyncio.create_task(anext(following))
    await asyncio.wait([waiting], timeout=0.1)

    waiting.cancel()
    await asyncio.wait([waiting], timeout=5.0)
    await asyncio.wait_for(following.aclose(), 5.0)

    assert waiting.cancelled()


async def test_foreign_records_are_passed_over(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Records that are not ours, or are malformed, are neither seen nor in the way, and fill no log."""
    await world.put_foreign()
    sent = [event("prod/a", 1)]
    await world.bus.publish(sent)

    with caplog.at_level(logging.WARNING, "replicore"):
        async with aclosing(world.bus.follow(datetime(1970, 1, 2, tzinfo=UTC))) as following:
            found = await take(following, 1)

    assert travelled(sent) == found
    assert sum("not one of our events" in message for message in caplog.messages) <= 1


async def test_data_too_big_for_the_bus_is_left_out(world: World) -> None:
    """An event with huge data travels without it and says so; its stream is not held up."""
    huge = event("prod/a", 1, data={"text": "x" * 2_000_000})
    small = event("prod/a", 2)

    ids = await world.bus.publish([huge, small])
    async with aclosing(world.bus.follow(START)) as following:
        found = await take(following, 2)

    assert [huge.event_id, small.event_id] == ids
    assert travelled([huge.evolve(data={"omitted_bytes": 2_000_011}), small]) == found


async def test_data_that_cannot_be_written_is_left_out(world: World) -> None:
    """Integers beyond 64 bits, half characters and bottomless lists travel as data too big do; nothing else is touched."""
    deep: object = 1
    for _ in range(300):
        deep = [deep]
    odd = [
        event(f"prod/{number}", 1).model_copy(update={"data": {"x": value}})
        for number, value in enumerate((2**64, "\ud800", deep))
    ]
    sent = [*odd, event("prod/0", 2), event("prod/a", 1)]
    ids = await world.bus.publish(sent)
    async with aclosing(world.bus.follow(START)) as following:
        found = travelled(await take(following, len(sent)))

    assert [each.event_id for each in sent] == ids
    assert [26, 9, 607] == [found[number].data.get("omitted_bytes") for number in (0, 2, 3)]
    assert travelled(sent[3:]) == [found[1], found[4]]


async def test_event_that_cannot_be_written_breaks_its_stream_only(world: World) -> None:
    """A name with half a character in it fails from there on in its own stream; without others, nothing is published."""
    bad = event("prod/a", 2).model_copy(update={"subject": "\ud800"})
    sent = [event("prod/b", 1), bad, event("prod/a", 3), event("prod/b", 2)]

    assert ["prod/b#1", "prod/b#2"] == [each for each in await world.bus.publish(sent) if "prod/b" in each]
    assert [] == await world.bus.publish([bad])


@pytest.mark.real
async def test_a_copy_may_be_missing_and_no_more(kafka: str) -> None:
    """The topics say themselves how many copies a stored event has, whatever the cluster's default."""
    settings, connection = unique.event_bus(), Kafka(bootstrap=kafka)
    async with KafkaEventBus(connection, settings) as bus:
        await bus.prepare()
    with AdminClient({"bootstrap.servers": kafka}) as client:
        asked = client.describe_configs([ConfigResource(ResourceType.TOPIC, settings.topic)])
        (configs,) = [await asyncio.wrap_future(future) for future in asked.values()]

    assert ("1", ConfigSource.DYNAMIC_TOPIC_CONFIG.value) == (
        configs["min.insync.replicas"].value,
        configs["min.insync.replicas"].source,
    )


@pytest.mark.real
async def test_refused_events_hold_up_their_stream_only(kafka: str) -> None:
    """Of a stream whose record the brokers refuse nothing is sent; the relay gets everything else through."""
    settings, connection = EventBusSettings(topic=unique.event_bus().topic, partitions=1), Kafka(bootstrap=kafka)
    await Admin(connection).create([Topic(settings.topic, 1, 1, {"max.message.bytes": "3000"})])
    noise = hashlib.shake_128(b"incompressible").hexdigest(8_000)
    drafts = [EventDraft(type=EventType.NODE_CHANGED, stream="bad", subject="", data={"text": noise})]
    drafts += [EventDraft(type=EventType.NODE_CHANGED, stream=f"good{n % 5}", subject="", data={}) for n in range(20)]
    store, relay, now, turns = MemoryStore(), Relay(), START, 0
    await store.commit(Change(drafts=tuple(drafts)), now=now)
    async with KafkaEventBus(connection, settings) as bus:
        while (await store.outbox_size())[0] > 1 and turns < 100:
            now, turns = now + timedelta(seconds=12), turns + 1
            with contextlib.suppress(DependencyUnavailableError):
                await relay_events.fn(store, bus, relay, now)

    assert ["bad"] == [each.stream for each in await store.unpublished(10)]


async def test_preparing_twice_changes_nothing(world: World) -> None:
    """`prepare` may be repeated with events on the bus."""
    sent = [event("prod/a", 1)]
    await world.bus.publish(sent)

    await world.bus.prepare()
    async with aclosing(world.bus.follow(START)) as following:
        found = await take(following, 1)

    assert travelled(sent) == found


async def test_an_unreachable_bus_is_said_to_be_so(world: World) -> None:
    """`ready` and `publish` say which server they sought, in time; a follower waits and can be closed."""
    broken = await world.break_off()
    following = broken.follow(START)
    waiting = asyncio.create_task(anext(following))

    for call in (broken.ready, lambda: broken.publish([event("prod/a", 1)])):
        with pytest.raises(DependencyUnavailableError, match=r"Kafka at .* is not available: "):
            await asyncio.wait_for(call(), 5.0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting], timeout=2.0)
    await asyncio.wait_for(following.aclose(), 2.0)
    if isinstance(broken, KafkaEventBus):
        await asyncio.wait_for(broken.close(), 2.0)

    assert waiting.cancelled()


@pytest.mark.real
async def test_records_are_cloudevents_in_binary_mode(kafka: str) -> None:
    """On the wire: attributes as `ce_` headers, data as JSON value, stream as key (CloudEvents 1.0, Kafka binding)."""
    settings = EventBusSettings(topic=unique.event_bus().topic, partitions=1)
    connection = Kafka(bootstrap=kafka)
    async with KafkaEventBus(connection, settings) as bus:
        await bus.prepare()
        await bus.publish([event("prod/a", 7, data={"a": 1})])
    reader = Reader(connection, "test", {Partition(settings.topic, 0): 0})
    found = await reader.read(LONG_S)
    await reader.close()

    assert found[0].headers == {
        "ce_specversion": b"1.0",
        "ce_id": b"prod/a#7",
        "ce_source": b"/replicore",
        "ce_type": b"io.replicante.node.changed.v1",
        "ce_subject": "prod/a/node-é".encode(),
        "ce_time": b"2026-01-01T00:00:07Z",
        "ce_sequence": b"7",
        "ce_sequencetype": b"Integer",
        "ce_stream": b"prod/a",
        "content-type": b"application/json",
    }
    assert (found[0].key, found[0].value) == (b"prod/a", b'{"a":1}')


async def test_what_is_on_the_bus_is_read_to_its_end(world: World) -> None:
    """From a moment on, the events that are there, each stream in its order, past records that are not ours; then it ends."""
    events = [event(stream, number) for number in range(1, 6) for stream in ("prod/a", "prod/b", "prod/c")]
    async with aclosing(world.bus.recorded(START)) as nothing:
        before = [piece async for piece in nothing if piece]
    await world.bus.publish(events)
    await world.put_foreign()
    async with asyncio.timeout(LONG_S), aclosing(world.bus.recorded(START + timedelta(seconds=3))) as pieces:
        read = [each async for piece in pieces for each in piece]
    broken = await world.break_off()
    with pytest.raises(DependencyUnavailableError):
        await anext(broken.recorded(START))

    assert [] == before
    assert travelled([each for each in events if each.sequence >= 3]) == travelled(read)
    for stream in ("prod/a", "prod/b", "prod/c"):
        assert [3, 4, 5] == [each.sequence for each in read if each.stream == stream]
