"""Once more what failed: another action that points at the first, however often it is asked for."""

from __future__ import annotations

import asyncio

import pytest

from blocks.errors import NotFoundError, RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.event import EventType
from doubles.actions import action_id, make_action
from doubles.world import World
from tasks.order import order, order_again

S = ActionState


async def failed(world: World, **fields: object) -> Action:
    """An action that failed."""
    await world.declare()
    action = await world.order(make_action(state=S.FAILED, error="no disk", **fields))
    world.advance(5)
    return action


async def test_it_is_a_new_order_of_the_same(world: World) -> None:
    """Same node, kind, arguments and limits; waiting for approval, pointing at the old one, which stays as it is."""
    old = await failed(world, timeout_s=60.0)
    new = await order_again.fn(world.store, old.action_id, "bob", "disk replaced", world.clock())

    assert (old.node_id, old.kind, old.args, old.metadata, 60.0) == (
        new.node_id, new.kind, new.args, new.metadata, new.timeout_s,
    )  # fmt: skip
    assert (S.PENDING_APPROVE, old.action_id, "bob", None) == (new.state, new.retry_of, new.created_by, new.approved_by)
    assert S.FAILED is await world.action_state(old)
    assert EventType.ACTION_CREATED == world.types()[-1]


async def test_asked_for_twice_it_is_one(world: World) -> None:
    """One after the other or at the same moment; what failed again is retried by its own id."""
    old = await failed(world)
    first, second = await asyncio.gather(
        *(order_again.fn(world.store, old.action_id, who, "", world.clock()) for who in ("ann", "bob"))
    )
    third = await order_again.fn(world.store, old.action_id, "eve", "", world.clock())
    await order.fn(world.store, first.action_id, S.CANCELLED, "ann", "", world.clock())
    again = await order_again.fn(world.store, first.action_id, "ann", "", world.clock())

    assert 1 == len({first.action_id, second.action_id, third.action_id})
    assert (first.action_id, False) == (again.retry_of, again.action_id == first.action_id)
    assert 3 == len(await world.store.find(Action))


@pytest.mark.parametrize("state", [S.PENDING_APPROVE, S.PENDING_SCHEDULE, S.NEW, S.RUNNING, S.DONE])
async def test_only_of_what_failed(world: World, state: ActionState) -> None:
    """What may still succeed, or has, is not done twice."""
    await world.declare()
    action = await world.order(make_action(state=state))
    with pytest.raises(RefusedError, match=f"is {state}; only what is FAILED"):
        await order_again.fn(world.store, action.action_id, "bob", "", world.clock())


@pytest.mark.parametrize(
    "fields", [{"node_id": "n9"}, {"cluster_id": "billing"}, {"cluster_id": "billing", "node_id": None}]
)
async def test_not_where_nothing_is_any_more(world: World, fields: dict[str, str | None]) -> None:
    """A node or cluster that is gone is said."""
    action = await failed(world, **fields)
    with pytest.raises(NotFoundError, match="is not there any more"):
        await order_again.fn(world.store, action.action_id, "bob", "", world.clock())


async def test_of_an_unknown_action(world: World) -> None:
    """Said, with where to look."""
    with pytest.raises(NotFoundError, match="replictl actions --all"):
        await order_again.fn(world.store, action_id(7), "bob", "", world.clock())
