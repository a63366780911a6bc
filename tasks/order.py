"""What a person orders about an action: approve, reject, cancel. Compare-and-set, never under the cluster's lock."""

from __future__ import annotations

from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import ConflictError, NotFoundError, RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.namespace import Namespace
from blocks.models.record import Change
from blocks.store.protocol import Store
from tasks.decide.approval import check_in_time
from tasks.decide.lifecycle import moved
from tasks.decide.people import check_approver, check_staying
from tasks.decide.retry import retried
from tasks.decide.sync import refused, tell

TRIES_MAX = 5


@task(name="order", cache_policy=NO_CACHE)
async def order(
    store: Store,
    action_id: str,
    after: ActionState,
    who: str,
    why: str,
    now: datetime,
    only_from: ActionState | None = None,
    *,
    forced: bool = False,
) -> Action:
    """Move an action by order of a person, and tell of it, also when the move is refused.

    Args:
        store: the truth.
        action_id: which action.
        after: the state that the person wants.
        who: who orders it.
        why: a comment.
        now: the present.
        only_from: refuse the move from any other state, even if the table has it.
        forced: with an approval: it may go beyond budgets and health; `why` says why.

    Raises:
        NotFoundError: there is no such action.
        RefusedError: it cannot move there from where it is.
        ConflictError: it kept changing while we tried.
    """
    for _ in range(TRIES_MAX):
        action = await store.get(Action, action_id)
        if action is None:
            msg = f"there is no action {action_id}; `replictl actions` lists those that are known"
            raise NotFoundError(msg)
        try:
            await _may_approve(store, action, after, who, now)
            ordered = _ordered(action, after, who, why, now, only_from, forced)
        except RefusedError as error:
            await store.commit(Change(drafts=(refused(action.cluster, action, after, str(error)),)), now=now)
            raise
        try:
            await store.commit(Change(swaps=(ordered,), drafts=tuple(tell(action, ordered))), now=now)
        except ConflictError:
            continue
        return ordered
    msg = f"action {action_id} kept changing; try again"
    raise ConflictError(msg)


async def _may_approve(store: Store, action: Action, after: ActionState, who: str, now: datetime) -> None:
    if after is not ActionState.PENDING_SCHEDULE or action.state is not ActionState.PENDING_APPROVE:
        return
    home, what = await store.get(Namespace, action.namespace), f"action {action.action_id}"
    check_staying(home, what)
    check_in_time(home, action.created_at, now, what)
    check_approver(home, who, action.created_by, what)


def _ordered(
    action: Action, after: ActionState, who: str, why: str, now: datetime, only_from: ActionState | None, forced: bool
) -> Action:
    if forced and not why.strip():
        msg = "what is forced needs a reason: say why"
        raise RefusedError(msg)
    if only_from is not None and action.state is not only_from:
        msg = f"action {action.action_id} is {action.state}; this needs it to be {only_from}"
        raise RefusedError(msg)
    if after is ActionState.PENDING_SCHEDULE and action.state is ActionState.PENDING_APPROVE:
        return moved(
            action,
            after,
            now=now,
            who=who,
            why=why or "approved",
            approved_by=who,
            **({"forced": why} if forced else {}),
        )
    return moved(action, after, now=now, who=who, why=why)


@task(name="order once more", cache_policy=NO_CACHE)
async def order_again(store: Store, action_id: str, who: str, why: str, now: datetime) -> Action:
    """Order once more what failed; when that was done already, it is that order.

    Raises:
        NotFoundError: there is no such action, or its cluster or node is gone.
        RefusedError: it has not failed, or its namespace is being deleted.
    """
    action = await store.get(Action, action_id)
    if action is None:
        msg = f"there is no action {action_id}; `replictl actions --all` lists those that are known"
        raise NotFoundError(msg)
    again = retried(action, now=now, who=who, why=why)
    known = await store.get(Action, again.action_id)
    if known is not None:
        return known
    check_staying(await store.get(Namespace, action.namespace), f"action {action_id} once more")
    discovery = await store.get(Discovery, action.cluster.key)
    there = {node.node_id for node in discovery.nodes} if discovery is not None else set()
    if not await store.existing(ClusterSpec, {action.cluster.key}) or (
        action.node_id is not None and action.node_id not in there
    ):
        msg = f"{action.node or action.cluster} is not there any more"
        raise NotFoundError(msg)
    try:
        await store.commit(Change(swaps=(again,), drafts=tuple(tell(None, again))), now=now)
    except ConflictError:  # somebody ordered it at the same moment
        return await store.get(Action, again.action_id) or again
    return again
