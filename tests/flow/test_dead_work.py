"""Dead work is a problem of its cluster, without a person or a cycle."""

from __future__ import annotations

from blocks.coordinator.protocol import ClaimKind
from blocks.models.cluster import ClusterState, Health
from blocks.models.event import EventType
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.request import Request, WorkKind, WorkState
from doubles.world import World
from flows.cycle import Mode, cycle
from flows.dead_work import tell_dead_work
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


async def test_not_while_somebody_holds_it(world: World) -> None:
    """A cluster whose lock is held is told of at a later turn."""
    ref = await world.declare()
    dead(world, ref)
    holder = await world.worker("holder")
    claim = await holder.take(ClaimKind.LOCK, ref.key, "works")
    held = await told(world)
    await holder.give_back([claim])

    assert [0, 1] == [held, await told(world)]
