"""Actions whose cluster is gone: nobody looks after them, and a cluster that returns must not find them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import ConflictError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.record import Change
from blocks.models.rolling import UNFINISHED as UNFINISHED_ROLLINGS
from blocks.models.rolling import Rolling, RollingState
from blocks.store.protocol import Store, Where
from tasks.decide.lifecycle import moved
from tasks.decide.rolling import moved as rolling_moved
from tasks.decide.rolling import tell_rolling
from tasks.decide.sync import CORE, tell

READ_MAX = 100_000
UNFINISHED = tuple(state for state in ActionState if not state.final)
WHY = "its cluster was deleted"


@task(name="cancel orphaned actions", cache_policy=NO_CACHE)
async def cancel_all_orphans(store: Store, now: datetime) -> int:
    """Cancel unfinished actions, and rolling actions, of clusters that are neither declared nor discovered; returns how many
    actions.
    """
    unfinished, _ = await store.readable(Action, Where(action_states=UNFINISHED), limit=READ_MAX)
    cancelled = await cancel_orphans(store, unfinished, now)
    rollings, _ = await store.readable(Rolling, Where(rolling_states=UNFINISHED_ROLLINGS), limit=READ_MAX)
    gone = await gone_clusters(store, {rolling.cluster.key for rolling in rollings})
    for rolling in (one for one in rollings if one.cluster.key in gone):
        after = rolling_moved(rolling, RollingState.CANCELLED, now=now, who=CORE, why=WHY)
        with contextlib.suppress(ConflictError):
            await store.commit(Change(swaps=(after,), drafts=(tell_rolling(rolling, after),)), now=now)
    return len(cancelled)


async def cancel_orphans(store: Store, actions: Iterable[Action], now: datetime) -> list[Action]:
    """Cancel those of these actions whose cluster is gone; the others are left alone. What a person changes at this very
    moment is looked at again by the next `sweep`.
    """
    by_cluster: dict[str, list[Action]] = {}
    for action in actions:
        by_cluster.setdefault(action.cluster.key, []).append(action)
    gone = await gone_clusters(store, by_cluster.keys())
    cancelled = []
    for action in (action for key in sorted(gone) for action in by_cluster[key]):
        after = moved(action, ActionState.CANCELLED, now=now, who=CORE, why=WHY)
        try:
            await store.commit(Change(swaps=(after,), drafts=tuple(tell(action, after))), now=now)
        except ConflictError:
            continue
        cancelled.append(after)
    return cancelled


async def gone_clusters(store: Store, keys: Collection[str]) -> set[str]:
    """Those of these clusters that are neither declared nor discovered."""
    gone = set(keys) - await store.existing(ClusterSpec, keys) if keys else set()
    return gone - await store.existing(Discovery, gone) if gone else gone
