"""Handlers that give back, or raise, what no code foresaw: their own action ends, and everything else goes on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest
from prefect.exceptions import TerminationSignal

from blocks.models.action import Action, ActionState
from blocks.models.ids import ClusterRef
from blocks.models.report import CycleOutcome
from doubles.on_cluster import ordered, with_handler
from doubles.world import World
from flows.cycle import Mode, cycle
from flows.steps import Turn
from tasks.cluster_actions.base import Scene, Step

S = ActionState


@pytest.fixture
async def ref(world: World) -> ClusterRef:
    """A healthy cluster."""
    return await world.declare()


class Wordless(Exception):  # noqa: N818 - not ours to name
    """One that fails when it is asked what it is."""

    def __str__(self) -> str:
        message = "no words"
        raise RuntimeError(message)


def deep(levels: int) -> Any:
    """So many lists, one in the other."""
    return reduce(lambda inner, _: [inner], range(levels), None)


def endless() -> Any:
    """A list that is in itself."""
    found: list[Any] = []
    found.append(found)
    return found


async def ended(world: World, refs: list[ClusterRef], turn: Turn, action: Action) -> Action:
    """The action after one cycle of these clusters, each of which was a good one."""
    reports = (await cycle(turn, refs, Mode.ORCHESTRATE)).reports

    assert [(CycleOutcome.SUCCESS, None)] * len(refs) == [(report.outcome, report.error) for report in reports]
    return await world.action(action)


STEPS: dict[str, tuple[Callable[[], Any], str]] = {
    "state is a word": (lambda: Step("RUNNING"), "its handler said RUNNING, which is not"),  # type: ignore[arg-type]
    "end is a word": (lambda: Step("DONE"), "its handler said DONE, which is not"),  # type: ignore[arg-type]
    "state is a list": (lambda: Step([]), "its handler said [], which is not"),  # type: ignore[arg-type]
    "state has no words": (lambda: Step(Wordless()), "RuntimeError: no words"),  # type: ignore[arg-type]
    "object": (lambda: Step(S.DONE, payload=object()), "object is not JSON"),  # type: ignore[arg-type]
    "set": (lambda: Step(S.RUNNING, payload={1}), "set is not JSON"),  # type: ignore[arg-type]
    "tuple": (lambda: Step(S.DONE, payload=(1, 2)), "a tuple in it"),  # type: ignore[arg-type]
    "key": (lambda: Step(S.DONE, payload=[{1: 2}]), "a key that is no text"),  # type: ignore[dict-item]
    "endless": (lambda: Step(S.DONE, payload=endless()), "cannot be kept"),
    "too deep": (lambda: Step(S.DONE, payload=deep(102)), "nested deeper than 100 levels"),
    "far too deep": (lambda: Step(S.DONE, payload=deep(5_000)), "RecursionError"),
    "error has no words": (lambda: Step(S.RUNNING, error=Wordless()), "no words"),  # type: ignore[arg-type]
    "the class": (lambda: Step, "gave back a type"),
}


@pytest.mark.parametrize("effect", [False, True])
@pytest.mark.parametrize("name", STEPS)
async def test_what_it_gives_back(world: World, ref: ClusterRef, name: str, effect: bool) -> None:
    """FAILED with what was wrong, whether it had an effect or not; the cycle is a good one."""
    make, reason = STEPS[name]

    async def handler(scene: Scene) -> Any:
        del scene
        return make()

    action = await ordered(world, "bad")
    after = await ended(world, [ref], with_handler(await world.turn(), handler, effect=effect), action)

    assert (S.FAILED, None) == (after.state, after.intent)
    assert reason in str(after.error)


async def test_the_deepest_payload(world: World, ref: ClusterRef) -> None:
    """It is kept, and told."""

    async def handler(scene: Scene) -> Step:
        del scene
        return Step(S.DONE, payload=deep(100))

    action = await ordered(world, "bad")
    after = await ended(world, [ref], with_handler(await world.turn(), handler), action)

    assert (S.DONE, deep(100)) == (after.state, after.payload)


RAISED: dict[str, tuple[Callable[[], BaseException], str]] = {
    "cancelled": (asyncio.CancelledError, "CancelledError: "),
    "closed": (GeneratorExit, "GeneratorExit: "),
    "wordless": (Wordless, "Wordless: it cannot say what it is"),
    "group": (lambda: BaseExceptionGroup("two", [asyncio.CancelledError()]), "BaseExceptionGroup: two"),
    "stack": (RecursionError, "RecursionError: "),
}


@pytest.mark.parametrize("effect", [False, True])
@pytest.mark.parametrize("name", RAISED)
async def test_what_it_raises(world: World, ref: ClusterRef, name: str, effect: bool) -> None:
    """FAILED with what it was; the cycle is a good one, and so is that of another cluster of the batch."""
    make, reason = RAISED[name]
    other = await world.declare("billing", ("b1", "b2", "b3"))

    async def handler(scene: Scene) -> Step:
        del scene
        raise make()

    action = await ordered(world, "bad")
    after = await ended(world, [ref, other], with_handler(await world.turn(), handler, effect=effect), action)

    assert S.FAILED is after.state
    assert reason in str(after.error)


async def test_a_cycle_that_is_cancelled_says_nothing_of_the_action(world: World, ref: ClusterRef) -> None:
    """That is the worker's end and no fault of the handler: the action is as it was before this step."""
    begun = asyncio.Event()

    async def handler(scene: Scene) -> Step:
        del scene
        begun.set()
        await asyncio.Event().wait()
        return Step(S.DONE)

    action = await ordered(world, "bad")
    running = asyncio.create_task(cycle(with_handler(await world.turn(), handler), [ref], Mode.ORCHESTRATE))
    async with asyncio.timeout(5):
        await begun.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert running.cancelled()
    assert action == await world.action(action)


async def test_the_end_of_the_process_is_no_fault(world: World, ref: ClusterRef) -> None:
    """The signal of Prefect that says so passes through the handler that it meets."""

    async def handler(scene: Scene) -> Step:
        del scene
        raise TerminationSignal(signal=signal.SIGTERM)

    action = await ordered(world, "bad")
    with pytest.raises(TerminationSignal):
        await cycle(with_handler(await world.turn(), handler), [ref], Mode.ORCHESTRATE)

    assert action == await world.action(action)
