"""Collect what is known about an action or a cluster, for the question why it does not move."""

from __future__ import annotations

from datetime import datetime

from blocks.coordinator.protocol import ClaimKind, Coordinator
from blocks.errors import DependencyUnavailableError, NotFoundError
from blocks.models.action import Action
from blocks.models.ids import ClusterRef
from blocks.models.request import WorkKind, WorkState, work_key
from blocks.models.view import ClusterView
from blocks.store.protocol import Store
from tasks.budget import taken
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.why import Circumstances, Lock

QUEUE_MAX = 10_000


async def load_why(
    store: Store, coordinator: Coordinator | None, ref: ClusterRef, now: datetime
) -> tuple[ClusterView, Circumstances]:
    """The cluster, and what is known beside it; without a coordinator nothing is known of locks.

    Raises:
        NotFoundError: there is no such cluster.
        DependencyUnavailableError: the store is gone.
    """
    views = await store.views([ref])
    if ref.key not in views:
        message = f"there is no cluster {ref}; `replictl clusters` lists those that are known"
        raise NotFoundError(message)
    key = work_key(WorkKind.ORCHESTRATE, ref.key)
    items = {item.key: item for item in await store.list_work(limit=QUEUE_MAX)}
    item, ahead = items.get(key), None
    if item is not None and item.state is WorkState.QUEUED:
        place = (item.priority, item.wanted_at or now, item.key)
        ahead = sum(
            one.state is WorkState.QUEUED and (one.priority, one.wanted_at or now, one.key) < place
            for one in items.values()
        )
    view = views[ref.key]
    _, holders = await taken(store, view.namespace)
    return view, Circumstances(
        now=now,
        kinds=CATALOGUE,
        lock=await _lock(coordinator, ref),
        item=item,
        ahead=ahead,
        holders=frozenset(holders),
    )


async def _lock(coordinator: Coordinator | None, ref: ClusterRef) -> Lock | None:
    if coordinator is None:
        return None
    try:
        holders = await coordinator.holders(ClaimKind.LOCK)
    except DependencyUnavailableError:
        return None
    found = next((holder for holder in holders if holder.name == ref.key), None)
    return Lock(found.owner, found.since, found.purpose) if found is not None else None


async def known_action(store: Store, action_id: str) -> Action:
    """An action.

    Raises:
        NotFoundError: there is none of that id.
    """
    action = await store.get(Action, action_id)
    if action is None:
        message = f"there is no action {action_id}; `replictl actions --all` lists those that are known"
        raise NotFoundError(message)
    return action
