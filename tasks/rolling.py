"""Bring the rolling actions of a cluster on, under its lock and fence: one transaction with the actions that they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.coordinator.protocol import Claim
from blocks.errors import ConflictError
from blocks.models.action import Action, ActionState
from blocks.models.rolling import RollingPhase
from blocks.models.view import ClusterView
from blocks.store.protocol import Store
from tasks.decide.rolling import action_id_of
from tasks.decide.rolling_turn import front_of, turned
from tasks.hold import fence_of


@dataclass(frozen=True, slots=True)
class Rolled:
    """What came of it."""

    view: ClusterView
    """The cluster with its rolling actions and the actions that they made, as they are now."""
    changed: bool = False
    notes: tuple[str, ...] = ()


@task(name="bring rolling actions on", cache_policy=NO_CACHE)
async def roll_on(
    store: Store, view: ClusterView, claim: Claim, looked_at: datetime, clock: Callable[[], datetime]
) -> Rolled:
    """Begin the next batch, note what ended, wait for health, or end: whatever is next for each.

    Args:
        store: the truth.
        view: the cluster as it was just seen.
        claim: its lock.
        looked_at: when the looks began.
        clock: the present.

    Raises:
        FencedError: a newer holder has taken the cluster; nothing was written.
        DependencyUnavailableError: the store is gone; whether it was written is found out by reading.
    """
    turn = turned(view, await _made(store, view), now=looked_at)
    if turn.change.empty:
        return Rolled(view)
    try:
        await store.commit(turn.change, now=clock(), fence=fence_of(claim))
    except ConflictError:
        return Rolled(view, notes=("a person changed a rolling action, or an action of one, just now",))
    return Rolled(turn.view, changed=True)


async def _made(store: Store, view: ClusterView) -> dict[str, Action]:
    """The actions of the batch that is under way, also those that have ended: those that failed say why."""
    rolling = front_of(view)
    if rolling is None or rolling.phase is not RollingPhase.ACTING:
        return {}
    ids = {
        action_id_of(rolling, node_id)
        for node_id in rolling.now_on
        if rolling.ended.get(node_id) is not ActionState.DONE
    }
    return await store.get_many(Action, ids - view.actions.keys())
