"""A rolling action while workers die between any two steps, people change their minds, and agents and servers come and go."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.errors import ConflictError, DependencyUnavailableError, RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.event import EventType
from blocks.models.namespace import NamespaceSettings
from blocks.models.rolling import Rolling, RollingState
from doubles.agents import Taken
from doubles.process import Process, Written, settled, to_the_end
from doubles.rollings import ROLLING_ID, rolled
from doubles.views import NODES, REF, discovery
from doubles.world import World
from flows.cycle import Mode, cycle
from tasks.decide.rolling import TABLE
from tasks.order_rolling import order_rolling

S, A = RollingState, ActionState
CYCLES_MAX = 40
"""However often it is disturbed, it has ended after so many cycles without disturbance."""
HOME = NamespaceSettings(status_hold=0, agent_timeout=5.0, schedule_attempts_max=3, clock_skew_max=86_400)
"""Agents in memory tell of their actions by the time at which these were ordered: no clock of theirs is wrong."""


async def fleet(*, batch: int = 1) -> World:
    """A cluster of three with an approved rolling action that has not begun."""
    world = World()
    await world.declare(settings=HOME)
    await cycle(await world.turn("first"), [REF], Mode.ORCHESTRATE)
    await rolled(world, batch=batch, health_within_s=900)
    return world


def works(world: World, after: ActionState = A.DONE) -> None:
    """Every agent brings what it has to its end."""
    for node_id in NODES:
        for action_id in world.node(node_id).listed(final=False):
            world.node(node_id).move(action_id, after)


def accepted(world: World) -> list[str]:
    """The nodes on which an agent took an action, in that order as far as it is known, each as often as it did."""
    return [
        node_id
        for node_id in NODES
        for delivery in world.node(node_id).deliveries
        if delivery.taken is Taken.ACCEPTED and delivery.action.rolling_id == ROLLING_ID
    ]


async def stored(world: World) -> Rolling:
    """It, as it is now."""
    found = await world.store.get(Rolling, ROLLING_ID)
    assert found is not None
    return found


async def until_over(world: World, process: Process) -> int:
    """Cycles without disturbance, agents at work, until it is over; says how many."""
    for number in range(CYCLES_MAX):
        if (await stored(world)).state.final:
            return number
        await to_the_end(process)
        works(world)
        world.advance(10)
    message = f"not over after {CYCLES_MAX} cycles: {await stored(world)}"
    raise AssertionError(message)


async def crashed_at(step: int, batch: int) -> bool:
    """The whole way, with a worker that is killed before its step of that number; whether it came so far."""
    world, written = await fleet(batch=batch), list[Written]()
    first = Process("worker-1", world, await world.worker("worker-1"), written)
    second = Process("worker-2", world, await world.worker("worker-2"), written)
    taken = 0
    while taken < step and not (await stored(world)).state.final:
        if first.idle:
            works(world)
            world.advance(10)
            first.begin()
        await settled([first])
        if first.gates:
            first.step()
            await settled([first])
            taken += 1
    came_so_far = taken == step and not (await stored(world)).state.final
    first.coordinator.pause()  # kill -9: it never goes on, and the server misses it after a while
    world.advance(21)
    await until_over(world, second)
    rolling = await stored(world)
    if first.task is not None:
        first.task.cancel()
        await asyncio.gather(first.task, return_exceptions=True)

    assert (S.DONE, dict.fromkeys(NODES, A.DONE)) == (rolling.state, rolling.ended), f"killed before step {step}"
    assert dict.fromkeys(NODES, 1) == dict(Counter(accepted(world))), f"killed before step {step}"
    return came_so_far


async def test_a_worker_is_killed_between_any_two_steps() -> None:
    """Wherever that is: each node is acted on exactly once, none is forgotten, and it ends in bounded time."""
    step = 0
    while await crashed_at(step, batch=2):
        step += 1

    assert 50 < step


@pytest.mark.parametrize("method", ["commit", "views", "get_many", "claim"])
async def test_the_store_answers_no_more(method: str) -> None:
    """Each call once is carried out and not answered, in each cycle anew: the next cycle finds out what became of it."""
    world = await fleet()
    process = Process("worker-1", world, await world.worker("worker-1"), [])
    for _ in range(20):
        world.store.lost_answers.add(method)
        await to_the_end(process)
        works(world)
        world.advance(10)
    world.store.lost_answers.clear()
    await until_over(world, process)

    assert S.DONE is (await stored(world)).state
    assert dict.fromkeys(NODES, 1) == dict(Counter(accepted(world)))


MOVES = st.one_of(
    st.tuples(st.just("steps"), st.integers(0, 1), st.integers(1, 25)),
    st.tuples(st.just("cycle"), st.integers(0, 1)),
    st.tuples(st.just("crash"), st.integers(0, 1)),
    st.tuples(st.just("agents"), st.sampled_from([A.RUNNING, A.DONE, A.DONE, A.DONE, A.FAILED])),
    st.tuples(st.just("order"), st.sampled_from([S.PAUSED, S.RUNNING, S.RUNNING, S.CANCELLED])),
    st.tuples(st.just("time"), st.sampled_from([0.5, 3.0, 11.0, 40.0])),
    st.tuples(st.just("node"), st.sampled_from(NODES), st.booleans()),
    st.tuples(st.just("store"), st.sampled_from(["down", "up", "lost answer"])),
    st.tuples(st.just("member")),
)


class Tale:
    """A rolling action and what happens to it."""

    def __init__(self, world: World) -> None:
        """Two workers; nobody has died."""
        self.world = world
        self.written: list[Written] = []
        self.workers: list[Process] = []
        self.ghosts: list[Process] = []

    async def hire(self) -> Process:
        """A new worker."""
        name = f"worker-{len(self.workers) + len(self.ghosts) + 1}"
        return Process(name, self.world, await self.world.worker(name), self.written)

    async def happens(self, move: tuple[Any, ...]) -> None:
        """One thing."""
        match move:
            case ("steps", slot, count):
                await self._steps(self.workers[slot], count)
            case ("cycle", slot):
                await self._steps(self.workers[slot], 1_000)
            case ("crash", slot):
                self.workers[slot].coordinator.pause()
                self.ghosts.append(self.workers[slot])
                self.workers[slot] = await self.hire()
            case ("agents", after):
                works(self.world, after)
            case ("order", after):
                await self._ordered(after)
            case ("time", seconds):
                self.world.advance(seconds)
            case ("node", node_id, down):
                self.world.node(node_id).down = down
            case ("store", what):
                self.world.store.down = what == "down"
                self.world.store.lost_answers |= {"commit"} if what == "lost answer" else set()
            case ("member",):
                with contextlib.suppress(DependencyUnavailableError):
                    await self.world.save(discovery((*NODES, "n4")))
        await settled([*self.workers, *self.ghosts])

    async def _ordered(self, after: RollingState) -> None:
        only_from = S.PAUSED if after is S.RUNNING else None
        with contextlib.suppress(RefusedError, ConflictError, DependencyUnavailableError):
            await order_rolling.fn(self.world.store, ROLLING_ID, after, "eve", "so", self.world.clock(), only_from)

    async def _steps(self, worker: Process, count: int) -> None:
        if worker.idle:
            worker.begin()
        await settled([worker])
        for _ in range(count):
            if not worker.gates:
                return
            worker.step()
            await settled([worker])

    async def heals(self) -> None:
        """Everything is back, whoever is dead is missed, and a paused one is resumed."""
        self.world.store.down, self.world.store.lost_answers = False, set()
        for node_id in NODES:
            self.world.node(node_id).down = False
        for worker in self.workers:
            await to_the_end(worker)
        for ghost in self.ghosts:
            if ghost.task is not None:
                ghost.is_open = True
                ghost.task.cancel()
                await asyncio.gather(ghost.task, return_exceptions=True)
        self.world.advance(21)
        with contextlib.suppress(RefusedError):
            await order_rolling.fn(self.world.store, ROLLING_ID, S.RUNNING, "eve", "on", self.world.clock(), S.PAUSED)
        await until_over(self.world, self.workers[0])
        for _ in range(3):  # what was left over
            await to_the_end(self.workers[0])
            works(self.world)
            self.world.advance(60)


@given(moves=st.lists(MOVES, max_size=60), batch=st.integers(1, 3))
@settings(max_examples=300, suppress_health_check=[HealthCheck.data_too_large])
def test_whatever_happens(moves: list[tuple[Any, ...]], batch: int) -> None:
    """Each node is acted on at most once; it ends; what is DONE was done everywhere; nothing of it is left; all was told."""

    async def tale() -> None:
        world = await fleet(batch=batch)
        told = Tale(world)
        told.workers = [await told.hire(), await told.hire()]
        for move in moves:
            await told.happens(move)
        await told.heals()
        await check(world)

    asyncio.run(tale())


async def check(world: World) -> None:
    """What must hold in the end."""
    rolling, taken = await stored(world), Counter(accepted(world))
    actions = [action for action in await world.store.find(Action) if action.rolling_id == ROLLING_ID]
    states = [event.data for event in world.events if event.type == EventType.ROLLING_CHANGED]

    assert rolling.state.final
    assert not taken or 1 == max(taken.values())
    assert [] == [action for action in actions if not action.state.final]
    assert {action.node_id for action in actions if action.state is A.DONE} <= set(taken)
    assert rolling.state is not S.DONE or set(NODES) == set(taken)
    assert all(
        b is None or a == b or S(str(a)) in TABLE[S(str(b))]
        for a, b in ((d["state"], d["state_before"]) for d in states)
    )
    assert [None, *(d["state"] for d in states[:-1])] == [d["state_before"] for d in states]
    assert rolling.state.value == states[-1]["state"]
