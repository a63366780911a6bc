"""A person says that a problem has been seen."""

from __future__ import annotations

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.errors import BusyError, FencedError, InvalidInputError, NotFoundError
from blocks.models.event import EventType
from blocks.models.ids import ClusterRef
from blocks.models.node import Offset, Shard, ShardRole
from blocks.models.problem import Acknowledgement, Problem
from blocks.models.record import Fence
from doubles.event_data import faults
from doubles.world import World
from flows.acknowledge import acknowledge_under_lock
from flows.cycle import Mode, cycle
from flows.steps import Steps
from tasks.decide.rules.table import REWOUND

CYCLES_S = 60
DOWN = "NODE_UNREACHABLE"


async def looked(world: World, ref: ClusterRef) -> tuple[Problem, ...]:
    """Its problems after two more cycles: another status is said by the second that sees it."""
    for _ in range(2):
        world.advance(CYCLES_S)
        await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)
    return (await world.state(ref)).problems


async def acknowledge(
    world: World, ref: ClusterRef, code: str, node: str | None = None, reason: str = "being mended"
) -> list[str | None]:
    """Ann acknowledges; returns of which nodes."""
    worker = await world.worker("person")
    seen = await acknowledge_under_lock(worker, world.store, ref, code, node, reason, "ann", world.clock, Steps())
    return [problem.node_id for problem in seen]


def words(problems: tuple[Problem, ...], code: str) -> dict[str | None, str | None]:
    """By node, who has acknowledged its problem of that code."""
    return {one.node_id: one.acknowledged.who if one.acknowledged else None for one in problems if one.code == code}


@pytest.fixture
async def broken(world: World) -> ClusterRef:
    """A cluster of which two nodes do not answer."""
    ref = await world.declare(node_ids=("n1", "n2", "n3", "n4", "n5"))
    await looked(world, ref)
    world.node("n4").down = world.node("n5").down = True
    await looked(world, ref)
    return ref


async def test_it_stays_until_the_problem_is_over(world: World, broken: ClusterRef) -> None:
    """Cycles carry it on, nobody's health changes, and what comes back later has not been seen by anybody."""
    health = (await world.state(broken)).health
    seen = await acknowledge(world, broken, DOWN.lower(), "n4")
    at, after = world.clock(), await looked(world, broken)
    (there,) = [one.acknowledged for one in after if one.node_id == "n4" and one.code == DOWN]
    world.node("n4").down = False
    over = await looked(world, broken)
    world.node("n4").down = True
    again = await looked(world, broken)

    assert (["n4"], Acknowledgement(who="ann", why="being mended", at=at)) == (seen, there)
    assert {"n4": "ann", "n5": None} == words(after, DOWN)
    assert health is (await world.state(broken)).health
    assert ({"n5": None}, {"n4": None, "n5": None}) == (words(over, DOWN), words(again, DOWN))


async def test_without_a_node_it_is_for_all(world: World, broken: ClusterRef) -> None:
    """Each of that code, each with an event that says who and why; a second word replaces the first."""
    before = len(world.events)
    await acknowledge(world, broken, DOWN, "n4", "first")
    await acknowledge(world, broken, DOWN)
    told = world.events[before:]

    assert {"n4": "ann", "n5": "ann"} == words((await world.state(broken)).problems, DOWN)
    assert [(EventType.PROBLEM_ACKNOWLEDGED, why) for why in ("first", "being mended", "being mended")] == [
        (event.type, event.data["why"]) for event in told
    ]
    assert [] == faults(told)
    assert [] == await (await world.worker("other")).holders(ClaimKind.LOCK)


async def test_what_happened_is_over_when_it_is_seen(world: World) -> None:
    """OFFSET_WENT_BACK is cleared at once, stays so, and is raised again when it happens again."""
    ref = await world.declare(node_ids=("n1",))
    for offset in (900, 100):
        world.node("n1").shards = (
            Shard(shard_id="rs0", role=ShardRole.PRIMARY, commit_offset=Offset(unit="seconds", value=offset)),
        )
        before = await looked(world, ref)
    begun = len(world.events)
    observed = (await world.state(ref)).observed_at
    await acknowledge(world, ref, REWOUND, reason="restored from backup")
    state, told = await world.state(ref), world.types(begun)
    after = await looked(world, ref)
    world.node("n1").shards = (
        Shard(shard_id="rs0", role=ShardRole.PRIMARY, commit_offset=Offset(unit="seconds", value=50)),
    )
    again = await looked(world, ref)

    assert ([REWOUND], (), ()) == ([one.code for one in before], state.problems, after)
    assert observed == state.observed_at
    assert [EventType.PROBLEM_ACKNOWLEDGED, EventType.PROBLEM_CLEARED, EventType.CLUSTER_HEALTH_CHANGED] == told
    assert {"n1": None} == words(again, REWOUND)


@pytest.mark.parametrize(
    ("code", "node", "reason", "error", "said"),
    [
        (DOWN, "n1", "x", NotFoundError, "prod/orders, node n1, has no problem NODE_UNREACHABLE; its problems are: MAJORITY"),
        ("NO_PRIMARY", None, "x", NotFoundError, "prod/orders has no problem NO_PRIMARY"),
        (DOWN, "n4", "  ", InvalidInputError, "say why"),
    ],
)  # fmt: skip
async def test_what_cannot_be_acknowledged(
    world: World, broken: ClusterRef, code: str, node: str | None, reason: str, error: type[Exception], said: str
) -> None:
    """It is said what there is; nothing is written, and the lock is given back."""
    begun = len(world.events)
    with pytest.raises(error) as caught:
        await acknowledge(world, broken, code, node, reason)

    assert said in str(caught.value)
    assert [] == world.events[begun:]
    assert [] == await (await world.worker("other")).holders(ClaimKind.LOCK)


async def test_a_cluster_that_nobody_knows(world: World) -> None:
    """It is said."""
    with pytest.raises(NotFoundError, match="there is no cluster prod/nope"):
        await acknowledge(world, ClusterRef(namespace="prod", cluster_id="nope"), DOWN)


async def test_not_while_a_cycle_has_it(world: World, broken: ClusterRef) -> None:
    """What a cycle that is under way writes would forget it: so it waits for the lock, or says who has it."""
    claim = await (await world.worker("holder")).take(ClaimKind.LOCK, broken.key, "orchestrate")
    with pytest.raises(BusyError, match="orchestrate"):
        await acknowledge(world, broken, DOWN)
    await (await world.worker("holder")).give_back([claim])

    assert {"n4": None, "n5": None} == words((await world.state(broken)).problems, DOWN)


async def test_not_by_who_was_overtaken(world: World, broken: ClusterRef) -> None:
    """The store refuses a fence that is older than one it has seen."""
    await world.store.claim([Fence(subject=broken.key, generation=9, token=1)])
    with pytest.raises(FencedError):
        await acknowledge(world, broken, DOWN)

    assert {"n4": None, "n5": None} == words((await world.state(broken)).problems, DOWN)
