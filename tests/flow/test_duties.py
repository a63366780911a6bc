from __future__ import annotations

import pytest

from blocks.coordinator.protocol import ClaimKind, Holder
from blocks.errors import DependencyUnavailableError
from blocks.models.cluster import ClusterSpec
from blocks.models.event import EventDraft, EventType
from blocks.models.namespace import Namespace
from blocks.models.record import Change
from blocks.models.request import Priority, Request, WorkKind, WorkState
from blocks.runs.protocol import Run
from doubles.coordinator import MemoryCoordinator
from doubles.world import SOURCE, World, seconds
from flows.steps import Steps
from flows.sweep import OPERATE, sweep_once
from tasks.duties import (
    ASIDE_MAX_S,
    ASIDE_WITHIN_S,
    RESEND_AFTER_S,
    Enqueued,
    Relay,
    Relayed,
    Swept,
    enqueue_due,
    mend_timetable,
    relay_events,
    requeue_orphans,
)
from tasks.reap import GRACE_S, reap_zombies
from tasks.request import request_work

PREFECT_AWAY = DependencyUnavailableError("Prefect", "memory", "gone", "Check.")


async def _due(world: World, *subjects: str) -> None:
    items = [
        Request(kind=WorkKind.ORCHESTRATE, subject=subject, interval=60.0, next_at=world.clock())
        for subject in subjects
    ]
    await world.store.ensure_work(items, world.clock())


async def _write(world: World, stream: str, count: int = 1) -> None:
    drafts = tuple(
        EventDraft(type=EventType.NODE_CHANGED, stream=stream, subject=stream, data={}) for _ in range(count)
    )
    await world.store.commit(Change(drafts=drafts), now=world.clock())


# -- enqueue ------------------------------------------------------------------------------------------------------------


async def test_due_work_is_queued_and_its_pointer_sent_once(world: World) -> None:
    """What is due gets a pointer; the next turn has nothing to do."""
    await _due(world, "prod/a", "prod/b")
    turns = [await enqueue_due.fn(world.store, world.queue, world.clock()) for _ in range(2)]

    assert [Enqueued(queued=2, sent=2), Enqueued(queued=0, sent=0)] == turns
    assert ["orchestrate:prod/a", "orchestrate:prod/b"] == sorted(pointer.key for pointer in world.queue.waiting)


async def test_a_pointer_that_brought_no_claim_is_sent_again(world: World) -> None:
    """Lost on the way or not: after a while it is sent once more, which is harmless."""
    await _due(world, "prod/a")
    await enqueue_due.fn(world.store, world.queue, world.clock())
    world.queue.waiting.clear()
    world.advance(RESEND_AFTER_S)
    too_early = await enqueue_due.fn(world.store, world.queue, world.clock())
    world.advance(1)
    again = await enqueue_due.fn(world.store, world.queue, world.clock())

    assert (0, 1) == (too_early.sent, again.sent)


async def test_without_the_queue_work_waits_for_its_pointer(world: World) -> None:
    """Kafka gone: the work is queued in the store; Kafka back: its pointer is sent by the next turn."""
    await _due(world, "prod/a")
    world.queue.down = True
    with pytest.raises(DependencyUnavailableError, match="Kafka"):
        await enqueue_due.fn(world.store, world.queue, world.clock())
    world.queue.down = False

    assert Enqueued(queued=0, sent=1) == await enqueue_due.fn(world.store, world.queue, world.clock())


async def test_asking_sends_a_pointer_at_once(world: World) -> None:
    """A person's request does not wait for the next turn of `enqueue`."""
    item = await request_work.fn(
        world.store, world.queue, WorkKind.ORCHESTRATE, "prod/a", Priority.PERSON, world.clock()
    )

    assert (WorkState.QUEUED, [item.key]) == (item.state, [pointer.key for pointer in world.queue.waiting])
    assert [] == await world.store.unsent(world.clock(), RESEND_AFTER_S, 10)


async def test_asking_without_the_queue_is_kept(world: World) -> None:
    """Kafka gone: the request is in the store, and `enqueue` sends it later."""
    world.queue.down = True
    await request_work.fn(world.store, world.queue, WorkKind.ORCHESTRATE, "prod/a", Priority.PERSON, world.clock())
    world.queue.down = False

    assert 1 == (await enqueue_due.fn(world.store, world.queue, world.clock())).sent


# -- relay --------------------------------------------------------------------------------------------------------------


async def test_events_reach_the_bus_in_their_order(world: World) -> None:
    """Everything that waits is published once, each stream in its order, and marked."""
    for stream in ("prod/a", "prod/b", "prod/a"):
        await _write(world, stream, 2)
    relay = Relay()
    turns = [await relay_events.fn(world.store, world.bus, relay, world.clock()) for _ in range(2)]

    assert [Relayed(published=6, waiting=False), Relayed(published=0, waiting=False)] == turns
    assert [1, 2, 3, 4] == [event.sequence for event in world.bus.events if event.stream == "prod/a"]
    assert (0, None) == await world.store.outbox_size()


async def test_what_the_bus_refuses_waits(world: World) -> None:
    """A stream that fails is kept aside for a while, and comes again; the others are not held up."""
    await _write(world, "prod/a")
    await _write(world, "prod/b")
    world.bus.refused = {"prod/a"}
    relay = Relay()
    turns = [await relay_events.fn(world.store, world.bus, relay, world.clock()) for _ in range(2)]
    waiting = [event.stream for event in await world.store.unpublished(10)]
    world.bus.refused = set()
    world.advance(ASIDE_MAX_S)
    turns.append(await relay_events.fn(world.store, world.bus, relay, world.clock()))

    assert [1, 0, 1] == [turn.published for turn in turns]
    assert ["prod/a"] == waiting
    assert ["prod/b", "prod/a"] == [event.stream for event in world.bus.events]
    assert (set(), 2) == (relay.aside, len(world.bus.published))


async def test_a_stuck_stream_does_not_starve_the_others(world: World) -> None:
    """Thousands of old events of streams that the bus does not take: what others tell is on the bus within a turn."""
    for number in range(4):
        await _write(world, f"prod/stuck{number}", 1_000)
    world.advance(1)
    world.bus.refused = {f"prod/stuck{number}" for number in range(4)}
    relay = Relay()
    for number in range(6):
        await _write(world, f"prod/c{number}", 3)
        while (await relay_events.fn(world.store, world.bus, relay, world.clock())).waiting:
            pass
        world.advance(5)

    assert [f"prod/c{number}" for number in range(6) for _ in range(3)] == [event.stream for event in world.bus.events]
    assert [None, *[ASIDE_WITHIN_S] * (len(world.bus.published) - 1)] == world.bus.published


async def test_kept_aside_streams_are_tried_less_and_less_often(world: World) -> None:
    """A stream that stays stuck costs a try every few seconds at most; when it is taken, everything of it follows."""
    await _write(world, "prod/stuck", 250)
    await _write(world, "prod/a")
    world.bus.refused = {"prod/stuck"}
    relay, tries = Relay(), 0
    for _ in range(100):
        before = len(world.bus.published)
        await relay_events.fn(world.store, world.bus, relay, world.clock())
        tries += len(world.bus.published) - before
        world.advance(1)
    world.bus.refused = set()
    world.advance(ASIDE_MAX_S)
    turns = [await relay_events.fn(world.store, world.bus, relay, world.clock()) for _ in range(4)]

    assert 9 <= tries <= 25
    assert [1, 100, 100, 49] == [turn.published for turn in turns]
    assert [True, True, True, False] == [turn.waiting for turn in turns]
    assert list(range(1, 251)) == [event.sequence for event in world.bus.events if event.stream == "prod/stuck"]


async def test_a_bus_that_is_away_blames_no_stream(world: World) -> None:
    """Nothing is taken of any stream: that is said, and all are tried again in the next turn."""
    await _write(world, "prod/a")
    await _write(world, "prod/b")
    world.bus.refused = {"prod/a"}
    relay = Relay()
    await relay_events.fn(world.store, world.bus, relay, world.clock())
    world.bus.refused, world.bus.down = set(), True
    await _write(world, "prod/b")
    with pytest.raises(DependencyUnavailableError):
        await relay_events.fn(world.store, world.bus, relay, world.clock())
    world.bus.down = False

    assert set() == relay.aside
    assert 2 == (await relay_events.fn(world.store, world.bus, relay, world.clock())).published


async def test_streams_that_are_stuck_alone_are_no_absence_of_the_bus(world: World) -> None:
    """Known to be stuck, and nothing else waits: no error, however often it is tried."""
    await _write(world, "prod/stuck")
    await _write(world, "prod/a")
    world.bus.refused = {"prod/stuck"}
    relay = Relay()
    published = []
    for _ in range(5):
        published.append((await relay_events.fn(world.store, world.bus, relay, world.clock())).published)
        world.advance(ASIDE_MAX_S)

    assert [1, 0, 0, 0, 0] == published
    assert 5 == len(world.bus.published)


async def test_streams_kept_aside_in_vain_are_let_go(world: World) -> None:
    """Somebody else has published what waited: nothing is kept aside any more."""
    await _write(world, "prod/stuck")
    await _write(world, "prod/a")
    world.bus.refused = {"prod/stuck"}
    relay = Relay()
    await relay_events.fn(world.store, world.bus, relay, world.clock())
    await world.store.mark_published([event.event_id for event in await world.store.unpublished(10)])
    world.advance(ASIDE_MAX_S)
    await relay_events.fn(world.store, world.bus, relay, world.clock())

    assert (set(), None) == (relay.aside, relay.again_at)


async def test_a_relay_that_dies_after_publishing_repeats_itself(world: World) -> None:
    """Published and not marked: published again under the same id, never lost."""
    await _write(world, "prod/a")
    world.store.lost_answers.add("mark_published")
    mark = world.store._mark_published
    world.store._mark_published = lambda ids: None  # type: ignore[method-assign, assignment] - dies before it
    with pytest.raises(DependencyUnavailableError):
        await relay_events.fn(world.store, world.bus, Relay(), world.clock())
    world.store._mark_published = mark  # type: ignore[method-assign]
    await relay_events.fn(world.store, world.bus, Relay(), world.clock())

    assert 2 == len(world.bus.events)
    assert 1 == len({event.event_id for event in world.bus.events})


async def test_a_long_outbox_is_carried_turn_by_turn(world: World) -> None:
    """More than fits in a turn: another turn is due at once."""
    await _write(world, "prod/a", 201)

    turns = [await relay_events.fn(world.store, world.bus, Relay(), world.clock()) for _ in range(3)]

    assert [(100, True), (100, True), (1, False)] == [(turn.published, turn.waiting) for turn in turns]


# -- sweep --------------------------------------------------------------------------------------------------------------


async def test_work_of_the_dead_is_taken_back(world: World) -> None:
    """Claimed by somebody whose presence is gone: queued again at once. What the living hold stays theirs."""
    await _due(world, "prod/a", "prod/b")
    await enqueue_due.fn(world.store, world.queue, world.clock())
    alive = await world.worker("alive")
    await alive.take(ClaimKind.WORKER, "alive", "works")
    await world.store.claim_work(["orchestrate:prod/a"], "alive", world.clock())
    await world.store.claim_work(["orchestrate:prod/b"], "dead", world.clock())

    assert 1 == await requeue_orphans.fn(alive, world.store, world.clock())
    assert {"prod/a": "alive", "prod/b": None} == {item.subject: item.owner for item in await world.store.list_work()}


async def test_who_comes_just_now_keeps_its_work(world: World) -> None:
    """A worker that comes and claims while the living are counted is not taken for dead."""
    await _due(world, "prod/a")
    await enqueue_due.fn(world.store, world.queue, world.clock())
    sweeper = await world.worker("sweeper")
    holders = sweeper.holders

    async def counted(kind: ClaimKind) -> list[Holder]:
        found = await holders(kind)
        await (await world.worker("new")).take(ClaimKind.WORKER, "new", "works")
        await world.store.claim_work(["orchestrate:prod/a"], "new", world.clock())
        return found

    sweeper.holders = counted  # type: ignore[method-assign]

    assert 0 == await requeue_orphans.fn(sweeper, world.store, world.clock())
    assert "new" == (await world.store.list_work())[0].owner


async def test_work_that_keeps_killing_its_workers_is_told_of(world: World) -> None:
    """After its worker has died too often it is dead, and an event says so."""
    await _due(world, "prod/a")
    await enqueue_due.fn(world.store, world.queue, world.clock())
    sweeper = await world.worker("sweeper")
    for _ in range(6):
        world.advance(60)
        await world.store.claim_work(["orchestrate:prod/a"], "dead", world.clock())
        assert 1 == await requeue_orphans.fn(sweeper, world.store, world.clock())

    assert [EventType.WORK_DEAD] == world.types()
    assert ("orchestrate:prod/a", "its worker died 6 times while running it") == (
        world.events[0].subject,
        world.events[0].data["error"],
    )


async def test_what_is_declared_gets_on_the_timetable(world: World) -> None:
    """A process that died between declaring and scheduling is made up for, once."""
    await world.save(
        Namespace(name="prod", version=1), SOURCE, ClusterSpec(namespace="prod", cluster_id="orders", version=1)
    )
    counts = [await mend_timetable.fn(world.store, world.clock()) for _ in range(2)]

    assert [2, 0] == counts


async def test_runs_without_a_living_process_are_marked(world: World) -> None:
    """Running by Prefect's books and named by no claim: Crashed. Young ones and the living are left alone."""
    coordinator = MemoryCoordinator(world.zookeeper, worker="w", flow_run="alive")
    await coordinator.connect()
    await coordinator.take(ClaimKind.SEAT, "seat-0", "works")
    old, young = world.clock() - seconds(GRACE_S + 1), world.clock() - seconds(GRACE_S - 1)
    started = {"alive": old, "dead": old, "young": young, "never": None}
    world.runs.by_flow[OPERATE] = [Run(run_id=run_id, name="", started_at=at) for run_id, at in started.items()]

    assert 1 == await reap_zombies.fn(coordinator, world.runs, OPERATE, world.clock())
    assert {"dead"} == world.runs.crashed.keys()


async def test_a_turn_of_sweep(world: World) -> None:
    """All repairs, or the cheap one alone."""
    await world.declare()
    coordinator = await world.worker()
    cheap = await sweep_once(coordinator, world.store, world.runs, world.secrets, world.clock, Steps(), thorough=False)
    whole = await sweep_once(coordinator, world.store, world.runs, world.secrets, world.clock, Steps())

    assert (Swept(), Swept(timetable_changes=1)) == (cheap, whole)
