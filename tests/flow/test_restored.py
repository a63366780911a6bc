"""Going on from a store that was set back: what was done since is not done again, what was told keeps its number."""

from __future__ import annotations

from copy import deepcopy

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.errors import RefusedError
from blocks.models.action import ActionState
from blocks.models.event import EventType
from doubles.actions import action_id, make_action
from doubles.views import REF
from doubles.world import World
from flows.cycle import Mode, cycle
from flows.restored import restored
from tasks.decide.restoring import Restored
from tasks.duties import Relay, relay_events
from tasks.gating import lift

S = ActionState


async def _cycle(world: World) -> None:
    world.advance(60)
    turn = await world.turn()
    await cycle(turn, [REF], Mode.ORCHESTRATE)


async def _restore(world: World) -> Restored:
    keeper = await world.worker("keeper")
    return await restored(keeper, world.store, world.bus, world.clock(), "ann", "the disk burned", world.clock)


async def test_what_was_sent_since_is_found_on_its_agent_and_not_sent_again(world: World) -> None:
    """The store knows them as unsent: one is done, one runs, one never arrived. Nothing is sent while all is frozen, then
    only what its agent does not have.
    """
    await world.declare(node_ids=("n1", "n2", "n3"))
    await _cycle(world)
    actions = [await world.order(make_action(n, node_id=f"n{n}")) for n in (1, 2, 3)]
    before = deepcopy(world.store)
    world.node("n3").down = True
    await _cycle(world)
    world.node("n1").move(action_id(1), S.DONE)
    world.store = before
    world.node("n3").down = False
    done = await _restore(world)
    await _cycle(world)
    frozen = [await world.action_state(action) for action in actions]
    await lift.fn(world.store, "freeze", "ann", "looked at", world.clock())
    await _cycle(world)

    assert 3 == done.doubted
    assert [S.DONE, S.NEW, S.PENDING_SCHEDULE] == frozen
    assert [S.DONE, S.NEW, S.NEW] == [await world.action_state(action) for action in actions]
    assert [1, 1, 1] == [len(world.node(f"n{n}").deliveries) for n in (1, 2, 3)]


async def test_what_was_told_since_is_read_back_from_the_bus(world: World) -> None:
    """Its events are history again, and what is told now has places behind them, in streams that are new as well."""
    await world.declare()
    await _cycle(world)
    before = deepcopy(world.store)
    await world.declare("younger", ("y1",))
    world.node("n2").down = True
    for _ in range(3):
        await _cycle(world)
    await relay_events.fn(world.store, world.bus, Relay(), world.clock())
    told = len(world.bus.events)
    lost = {event.event_id for event in world.events} - {event.event_id for event in before.log}
    world.store = before
    done = await _restore(world)
    again = await _restore(world)
    for _ in range(3):
        await _cycle(world)
    await relay_events.fn(world.store, world.bus, Relay(), world.clock())
    places = [(event.stream, event.sequence) for event in world.bus.events]

    assert (len(lost), 0) == (done.read_back, again.read_back)
    assert len(places) > told
    assert len(places) == len(set(places))
    assert lost <= {event.event_id for event in world.events}
    assert EventType.STORE_RESTORED in world.types()


async def test_what_nobody_can_be_asked_about_is_named(world: World) -> None:
    """An action on a whole cluster may have been done since: a person has to know."""
    await world.declare()
    await world.order(make_action(7, node_id=None, kind="core.replicante.io/debug.fail"))
    done = await _restore(world)

    assert (0, (action_id(7),)) == (done.doubted, done.on_clusters)


async def test_refused_while_workers_run(world: World) -> None:
    """They would tell events under numbers that are taken, and act on what is out of date."""
    await (await world.worker()).take(ClaimKind.WORKER, "worker-1", "works")
    with pytest.raises(RefusedError, match="1 workers are running, worker-1"):
        await _restore(world)

    assert [] == world.events
