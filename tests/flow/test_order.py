from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest

from blocks.errors import ConflictError, NotFoundError, RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.event import EventType
from blocks.models.namespace import NamespaceSettings
from doubles.actions import action_id, make_action
from doubles.store import MemoryStore
from doubles.world import World
from tasks.decide.lifecycle import TABLE
from tasks.order import TRIES_MAX, order

S = ActionState


@dataclass(frozen=True)
class Order:
    """What a person may order, as the flows of that name do it."""

    after: ActionState
    only_from: ActionState | None = None


APPROVE, REJECT, CANCEL = Order(S.PENDING_SCHEDULE), Order(S.CANCELLED, S.PENDING_APPROVE), Order(S.CANCELLED)


async def _ordered(world: World, wanted: Order, *, store: MemoryStore | None = None) -> Action:
    now = world.clock()
    return await order.fn(store or world.store, action_id(1), wanted.after, "ann", "because", now, wanted.only_from)


@pytest.mark.parametrize("state", sorted(S))
@pytest.mark.parametrize("wanted", [APPROVE, REJECT, CANCEL], ids=["approve", "reject", "cancel"])
async def test_orders_follow_the_table(world: World, wanted: Order, state: ActionState) -> None:
    """Allowed: moved, with who and why, and told. Not allowed: nothing moves, and that is told as well."""
    action = make_action(state=state, version=1)
    await world.save(action)
    if wanted.after in TABLE[state] and wanted.only_from in {None, state}:
        after = await _ordered(world, wanted)

        assert (wanted.after, 2, "ann") == (after.state, after.version, after.history[-1].who)
        assert after == await world.action(action)
    else:
        with pytest.raises(RefusedError, match=f"is {state}"):
            await _ordered(world, wanted)

        assert action == await world.action(action)
        assert [EventType.ACTION_REFUSED] == world.types()


async def test_who_approved_is_kept(world: World) -> None:
    """Approval is attributed."""
    await world.save(make_action(state=S.PENDING_APPROVE, version=1))

    assert "ann" == (await _ordered(world, APPROVE)).approved_by


@pytest.mark.parametrize(("after_s", "in_time"), [(3_600.0, True), (3_601.0, False)])
async def test_approval_in_time(world: World, after_s: float, in_time: bool) -> None:
    """After its time nobody approves it any more, also where no cycle has cancelled it; it can still be rejected."""
    now = world.clock()
    ends = now + timedelta(hours=1)
    await world.declare(settings=NamespaceSettings(approval_within=3_600.0))
    await world.save(make_action(state=S.PENDING_APPROVE, created_at=now, version=1))
    world.advance(after_s)
    if in_time:
        assert S.PENDING_SCHEDULE is (await _ordered(world, APPROVE)).state
    else:
        with pytest.raises(RefusedError, match=f"approved until {ends:%Y-%m-%dT%H:%M:%SZ}: order it"):
            await _ordered(world, APPROVE)

        assert S.CANCELLED is (await _ordered(world, REJECT)).state


async def test_an_unknown_action(world: World) -> None:
    """A sentence that names it and how to list the known ones."""
    with pytest.raises(NotFoundError, match=f"no action {action_id(1)}; `replictl actions`"):
        await _ordered(world, CANCEL)


class Racing(MemoryStore):
    """Somebody else changes the action between our reading and our writing, so many times."""

    def __init__(self, world: World, times: int, state: ActionState) -> None:
        super().__init__()
        self.__dict__ |= world.store.__dict__
        self.times, self.state = times, state

    async def get(self, type_: type, key: str) -> object:  # type: ignore[override]
        """Read, then lose the race."""
        action = await super().get(type_, key)
        if isinstance(action, Action) and self.times:
            self.times -= 1
            self.records[Action][key] = action.evolve(version=action.version + 1, state=self.state)
        return action


async def test_an_order_that_loses_a_race_reads_again(world: World) -> None:
    """The cycle moved the action meanwhile: the order is judged on the new state."""
    await world.save(make_action(state=S.PENDING_SCHEDULE, version=1))
    after = await _ordered(world, CANCEL, store=Racing(world, 2, S.RUNNING))

    assert (S.CANCELLED, S.RUNNING) == (after.state, after.history[-1].before)


async def test_an_order_that_lost_to_the_end_is_refused(world: World) -> None:
    """The action finished meanwhile: it stays finished."""
    await world.save(make_action(state=S.RUNNING, version=1))
    with pytest.raises(RefusedError, match="is DONE"):
        await _ordered(world, CANCEL, store=Racing(world, 1, S.DONE))

    assert S.DONE is await world.action_state(make_action())


async def test_an_order_gives_up_after_a_while(world: World) -> None:
    """An action that never stands still: so many tries, then a sentence."""
    await world.save(make_action(state=S.RUNNING, version=1))
    store = Racing(world, 1_000, S.RUNNING)
    with pytest.raises(ConflictError, match="kept changing; try again"):
        await _ordered(world, CANCEL, store=store)

    assert 1_000 - TRIES_MAX == store.times
