"""One record that cannot be read (written by a newer version, damaged by hand) stops nothing but what it is about."""

from __future__ import annotations

import asyncio

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.models.cluster import ClusterSpec
from blocks.models.report import CycleOutcome, Report
from doubles.eventually import until
from doubles.world import World
from flows.consume import orchestrate_batch
from flows.cycle import BUSY, Mode, cycle
from flows.watch import Watch
from tasks.decide.rest import Occasion
from tasks.duties import mend_timetable
from tasks.targets import load_targets


async def test_others_are_watched(world: World) -> None:
    """The nodes of readable clusters are targets, those of the broken one are not."""
    orders = await world.declare()
    billing = await world.declare("billing", ("b1",))
    world.store.broken = {orders.key}
    targets = await load_targets.fn(world.store, world.clock())

    assert [billing.node("b1").key] == list(targets)


async def test_the_shift_goes_on(world: World) -> None:
    """The watch of a whole shift is not ended by it."""
    orders = await world.declare()
    await world.declare("billing", ("b1",))
    await world.save(ClusterSpec(namespace="prod", cluster_id="billing", probe_interval=0.05, version=2))
    world.store.broken = {orders.key}
    coordinator = await world.worker()
    over = asyncio.Event()
    watch = Watch(coordinator, world.store, world.queue, world.agents, world.clock)
    task = asyncio.create_task(watch.run(over))
    await until(lambda: watch.probes >= 3)
    over.set()

    assert None is await task


async def test_the_timetable_is_kept(world: World) -> None:
    """Others get their place; the broken one keeps its own."""
    orders = await world.declare()
    await mend_timetable.fn(world.store, world.clock())
    await world.declare("billing", ("b1",))
    world.store.broken = {orders.key}
    await mend_timetable.fn(world.store, world.clock())

    assert {"orchestrate:prod/orders", "orchestrate:prod/billing"} <= world.store.work.keys()


async def test_its_report_says_so(world: World) -> None:
    """The last report of the cluster is not the success before."""
    ref = await world.declare()
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)
    world.store.broken = {(ClusterSpec, ref.key)}
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)
    report = await world.store.get(Report, ref.key)

    assert report is not None
    assert CycleOutcome.FAILED is report.outcome
    assert "cannot be read" in str(report.error)


@pytest.mark.parametrize("occasion", list(Occasion))
async def test_news_that_meets_a_held_lock_is_not_lost(world: World, occasion: Occasion) -> None:
    """Who holds it may have looked before: what is urgent is tried again. Routine leaves it to the holder."""
    ref = await world.declare()
    consumer = await world.consumer()
    await (await world.worker("a person")).take(ClaimKind.LOCK, ref.key, "observe")
    (ended,) = await orchestrate_batch.fn(consumer, [ref.key], occasion)

    assert ((None, False) if occasion is Occasion.ROUTINE else (BUSY, True)) == (ended.error, ended.transient)
