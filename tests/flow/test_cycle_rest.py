"""Dead nodes in cycles: left alone by routine, knocked at in haste, asked by people; what was not asked stays as it was."""

from __future__ import annotations

import pytest

from blocks.models.ids import ClusterRef
from blocks.models.node import NodeStatus
from blocks.models.report import Report
from doubles.world import World
from flows.cycle import Mode, cycle
from flows.steps import Turn
from tasks.decide.rest import Occasion


async def run(turn: Turn, ref: ClusterRef, occasion: Occasion) -> Report:
    """Take the cluster through a cycle."""
    [report] = (await cycle(turn, [ref], Mode.ORCHESTRATE, occasion=occasion)).reports
    return report


async def held(world: World, turn: Turn, ref: ClusterRef) -> None:
    """Another status is said when it has held for a while."""
    world.advance(2)
    await run(turn, ref, Occasion.ROUTINE)


@pytest.fixture
async def dead(world: World) -> tuple[Turn, ClusterRef]:
    """A cluster whose node `n3` has been silent for half a minute, and hangs."""
    ref = await world.declare()
    turn = await world.turn()
    await run(turn, ref, Occasion.ROUTINE)
    world.node("n3").down = True
    for _ in range(4):
        await run(turn, ref, Occasion.PERSON)
        world.advance(10)
    world.node("n3").down, world.node("n3").hangs = False, True
    return turn, ref


async def test_routine_leaves_it_alone(world: World, dead: tuple[Turn, ClusterRef]) -> None:
    """The cycle does not wait for it, says so, writes and tells nothing; its own age and its cluster's go on."""
    turn, ref = dead
    before, seen = await world.node_record(ref, "n3"), (await world.state(ref)).observed_at
    told = len(world.events)

    report = await run(turn, ref, Occasion.ROUTINE)

    assert (2, 0) == (report.nodes_synced, report.nodes_failed)
    assert [f"n3: not asked since {seen:%Y-%m-%dT%H:%M:%SZ}"] == [note.partition(",")[0] for note in report.notes]
    assert ([], before, seen) == (
        world.types(told),
        await world.node_record(ref, "n3"),
        (await world.state(ref)).observed_at,
    )


async def test_urgency_only_knocks(world: World, dead: tuple[Turn, ClusterRef]) -> None:
    """Silence says nothing new; what happened elsewhere is saved."""
    turn, ref = dead
    before = await world.node_record(ref, "n3")
    world.node("n2").down = True

    report = await run(turn, ref, Occasion.URGENT)

    assert (1, 1, 1) == (report.nodes_synced, report.nodes_failed, len(report.notes))
    assert before == await world.node_record(ref, "n3")
    assert 0 == world.node("n3").looks - 1


async def test_its_return_is_seen_by_an_urgent_cycle(world: World, dead: tuple[Turn, ClusterRef]) -> None:
    """The watch asks for one when a node answers again: a knock that is answered becomes a whole look."""
    turn, ref = dead
    world.node("n3").hangs = False

    report = await run(turn, ref, Occasion.URGENT)
    await held(world, turn, ref)

    node = await world.node_record(ref, "n3")
    assert (NodeStatus.HEALTHY, None, ()) == (node.status, node.info_stale_since, report.notes)


async def test_a_person_always_asks(world: World, dead: tuple[Turn, ClusterRef]) -> None:
    """And learns what it is like now."""
    turn, ref = dead
    world.node("n3").hangs = False

    await run(turn, ref, Occasion.PERSON)
    await held(world, turn, ref)

    assert NodeStatus.HEALTHY is (await world.node_record(ref, "n3")).status


async def test_routine_asks_again_after_a_minute(world: World, dead: tuple[Turn, ClusterRef]) -> None:
    """Also when nobody tells that it is back."""
    turn, ref = dead
    world.node("n3").hangs = False
    world.advance(60)

    await run(turn, ref, Occasion.ROUTINE)
    await held(world, turn, ref)

    assert NodeStatus.HEALTHY is (await world.node_record(ref, "n3")).status
