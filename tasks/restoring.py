"""Steps of going on from a store that was set back to an earlier moment."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.event_bus.protocol import EventBus
from blocks.models.action import Action, ActionState
from blocks.models.record import Change
from blocks.store.protocol import Store, Where
from tasks.decide.restoring import doubted

AT_ONCE = 100
_UNSENT = (ActionState.PENDING_APPROVE, ActionState.PENDING_SCHEDULE)


@task(name="read events back", cache_policy=NO_CACHE)
async def read_back(store: Store, bus: EventBus, since: datetime) -> int:
    """Keep what the bus has of this moment and later and the store has lost; returns how many events."""
    lost = 0
    async with aclosing(bus.recorded(since)) as pieces:
        async for events in pieces:
            lost += await store.read_back(events) if events else 0
    return lost


@task(name="doubt actions", cache_policy=NO_CACHE)
async def doubt_actions(store: Store, now: datetime) -> int:
    """Have agents asked for every action that looks unsent; returns how many were not asked for before.

    Raises:
        ConflictError: somebody changed one at the same moment; do it again.
    """
    count = 0
    async for actions, _ in store.pages(Action, Where(action_states=_UNSENT)):
        changed = [after for action in actions if (after := doubted(action, now)) is not None]
        for at in range(0, len(changed), AT_ONCE):
            await store.commit(Change(swaps=tuple(changed[at : at + AT_ONCE])), now=now)
        count += len(changed)
    return count
