"""Saboteurs of chaos runs: each really breaks its rule, and tells when it did and only then."""

from __future__ import annotations

import asyncio

import pytest

from blocks.models.action import Action, ActionState
from blocks.models.event import EventType
from blocks.models.ids import ClusterRef
from blocks.models.request import Priority, WorkKind
from doubles.actions import make_action
from doubles.views import address
from doubles.world import World
from flows.cycle import Mode, cycle
from flows.shift import Shift
from flows.steps import Steps, Turn
from infra.chaos.saboteur import sabotaged
from tasks.decide.gating import EVERYTHING, freeze_of
from tasks.gating import place

S = ActionState


async def broken(world: World, switch: str) -> tuple[Shift, list[int]]:
    """A shift that breaks a rule, and what it tells of it."""
    deeds: list[int] = []
    return sabotaged(await world.shift(asyncio.Event()), switch, lambda: deeds.append(1)), deeds


async def turned(world: World, shift: Shift, ref: ClusterRef) -> None:
    """One cycle of it."""
    turn = Turn(shift.coordinator, shift.store, shift.agents, shift.clock, Steps(watched=False), world.outside)
    await cycle(turn, [ref], Mode.ORCHESTRATE)
    world.advance(2)


async def sent(world: World, switch: str) -> tuple[Action, list[int]]:
    """An action that was ordered, after one cycle."""
    ref, action = await world.declare(), await world.order(make_action())
    shift, deeds = await broken(world, switch)
    await turned(world, shift, ref)
    return action, deeds


async def ended(world: World, switch: str) -> tuple[Action, list[int]]:
    """An action that its agent has ended, after the cycle that finds that out."""
    ref, action = await world.declare(), await world.order(make_action())
    shift, deeds = await broken(world, switch)
    await turned(world, shift, ref)
    world.agents.nodes[address(action.node_id or "")].move(action.action_id, S.DONE)
    await turned(world, shift, ref)
    return action, deeds


async def test_gates_sends_into_a_freeze_and_tells(world: World) -> None:
    """A deed is what is sent although a gate is closed."""
    freeze = freeze_of(EVERYTHING, "disk trouble", None, "ann", world.clock())
    await place.fn(world.store, freeze, world.clock())
    action, deeds = await sent(world, "gates")

    assert ([1], [action.action_id]) == (deeds, [one for _, one in world.agents.sent])


async def test_gates_does_nothing_wrong_where_nothing_is_closed(world: World) -> None:
    """What is sent while everything is open is no deed."""
    _, deeds = await sent(world, "gates")

    assert ([], 1) == (deeds, len(world.agents.sent))


async def test_dedupe_sends_twice_and_tells(world: World) -> None:
    """The agent takes the same order under two ids."""
    _, deeds = await sent(world, "dedupe")

    assert ([1], 2) == (deeds, len(world.agents.sent))


async def test_intent_sends_what_was_not_saved_and_tells(world: World) -> None:
    """The agent has it, the store does not know that it was to be sent."""
    action, deeds = await sent(world, "intent")

    assert ([1], 1, None) == (deeds, len(world.agents.sent), (await world.action(action)).intent)


async def test_fence_writes_without_one_and_tells(world: World) -> None:
    """What was seen is written by somebody who holds nothing."""
    _, deeds = await sent(world, "fence")

    assert [1] == deeds


async def test_final_takes_up_again_and_tells(world: World) -> None:
    """What was done runs again."""
    action, deeds = await ended(world, "final")

    assert ([1], S.RUNNING) == (deeds, (await world.action(action)).state)


async def test_events_ends_an_action_in_silence_and_tells(world: World) -> None:
    """The action is done, and nobody heard of it."""
    action, deeds = await ended(world, "events")

    assert ([1], S.DONE) == (deeds, (await world.action(action)).state)
    assert EventType.ACTION_FINISHED not in world.types()


@pytest.mark.parametrize("by_pointer", [True, False])
async def test_work_forgets_what_it_claimed_and_tells(world: World, *, by_pointer: bool) -> None:
    """What is claimed, by pointers or without, is never done where it is about a cluster."""
    now, kinds = world.clock(), (WorkKind.ORCHESTRATE, WorkKind.DISCOVER)
    for kind in kinds:
        await world.store.ask_many(kind, ["prod/c1", "prod/c2"], Priority.ROUTINE, now)
    await world.store.queue_due(now, 10)
    keys = [item.key for item in await world.store.list_work()]
    shift, deeds = await broken(world, "work")
    claimed = (
        await shift.store.claim_work(keys, "w", now) if by_pointer else await shift.store.claim_any(kinds, "w", now, 10)
    )

    assert ([1, 1], [WorkKind.DISCOVER] * 2) == (deeds, [item.kind for item in claimed])


async def test_outbox_says_published_what_is_not_and_tells(world: World) -> None:
    """One of seven events is never on the bus."""
    ref = await world.declare()
    await turned(world, await world.shift(asyncio.Event()), ref)
    events = await world.store.unpublished(100)
    shift, deeds = await broken(world, "outbox")
    told = await shift.bus.publish(events)

    assert ([1], {event.event_id for event in events}) == (deeds, set(told))
    assert len(world.bus.events) < len(events)
