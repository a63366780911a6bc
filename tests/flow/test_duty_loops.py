from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.errors import ConflictError, DependencyUnavailableError
from blocks.models.event import EventType
from blocks.models.record import Fence
from blocks.runs.protocol import Run
from doubles.eventually import until
from doubles.runs import MemoryRuns
from doubles.world import World
from flows.degraded import Degraded, DegradedMode
from flows.duties import FAILURES_MAX, Duty, duties

PREFECT_AWAY = DependencyUnavailableError("Prefect", "memory", "gone", "Check.")


# -- duties as loops ----------------------------------------------------------------------------------------------------


async def _duty(world: World, name: str, turn: Callable[[], Awaitable[bool]]) -> Duty:
    return Duty("chore", 0.001, await world.worker(name), turn, proves=(DegradedMode.NO_STORE,))


@asynccontextmanager
async def _done(world: World, *chores: Duty) -> AsyncIterator[None]:
    """While workers do their duties."""
    over = asyncio.Event()
    tasks = [asyncio.create_task(chore.run(over, Degraded(world.store, world.clock, "worker-1"))) for chore in chores]
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*tasks)


def _counting(turns: list[str], name: str) -> Callable[[], Awaitable[bool]]:
    async def turn() -> bool:
        turns.append(name)
        return False

    return turn


async def test_a_duty_is_done_by_one_and_taken_over_at_once(world: World) -> None:
    """Two want it, one does it; when its claim goes the other goes on."""
    turns: list[str] = []
    first, second = await _duty(world, "a", _counting(turns, "a")), await _duty(world, "b", _counting(turns, "b"))
    async with _done(world, first, second):
        await until(lambda: len(turns) > 3)
        holder = turns[0]
        alone = set(turns)
        loser = first if holder == "a" else second
        loser.coordinator.pause()
        world.advance(11)
        await until(lambda: len(set(turns)) == 2)

    assert {holder} == alone
    assert {"a", "b"} - {holder} == {turns[-1]}


async def test_a_duty_that_keeps_failing_goes_to_somebody_else(world: World) -> None:
    """After so many failures in a row it is given back, and another worker may have better luck."""
    turns: list[str] = []

    async def broken() -> bool:
        turns.append("a")
        raise ConflictError("no luck")

    first = await _duty(world, "a", broken)
    async with _done(world, first):
        await until(lambda: bool(turns))
        async with _done(world, await _duty(world, "b", _counting(turns, "b"))):
            await until(lambda: turns.count("b") > 2)

    assert ["a"] * FAILURES_MAX + ["b"] == turns[: FAILURES_MAX + 1]


async def test_a_bug_in_a_turn_does_not_end_the_shift(world: World) -> None:
    """An unexpected error is logged and the duty goes on."""
    turns: list[str] = []

    async def sometimes() -> bool:
        turns.append("a")
        if len(turns) == 1:
            raise ValueError("a bug")
        return False

    async with _done(world, await _duty(world, "a", sometimes)):
        await until(lambda: len(turns) > 2)

    assert [] == await (await world.worker("b")).holders(ClaimKind.DUTY)


async def test_a_duty_ends_with_the_shift(world: World) -> None:
    """Over: the claim is given back, also by the one that only waited for it."""
    first, second = await _duty(world, "a", _counting([], "a")), await _duty(world, "b", _counting([], "b"))
    async with _done(world, first, second):
        pass

    assert [] == await first.coordinator.holders(ClaimKind.DUTY)


async def test_a_dependency_away_is_a_named_mode_entered_and_left_once(world: World) -> None:
    """Away for several turns: told once when it went, once when it came back."""
    turns: list[str] = []

    async def away() -> bool:
        turns.append("a")
        if len(turns) < 3:
            raise DependencyUnavailableError("MongoDB", "memory", "gone", "Check.")
        return False

    over, degraded = asyncio.Event(), Degraded(world.store, world.clock, "worker-1")
    duty = Duty("chore", 0.001, await world.worker(), away, proves=(DegradedMode.NO_STORE,))
    task = asyncio.create_task(duty.run(over, degraded))
    await until(lambda: len(turns) > 3)
    over.set()
    await task

    assert [EventType.DEGRADED_ENTERED, EventType.DEGRADED_LEFT] == world.types()
    assert ["NO_STORE", "NO_STORE"] == [event.data["mode"] for event in world.events]


async def test_a_mode_is_told_when_the_store_is_back(world: World) -> None:
    """What cannot be told while the store is away is told afterwards, with the time it began."""
    degraded = Degraded(world.store, world.clock, "worker-1")
    world.store.down = True
    await degraded.enter(DegradedMode.NO_STORE, PREFECT_AWAY)
    world.store.down = False
    world.advance(5)
    await degraded.leave(DegradedMode.NO_STORE)

    assert [EventType.DEGRADED_ENTERED, EventType.DEGRADED_LEFT] == world.types()
    assert "after 5.0 s" == world.events[-1].data["detail"]


async def _three(world: World, degraded: Degraded) -> tuple[Duty, ...]:
    return duties(
        await world.worker(),
        world.store,
        world.queue,
        world.bus,
        world.runs,
        world.secrets,
        world.clock,
        asyncio.Event(),
        degraded,
        world.sources,
    )


async def test_a_zookeeper_that_lost_its_data_is_a_named_mode(world: World) -> None:
    """Told by whoever sweeps, with how far the two are; over when a person has raised the generation."""
    degraded = Degraded(world.store, world.clock, "worker-1")
    *_, sweep = await _three(world, degraded)
    await world.store.claim([Fence(subject="prod/orders", generation=1, token=10_000)])
    await sweep.turn()
    await (await world.worker("person")).raise_generation()
    world.advance(60)
    await sweep.turn()
    entered, left = world.events

    assert ("COORDINATOR_WIPED", "COORDINATOR_WIPED") == (entered.data["mode"], left.data["mode"])
    assert "the fence 1:10000, and ZooKeeper is only at 1:" in str(entered.data["detail"])


async def test_who_loses_a_duty_leaves_what_only_its_holder_knows(world: World) -> None:
    """The next holder tells anew: else the mode of a worker that no longer looks would stay until its shift ends."""
    degraded = Degraded(world.store, world.clock, "worker-1")

    async def wiped() -> bool:
        await degraded.enter(DegradedMode.COORDINATOR_WIPED, "so it is")
        raise ConflictError("no luck")

    over = asyncio.Event()
    duty = Duty("chore", 0.001, await world.worker(), wiped, tells=(DegradedMode.COORDINATOR_WIPED,))
    task = asyncio.create_task(duty.run(over, degraded))
    await until(lambda: len(world.events) > 1)
    over.set()
    await task

    assert [EventType.DEGRADED_ENTERED, EventType.DEGRADED_LEFT] == world.types()[:2]


async def test_prefect_away_is_left_again(world: World) -> None:
    """`sweep` cannot ask Prefect: said; once it can again, that is said too, and work was swept all the while."""

    class Away(MemoryRuns):
        away = True

        async def running(self, flow_name: str) -> list[Run]:
            if self.away:
                raise PREFECT_AWAY
            return await super().running(flow_name)

    world.runs = Away()
    degraded = Degraded(world.store, world.clock, "worker-1")
    made = await _three(world, degraded)
    (sweep,) = (duty for duty in made if duty.name == "sweep")
    with pytest.raises(DependencyUnavailableError) as away:
        await sweep.turn()
    await degraded.enter(DegradedMode.NO_PREFECT, away.value)
    world.runs.away = False
    world.advance(5)
    await sweep.turn()

    assert [EventType.DEGRADED_ENTERED, EventType.DEGRADED_LEFT] == world.types()
    assert {"enqueue", "relay", "sweep"} == {duty.name for duty in made}
