"""Dead work is a problem of its cluster, without a person or a cycle."""

from __future__ import annotations

import asyncio

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.models.cluster import ClusterSpec, ClusterState, Health
from blocks.models.event import EventType
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.request import Request, WorkKind, WorkState
from doubles.world import World
from flows.cycle import Mode, cycle
from flows.dead_work import AGAIN_MAX_S, Untellable, tell_dead_work
from flows.degraded import Degraded
from flows.duties import THOROUGH_EVERY_S, duties
from flows.steps import Steps
from tasks.decide.rules.table import WORK_DEAD


async def told(world: World) -> int:
    """One look for dead work that is untold."""
    return await tell_dead_work(await world.worker("sweeper"), world.store, world.clock, Steps())


def dead(world: World, ref: ClusterRef) -> Request:
    """The work of a cluster dies."""
    item = Request(kind=WorkKind.ORCHESTRATE, subject=ref.key, state=WorkState.DEAD, error="it kills its workers")
    world.store.work[item.key] = item
    return item


async def test_dead_work_becomes_a_problem(world: World) -> None:
    """It is raised once, with the reason, and changes the health; agents are not asked and nothing counts as seen."""
    ref = await world.declare()
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)
    seen = (await world.state(ref)).observed_at
    dead(world, ref)
    world.advance(60)
    counts = [await told(world), await told(world)]
    state = await world.state(ref)

    assert [1, 0] == counts
    assert [(WORK_DEAD, "orchestrate:prod/orders is dead: it kills its workers")] == [
        (problem.code, problem.evidence) for problem in state.problems
    ]
    assert (Health.DEGRADED, seen) == (state.health, state.observed_at)
    assert 1 == world.types().count(EventType.PROBLEM_RAISED)
    assert [] == await (await world.worker("other")).holders(ClaimKind.LOCK)


async def test_it_is_cleared_by_the_next_cycle(world: World) -> None:
    """When a person has its work tried again the problem goes with the first cycle."""
    ref = await world.declare()
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)
    item = dead(world, ref)
    await told(world)
    world.store.work[item.key] = item.evolve(state=WorkState.QUEUED)
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)

    assert () == (await world.state(ref)).problems
    assert 1 == world.types().count(EventType.PROBLEM_CLEARED)


async def test_of_a_cluster_that_was_never_seen(world: World) -> None:
    """What kills its workers at first sight is told too, and does not look as if it had been seen."""
    ref = await world.declare()
    dead(world, ref)
    await told(world)
    state = await world.state(ref)

    assert ([WORK_DEAD], None, 0) == (
        [problem.code for problem in state.problems],
        state.observed_at,
        state.nodes_total,
    )


async def test_not_of_what_nobody_may_look_at(world: World) -> None:
    """A namespace that is not looked at has no problems raised."""
    ref = await world.declare()
    home = await world.store.get(Namespace, ref.namespace)
    assert home is not None
    await world.save(home.evolve(status=NamespaceStatus.INACTIVE, version=home.version + 1))
    dead(world, ref)

    assert 0 == await told(world)
    assert None is await world.store.get(ClusterState, ref.key)


@pytest.mark.parametrize("unreadable", [True, False])
async def test_what_cannot_be_told_of_is_left_alone(world: World, *, unreadable: bool) -> None:
    """Not locked at every turn, but less and less often; when it can be told of it is, and nothing of it is kept."""
    ref = await world.declare()
    dead(world, ref)
    spec = await world.store.get(ClusterSpec, ref.key)
    assert spec is not None
    await world.save(spec.evolve(active=unreadable))
    world.store.broken = {ref.key} if unreadable else set()
    sweeper, untellable = await world.worker("sweeper"), Untellable()
    locked = []
    for _ in range(60):
        before = world.store.fences.get(ref.key)
        await tell_dead_work(sweeper, world.store, world.clock, Steps(), untellable)
        locked.append(world.store.fences.get(ref.key) != before)
        world.advance(30)
    world.store.broken = set()
    await world.save(spec)
    world.advance(AGAIN_MAX_S)
    told = await tell_dead_work(sweeper, world.store, world.clock, Steps(), untellable)
    await tell_dead_work(sweeper, world.store, world.clock, Steps(), untellable)

    assert locked[0]
    assert 3 <= sum(locked) <= 8
    assert (1, {}) == (told, untellable.waiting)


async def test_the_duty_remembers_it(world: World) -> None:
    """Two thorough turns in a row lock such a cluster once."""
    ref = await world.declare()
    spec = await world.store.get(ClusterSpec, ref.key)
    assert spec is not None
    await world.save(spec.evolve(active=False))
    dead(world, ref)
    degraded = Degraded(world.store, world.clock, "sweeper")
    sweeper = duties(
        await world.worker("sweeper"), world.store, world.queue, world.bus, world.runs, world.secrets, world.clock,
        asyncio.Event(), degraded, world.sources,
    )[-1]  # fmt: skip
    fences = []
    for _ in range(2):
        await sweeper.turn()
        fences.append(world.store.fences.get(ref.key))
        world.advance(THOROUGH_EVERY_S)

    assert "sweep" == sweeper.name
    assert fences[0] is not None
    assert fences[0] == fences[1]


async def test_not_while_somebody_holds_it(world: World) -> None:
    """A cluster whose lock is held is told of at a later turn."""
    ref = await world.declare()
    dead(world, ref)
    holder = await world.worker("holder")
    claim = await holder.take(ClaimKind.LOCK, ref.key, "works")
    held = await told(world)
    await holder.give_back([claim])

    assert [0, 1] == [held, await told(world)]
