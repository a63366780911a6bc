from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.errors import DependencyUnavailableError
from blocks.models.action import ActionState
from blocks.models.cluster import Health
from blocks.models.event import EventType
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.request import Pointer, Request, WorkKind, WorkState
from doubles.actions import make_action
from doubles.agents import MemoryNode
from doubles.coordinator import MemoryCoordinator
from doubles.eventually import until
from doubles.views import address
from doubles.work_queue import FakeWorkQueue
from doubles.world import SOURCE, World
from flows.shift import Shift, ShiftReport

pytestmark = pytest.mark.usefixtures("prefect_api")
NOTHING = Pointer(key="nothing:x", kind="nothing", subject="x")


@dataclass
class Working:
    """A shift at work."""

    shift: Shift
    stop: asyncio.Event
    task: asyncio.Task[ShiftReport]
    queue: FakeWorkQueue

    @property
    def coordinator(self) -> MemoryCoordinator:
        """Its process."""
        assert isinstance(self.shift.coordinator, MemoryCoordinator)
        return self.shift.coordinator

    async def end(self) -> ShiftReport:
        """Stop it, and wake what waits for pointers."""
        self.stop.set()
        await self.queue.put([NOTHING])
        return await self.task


@asynccontextmanager
async def _working(world: World, name: str = "worker-1", **settings: object) -> AsyncIterator[Working]:
    stop = asyncio.Event()
    shift = await world.shift(stop, name, **settings)
    working = Working(shift, stop, asyncio.create_task(shift.work()), world.queue)
    try:
        yield working
    finally:
        if not working.task.done():
            await working.end()


async def _held(world: World, *kinds: ClaimKind) -> dict[str, str]:
    """Who holds what, of these kinds."""
    watcher = await world.worker("watcher")
    return {holder.name: holder.owner for kind in kinds or tuple(ClaimKind) for holder in await watcher.holders(kind)}


async def _until_held(world: World, name: str, owner: str, kind: ClaimKind) -> None:
    await until(lambda: (node := world.zookeeper._nodes.get((kind, name))) is not None and node.holder.owner == owner)


async def test_the_whole_chain(world: World) -> None:
    """A source on the timetable: discovered, observed, an ordered action run to its end, everything on the bus in order."""
    ref = ClusterRef(namespace="prod", cluster_id="orders")
    await world.save(Namespace(name="prod", version=1), SOURCE)
    world.agents.add(MemoryNode(node_id="n1"), address("n1"))
    world.tell(orders=["n1"])
    await world.store.ensure_work(
        [Request(kind=WorkKind.DISCOVER, subject=SOURCE.key, interval=60.0, next_at=world.clock())], world.clock()
    )
    async with _working(world) as working:
        await until(lambda: EventType.CLUSTER_HEALTH_CHANGED in {event.type for event in world.bus.events})
        action = await world.order(make_action())
        world.advance(60)
        await until(lambda: bool(world.agents.sent))
        world.node().move(action.action_id, ActionState.DONE)
        await until(world.passing(lambda: EventType.ACTION_FINISHED in {event.type for event in world.bus.events}))
        report = await working.end()
    orders = [event.sequence for event in world.bus.events if event.stream == ref.key]

    assert [*range(1, len(orders) + 1)] == orders
    assert (ActionState.DONE, Health.HEALTHY) == (await world.action_state(action), (await world.state(ref)).health)
    assert ("worked", "seat-0", 0) == (report.outcome, report.seat, report.failures)
    assert report.items >= 3


async def test_what_a_shift_holds_and_gives_back(world: World) -> None:
    """A seat, its presence and all duties; nothing is left when it ends, and claimed work is free again."""
    async with _working(world) as working:
        await until(lambda: len([kind for kind, _ in world.zookeeper._nodes if kind is ClaimKind.DUTY]) == 3)
        held = await _held(world)
        await working.end()

    assert {"seat-0", "worker-1", "enqueue", "relay", "sweep"} == held.keys()
    assert {"worker-1"} == set(held.values())
    assert {} == await _held(world)


async def test_seats_standby_and_no_more(world: World) -> None:
    """One seat: the first works, the second waits as standby, the third ends at once; the standby takes over at once."""
    async with _working(world, "first") as first:
        await _until_held(world, "seat-0", "first", ClaimKind.SEAT)
        async with _working(world, "second") as second:
            await _until_held(world, "standby", "second", ClaimKind.STANDBY)
            async with _working(world, "third") as third:
                turned_away = await third.task
            await first.end()
            await _until_held(world, "seat-0", "second", ClaimKind.SEAT)
            standby = await _held(world, ClaimKind.STANDBY)
            report = await second.end()

    assert ("no free seat", None, 0) == (turned_away.outcome, turned_away.seat, turned_away.items)
    assert ({}, "worked") == (standby, report.outcome)


async def test_two_seats_are_two_workers(world: World) -> None:
    """Seats bound the number of workers; each has its own."""
    async with _working(world, "first", seats=2), _working(world, "second", seats=2):
        await _until_held(world, "second", "second", ClaimKind.WORKER)
        await _until_held(world, "first", "first", ClaimKind.WORKER)
        seats = await _held(world, ClaimKind.SEAT)

    assert {"seat-0", "seat-1"} == seats.keys()
    assert {"first", "second"} == set(seats.values())


async def test_a_standby_that_is_stopped(world: World) -> None:
    """Told to stop while it waits: it leaves its place."""
    async with _working(world, "first"):
        await _until_held(world, "seat-0", "first", ClaimKind.SEAT)
        async with _working(world, "second") as second:
            await _until_held(world, "standby", "second", ClaimKind.STANDBY)
            report = await second.end()

        assert ("stopped while waiting", {}) == (report.outcome, await _held(world, ClaimKind.STANDBY))


async def test_a_standby_waits_no_longer_than_a_shift(world: World) -> None:
    """No seat became free: it ends, as the timetable starts another."""
    async with _working(world, "first"):
        await _until_held(world, "seat-0", "first", ClaimKind.SEAT)
        async with _working(world, "second", shift_s=0.1) as second:
            report = await second.task

    assert "no free seat" == report.outcome


async def test_a_shift_ends_by_itself(world: World) -> None:
    """Its time is over: it worked, and hands over."""
    async with _working(world, shift_s=0.1) as working:
        await _until_held(world, "worker-1", "worker-1", ClaimKind.WORKER)
        report = await working.task

    assert ("worked", {}) == (report.outcome, await _held(world))


async def test_a_lost_session_is_no_lost_shift(world: World) -> None:
    """Session gone, seat still free: seat, presence and duties are taken again under the new session."""
    async with _working(world) as working:
        await _until_held(world, "worker-1", "worker-1", ClaimKind.WORKER)
        world.zookeeper.expire(working.coordinator)
        for kind, name in ((ClaimKind.SEAT, "seat-0"), (ClaimKind.WORKER, "worker-1"), (ClaimKind.DUTY, "sweep")):
            await _until_held(world, name, "worker-1", kind)
        report = await working.end()

    assert "worked" == report.outcome


async def test_a_lost_seat_ends_the_shift(world: World) -> None:
    """Session gone and the seat taken by a standby: the first ends, the second works."""
    async with _working(world, "first") as first:
        await _until_held(world, "first", "first", ClaimKind.WORKER)
        async with _working(world, "second") as second:
            await _until_held(world, "standby", "second", ClaimKind.STANDBY)
            first.coordinator.suspend()
            world.advance(11)
            await _until_held(world, "seat-0", "second", ClaimKind.SEAT)
            first.coordinator.resume()
            report = await first.task
            await second.end()

    assert "seat lost" == report.outcome


async def test_work_of_a_dead_worker_is_done_by_the_next(world: World) -> None:
    """Claimed by a process that is gone: swept, queued, run."""
    ref = await world.declare()
    await world.store.ensure_work(
        [Request(kind=WorkKind.ORCHESTRATE, subject=ref.key, interval=60.0, next_at=world.clock())], world.clock()
    )
    await world.store.queue_due(world.clock(), 10)
    await world.store.claim_work([f"orchestrate:{ref.key}"], "ghost", world.clock())
    async with _working(world):
        await until(lambda: world.store.work[f"orchestrate:{ref.key}"].state is WorkState.IDLE)

    assert Health.HEALTHY is (await world.state(ref)).health


async def test_a_shift_needs_a_coordinator(world: World) -> None:
    """ZooKeeper gone from the start: the run fails and says what is away."""
    shift = await world.shift(asyncio.Event())
    world.zookeeper.down = True
    with pytest.raises(DependencyUnavailableError, match="ZooKeeper"):
        await shift.work()


async def test_a_shift_without_a_store_goes_on_and_recovers(world: World) -> None:
    """MongoDB gone: a named mode, told when it is back; then work is done."""
    ref = await world.declare()
    await world.store.ensure_work(
        [Request(kind=WorkKind.ORCHESTRATE, subject=ref.key, interval=60.0, next_at=world.clock())], world.clock()
    )
    world.store.down = True
    async with _working(world):
        await _until_held(world, "worker-1", "worker-1", ClaimKind.WORKER)
        await until(lambda: ClaimKind.DUTY in {kind for kind, _ in world.zookeeper._nodes})
        world.store.down = False
        await until(
            lambda: world.store.work[f"orchestrate:{ref.key}"].state is WorkState.IDLE and bool(world.bus.events)
        )

    assert Health.HEALTHY is (await world.state(ref)).health
