"""What workers count of themselves, and what the serving process reads of the fleet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from blocks.coordinator.protocol import ClaimKind
from blocks.fleet import Fleet
from blocks.metrics.endpoint import Endpoint, Figures
from blocks.metrics.families import PREFIX, READ, Samples
from blocks.metrics.prometheus import PrometheusMetrics
from blocks.models.cluster import ClusterSpec
from blocks.models.event import EventType
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.request import Ended, Pointer, Request, WorkKind
from blocks.store.protocol import RetryPolicy, Store
from deployments.metrics import keep_reading, metrics_served, read_figures
from doubles.actions import make_action
from doubles.agents import MemoryNode
from doubles.eventually import until
from doubles.views import address
from doubles.world import SOURCE, World
from flows.cycle import Mode, cycle
from flows.degraded import Degraded, DegradedMode
from flows.discover import discover_source
from flows.duties import Duty
from flows.steps import Steps
from flows.watch import Watch

NOTHING = Pointer(key="nothing:x", kind="nothing", subject="x")
REF = ClusterRef(namespace="prod", cluster_id="orders")


class Counted:
    """Metrics of a worker, and what they came to."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = PrometheusMetrics(self.registry)

    def __call__(self, name: str, **labels: str) -> float:
        """A series, by its name without the prefix."""
        value = self.registry.get_sample_value(f"{PREFIX}{name}", labels)
        assert value is not None, f"there is no {name} {labels}"
        return value


@pytest.fixture
def counted() -> Iterator[Counted]:
    """All at zero."""
    return Counted()


@pytest.mark.usefixtures("prefect_api")
async def test_a_shift_counts_what_it_does(world: World, counted: Counted) -> None:
    """A source asked, a cluster looked at, an action sent, work ended, events published, duties done, a place taken."""
    await world.save(Namespace(name="prod", version=1), SOURCE)
    world.agents.add(MemoryNode(node_id="n1"), address("n1"))
    world.tell(orders=["n1"])
    item = Request(kind=WorkKind.DISCOVER, subject=SOURCE.key, interval=60.0, next_at=world.clock())
    await world.store.ensure_work([item], world.clock())
    stop = asyncio.Event()
    shift = await world.shift(stop)
    shift.metrics = counted.metrics
    working = asyncio.create_task(shift.work())
    await until(lambda: EventType.CLUSTER_HEALTH_CHANGED in {event.type for event in world.bus.events})
    await until(lambda: counted("shifts", state="working") == 1 and counted("duties_held", duty="sweep") == 1)
    await world.order(make_action())
    world.advance(60)
    await until(lambda: bool(world.agents.sent))
    await until(lambda: counted("actions_total", outcome="sent") == 1)
    stop.set()
    await world.queue.put([NOTHING])
    report = await working
    items = sum(
        counted("work_ended_total", kind=kind.value, outcome="success")
        for kind in (WorkKind.DISCOVER, WorkKind.ORCHESTRATE)
    )

    assert report.items == items >= 3
    assert report.items == sum(counted("work_lateness_seconds_count", kind=kind.value) for kind in WorkKind)
    assert 1 <= counted("discoveries_total", outcome="success") == counted("discovery_duration_seconds_count")
    assert 2 <= counted("looks_total", outcome="complete") == counted("look_duration_seconds_count")
    assert (
        2 <= counted("cycles_total", outcome="success") == counted("cycle_phase_duration_seconds_count", phase="poll")
    )
    assert len(world.bus.events) == sum(counted("events_published_total", type=type_.value) for type_ in EventType)
    assert 1 <= counted("duty_turn_duration_seconds_count", duty="relay")
    assert (0, 0) == (counted("shifts", state="working"), counted("duties_held", duty="sweep"))


async def test_a_look_that_brought_a_part(world: World, counted: Counted) -> None:
    """Complete, partial (the store is down) and failed are told apart."""
    await world.declare()
    world.node("n2").store_error = "down"
    world.node("n3").down = True
    shift = await world.shift(asyncio.Event())
    shift.metrics = counted.metrics
    await cycle(await world.turn(agents=shift._agents()), [REF], Mode.OBSERVE)

    assert (1, 1, 1) == tuple(counted("looks_total", outcome=outcome) for outcome in ("complete", "partial", "failed"))


async def test_the_watch_counts_what_it_sees(world: World, counted: Counted) -> None:
    """Probes, misses, and what made a cluster be looked at: silent, back again, and changed."""
    await world.declare()
    await world.save(ClusterSpec(namespace="prod", cluster_id="orders", probe_interval=0.05, version=2))
    coordinator = await world.worker()
    await coordinator.take(ClaimKind.WORKER, "worker-1", "works")
    shift = await world.shift(asyncio.Event())
    shift.metrics = counted.metrics
    over = asyncio.Event()
    watch = Watch(coordinator, world.store, world.queue, shift._agents(), world.clock, counted.metrics)
    task = asyncio.create_task(watch.run(over))
    await until(lambda: counted("probes_total", outcome="answered") >= 12)
    world.node("n2").down = True
    await until(lambda: counted("escalations_total", cause="silent") >= 1)
    world.node("n2").down = False
    world.node("n1").shards = ()
    await until(lambda: counted("escalations_total", cause="back") >= 1)
    await until(lambda: counted("escalations_total", cause="shards") >= 1)
    over.set()
    await task

    assert 2 <= counted("probe_misses_total", verdict="counted") <= counted("probes_total", outcome="failed")
    assert watch.probes == sum(counted("probes_total", outcome=outcome) for outcome in ("answered", "failed"))
    assert 3 == counted("watched_nodes")


async def test_degraded_modes_are_on_and_off(world: World, counted: Counted) -> None:
    """All are told from the beginning; the one that is entered is 1 until it is left."""
    degraded = Degraded(world.store, world.clock, "worker-1", counted.metrics)
    seen = [counted("degraded", mode="NO_QUEUE")]
    await degraded.enter(DegradedMode.NO_QUEUE, ValueError("away"))
    seen.append(counted("degraded", mode="NO_QUEUE"))
    await degraded.leave(DegradedMode.NO_QUEUE)
    seen.append(counted("degraded", mode="NO_QUEUE"))

    assert [0, 1, 0] == seen


async def test_a_duty_that_fails_and_is_lost(world: World, counted: Counted) -> None:
    """Failed turns are counted and timed like others; a duty whose session is gone is a lost claim."""
    coordinator = await world.worker()
    over = asyncio.Event()

    async def turn() -> bool:
        over.set()
        world.zookeeper.expire(coordinator)
        message = "a bug"
        raise ValueError(message)

    duty = Duty("relay", 0.01, coordinator, turn, metrics=counted.metrics)
    await duty.run(over, Degraded(world.store, world.clock, "worker-1"))

    assert (1, 1) == (
        counted("duty_failures_total", duty="relay"),
        counted("duty_turn_duration_seconds_count", duty="relay"),
    )
    assert 1 == counted("claims_lost_total", kind="duties")


# -- the figures of the fleet ----------------------------------------------------------------------------------------------


async def test_the_figures_of_a_fleet(world: World) -> None:
    """Health, status, problems, sources, work and outbox as they are; 0 for what there might be and is not."""
    ref = await world.declare()
    world.node("n2").down = True
    await cycle(await world.turn(), [ref], Mode.OBSERVE)
    await world.save(SOURCE)
    world.sources.fail(SOURCE, "connection refused")
    await discover_source(await world.worker(), world.store, world.sources, SOURCE.ref, world.clock, Steps())
    items = [Request(kind=WorkKind.ORCHESTRATE, subject=f"prod/{name}", next_at=world.clock()) for name in "abcd"]
    await world.store.ensure_work(items, world.clock())
    await world.store.queue_due(world.clock(), 3)
    claimed = await world.store.claim_any(["orchestrate"], "worker-1", world.clock(), 2)
    ended = [Ended(key=claimed[0].key, error="broken"), Ended(key=claimed[1].key, error="away", transient=True)]
    await world.store.finish_work(ended, "worker-1", world.clock(), RetryPolicy(attempts_max=1))
    work = (await read_figures(world.store, world.clock()))["work_items"]
    world.advance(30)
    figures = await read_figures(world.store, world.clock())

    assert (1, 0, 0, 0) == tuple(
        figures["clusters"][health,] for health in ("DEGRADED", "CRITICAL", "HEALTHY", "UNKNOWN")
    )
    assert (2, 1, 0) == tuple(figures["nodes"][status,] for status in ("HEALTHY", "UNREACHABLE", "INCOMPLETE"))
    assert 1 == figures["problems"]["NODE_UNREACHABLE", "warning"]
    assert {("success",): 0.0, ("failed",): 1.0} == figures["sources"]
    states = ("idle", "queued", "retrying", "claimed", "dead")
    assert (1, 1, 1, 0, 1) == tuple(work[state,] for state in states)
    assert 30 == figures["work_late_worst_seconds"][()]
    assert (len(world.events), 30) == (figures["outbox_events"][()], figures["outbox_age_seconds"][()])
    assert world.clock().timestamp() == figures["fleet_read_timestamp_seconds"][()]


async def test_figures_have_the_labels_of_their_table(world: World) -> None:
    """Whatever is read fits the table, also of an empty fleet, and the endpoint tells all of it."""
    await world.declare()
    await cycle(await world.turn(), [REF], Mode.OBSERVE)
    known = {family.name: len(family.labels) for family in READ}
    told = Figures()
    for store in (world.store, World().store):
        figures = await read_figures(store, world.clock())
        told.tell(figures)

        assert figures.keys() <= known.keys()
        assert all({known[name]} >= {len(labels) for labels in series} for name, series in figures.items())
        assert {f"{PREFIX}{name}" for name in figures} == {metric.name for metric in told.collect()}


async def test_figures_that_cannot_be_read_are_absent(world: World, tmp_path: Path) -> None:
    """The store goes: nothing stale is told, and that is said; it is back: they are told again. The rest is told all along."""
    told: list[Samples] = []

    class Told(Endpoint):
        """An endpoint that does not listen."""

        def tell(self, samples: Samples) -> None:
            told.append(samples)

    async def store() -> Store:
        return world.store

    endpoint = Told(Fleet().metrics, {}, tmp_path)
    task = asyncio.create_task(keep_reading(store, endpoint, {"seats": {(): 2.0}}, world.clock, every_s=0.01))
    seen = []
    for down, readable in ((False, 1.0), (True, 0.0), (False, 1.0)):
        world.store.down = down
        await until(lambda wanted=readable: bool(told) and told[-1]["fleet_readable"][()] == wanted)
        seen.append((told[-1]["seats"][()], "clusters" in told[-1], "outbox_age_seconds" in told[-1]))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert [(2, True, True), (2, False, False), (2, True, True)] == seen


async def test_metrics_that_are_off(world: World) -> None:
    """Nothing listens, no process is told to count; nor when the settings cannot be read."""

    def clock() -> datetime:
        return world.clock()

    servers = {
        "REPLICORE_ZOOKEEPER_HOSTS": "127.0.0.1:1",
        "REPLICORE_MONGODB_URI": "mongodb://127.0.0.1:1/?replicaSet=x",
        "REPLICORE_KAFKA_BOOTSTRAP": "127.0.0.1:1",
    }
    for environ in (servers, {**servers, "REPLICORE_METRICS_PORT": "nowhere"}):
        before = dict(environ)
        async with metrics_served(environ, clock):
            assert before == environ


def test_the_block_has_a_place_for_them() -> None:
    """`metrics.port` of the Fleet block, overridden by the environment."""
    assert (0, 9000) == (
        Fleet().metrics.port,
        Fleet().with_environment({"REPLICORE_METRICS_PORT": "9000"}).metrics.port,
    )
