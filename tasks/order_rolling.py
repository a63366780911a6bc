"""What a person orders about rolling actions: a new one, and its moves. Compare-and-set, never under the cluster's lock."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import ConflictError, InvalidInputError, NotFoundError, RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.base import Json
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.record import Change
from blocks.models.rolling import Pace, Prospect, Rolling, RollingPlan, RollingState
from blocks.models.view import ClusterView
from blocks.store.protocol import Store
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.approval import check_in_time
from tasks.decide.lifecycle import moved as action_moved
from tasks.decide.people import check_approver, check_staying
from tasks.decide.rolling import (
    action_ids_of,
    again,
    left_of,
    moved,
    ordered,
    refuse_rolling,
    retry_id,
    tell_rolling,
)
from tasks.decide.rolling_plan import disorderly, members_of, other_members, planned, prospect, selected
from tasks.decide.sync import tell
from tasks.order import TRIES_MAX

S = RollingState


async def cluster_of(store: Store, ref: ClusterRef) -> ClusterView:
    """A cluster as stored.

    Raises:
        NotFoundError: there is no such cluster.
    """
    views = await store.views([ref])
    if ref.key not in views:
        message = f"there is no cluster {ref}; `replictl clusters` lists those that are known"
        raise NotFoundError(message)
    return views[ref.key]


async def known_rolling(store: Store, rolling_id: str) -> Rolling:
    """A rolling action.

    Raises:
        NotFoundError: there is none of that id.
    """
    rolling = await store.get(Rolling, rolling_id)
    if rolling is None:
        message = f"there is no action and no rolling action {rolling_id}; `replictl rolling --all` lists those that are known"
        raise NotFoundError(message)
    return rolling


async def proposed(
    store: Store,
    ref: ClusterRef,
    kind: str,
    args: Json,
    choice: dict[str, Any],
    pace: Pace,
    force: str | None,
    now: datetime,
) -> Prospect:
    """The plan for a cluster as it is stored, and what speaks against it now.

    Raises:
        InvalidInputError: what is asked for cannot be.
        NotFoundError: there is no such cluster.
    """
    if force is not None and not force.strip():
        message = "what is forced needs a reason: say why"
        raise InvalidInputError(message)
    view = await cluster_of(store, ref)
    plan = planned(view, kind, args, selected(view, now, **choice), pace, CATALOGUE, tolerating=force is not None)
    return prospect(view, plan, force, now)


@task(name="order rolling action", cache_policy=NO_CACHE)
async def order_new(
    store: Store,
    view: ClusterView,
    plan: RollingPlan,
    rolling_id: str,
    who: str,
    why: str,
    now: datetime,
    *,
    forced: str | None = None,
    granted: bool = False,
    digest: str | None = None,
) -> Rolling:
    """Order what a plan says; asked for twice under one id it is one order.

    Args:
        store: the truth.
        view: the cluster that the plan was made for.
        plan: exactly what is to be done.
        rolling_id: the id of the new order.
        who: who orders it.
        why: a comment.
        now: the present.
        forced: why it may begin although the cluster is not well, and go beyond budgets; None: it may not.
        granted: it needs no approval.
        digest: only if that is the plan's: it is still the one that was shown.

    Raises:
        RefusedError: it is another plan, or the cluster is not fit for it, or whoever orders may not approve, or its
            namespace is being deleted.
    """
    known = await store.get(Rolling, rolling_id)
    if known is not None:
        return known
    if digest not in {None, plan.digest}:
        message = f"the plan is {plan.digest} now, not {digest}: the cluster has changed since it was shown, look again"
        raise RefusedError(message)
    check_staying(view.namespace, f"a rolling action on {view.ref}")
    against = prospect(view, plan, forced, now).unwell
    if against and forced is None:
        message = f"cluster {view.ref} is not fit for a rolling action: {'; '.join(against[:5])}. To do it all the same, force it, with a reason"
        raise RefusedError(message)
    if granted:
        check_approver(view.namespace, who, who, f"a rolling action on {view.ref}")
    state = S.RUNNING if granted else S.PENDING_APPROVE
    made = Rolling(
        rolling_id=rolling_id, plan=plan, state=state, created_at=now, created_by=who, reason=why,
        approved_by=who if granted else None, forced=forced,
    )  # fmt: skip
    return await _stored(store, ordered(made, now=now, who=who, why=why or "ordered"), now)


@task(name="order about rolling action", cache_policy=NO_CACHE)
async def order_rolling(
    store: Store,
    rolling_id: str,
    after: RollingState,
    who: str,
    why: str,
    now: datetime,
    only_from: RollingState | None = None,
    *,
    forced: bool = False,
    digest: str | None = None,
) -> Rolling:
    """Move a rolling action by order of a person, and tell of it, also when the move is refused.

    Args:
        store: the truth.
        rolling_id: which one.
        after: the state that the person wants.
        who: who orders it.
        why: a comment.
        now: the present.
        only_from: refuse the move from any other state, even if the table has it.
        forced: with an approval: its actions may go beyond budgets and health; `why` says why.
        digest: with an approval: only if that is the digest of its plan.

    Raises:
        NotFoundError: there is no such rolling action.
        RefusedError: it cannot move there from where it is, or its cluster is not the one of its plan any more.
        ConflictError: it kept changing while we tried.
    """
    for _ in range(TRIES_MAX):
        rolling = await known_rolling(store, rolling_id)
        try:
            lapsed = await _checked(store, rolling, after, who, why, now, only_from, forced=forced, digest=digest)
            state, reason = (after, why) if lapsed is None else (S.LAPSED, lapsed)
            next_ = moved(rolling, state, now=now, who=who, why=reason, **_facts(rolling, state, who, reason, forced))
        except RefusedError as error:
            await store.commit(Change(drafts=(refuse_rolling(rolling, after, who, str(error)),)), now=now)
            raise
        change = Change(swaps=(next_,), drafts=(tell_rolling(rolling, next_),)) + await _unsent(store, next_, who, now)
        try:
            await store.commit(change, now=now)
        except ConflictError:
            continue
        if lapsed is not None:
            message = f"rolling action {rolling_id} has lapsed: {lapsed}; order it again to see the new plan"
            raise RefusedError(message)
        return next_
    message = f"rolling action {rolling_id} kept changing; try again"
    raise ConflictError(message)


@task(name="order the rest of a rolling action", cache_policy=NO_CACHE)
async def order_rest(store: Store, rolling_id: str, who: str, why: str, now: datetime) -> Rolling:
    """Order what a rolling action did not do, by a new plan for these nodes; when that was done already, it is that order.

    Raises:
        NotFoundError: there is no such rolling action, its cluster is gone, or none of the nodes is left in it.
        RefusedError: it is not finished, or nothing is left of it, or the cluster is not fit for it, or its namespace is
            being deleted.
    """
    old = await known_rolling(store, rolling_id)
    known = await store.get(Rolling, retry_id(old))
    if known is not None:
        return known
    left = left_of(old, await store.get_many(Action, action_ids_of(old)))
    view = await cluster_of(store, old.cluster)
    check_staying(view.namespace, f"the rest of rolling action {rolling_id}")
    there = [node_id for node_id in left if node_id in members_of(view)]
    if not there:
        message = f"none of the nodes that are left of it is in cluster {old.cluster} any more"
        raise NotFoundError(message)
    plan = planned(
        view, old.plan.kind, old.plan.args, there, old.plan.pace, CATALOGUE, tolerating=old.forced is not None
    )
    against = prospect(view, plan, old.forced, now).unwell
    if against and old.forced is None:
        message = f"cluster {view.ref} is not fit for a rolling action: {'; '.join(against[:5])}"
        raise RefusedError(message)
    return await _stored(store, again(old, plan, now=now, who=who, why=why), now)


async def _stored(store: Store, new: Rolling, now: datetime) -> Rolling:
    try:
        await store.commit(Change(swaps=(new,), drafts=(tell_rolling(None, new),)), now=now)
    except ConflictError:  # somebody ordered it at the same moment
        return await store.get(Rolling, new.rolling_id) or new
    return new


async def _checked(
    store: Store,
    rolling: Rolling,
    after: RollingState,
    who: str,
    why: str,
    now: datetime,
    only_from: RollingState | None,
    *,
    forced: bool,
    digest: str | None,
) -> str | None:
    """Why an approval lapses instead; None: it does not, or this is none.

    Raises:
        RefusedError: the person may not order this.
    """
    if forced and not why.strip():
        message = "what is forced needs a reason: say why"
        raise RefusedError(message)
    if only_from is not None and rolling.state is not only_from:
        message = f"rolling action {rolling.rolling_id} is {rolling.state}; this needs it to be {only_from}"
        raise RefusedError(message)
    if after is not S.RUNNING:
        return None
    if digest is not None and digest != rolling.plan.digest:
        message = f"the plan of rolling action {rolling.rolling_id} is {rolling.plan.digest}, not {digest}"
        raise RefusedError(message)
    home, what = await store.get(Namespace, rolling.namespace), f"rolling action {rolling.rolling_id}"
    check_staying(home, what)
    if rolling.state is S.PENDING_APPROVE:
        check_in_time(home, rolling.created_at, now, what)
        check_approver(home, who, rolling.created_by, what)
    view = await cluster_of(store, rolling.cluster)
    return other_members(view, rolling.plan) or (
        disorderly(view, rolling) if rolling.state is S.PENDING_APPROVE else None
    )


def _facts(rolling: Rolling, after: RollingState, who: str, why: str, forced: bool) -> dict[str, Any]:
    """What changes with a move beside the state."""
    if after is S.LAPSED:
        return {"error": why}
    if after is not S.RUNNING:
        return {}
    waits: dict[str, Any] = {"since": None, "healthy_since": None}
    if rolling.state is not S.PENDING_APPROVE:
        return waits
    return {**waits, "approved_by": who, **({"forced": why} if forced else {})}


async def _unsent(store: Store, rolling: Rolling, who: str, now: datetime) -> Change:
    """Its actions that have not begun end with it at once. One that may have reached its agent is left to the cycle."""
    if not rolling.state.final:
        return Change()
    known = await store.get_many(Action, action_ids_of(rolling))
    why = f"its rolling action {rolling.rolling_id} is {rolling.state}"
    waiting = [one for one in known.values() if one.state is ActionState.PENDING_SCHEDULE and one.intent is None]
    gone = [action_moved(one, ActionState.CANCELLED, now=now, who=who, why=why, error=why) for one in waiting]
    drafts = tuple(event for before, after in zip(waiting, gone, strict=True) for event in tell(before, after))
    return Change(swaps=tuple(gone), drafts=drafts)
