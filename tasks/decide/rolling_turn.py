"""What a cycle does about the rolling actions of its cluster. Pure: the new view and their stored actions go in, a change comes out.

One at a time on a cluster, the oldest order first. Its batch is made in one transaction with the step of the rolling action
itself; the ids of the actions follow from it, so that whoever does that again after a crash makes no second one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from blocks.models.action import Action, ActionState
from blocks.models.event import EventDraft
from blocks.models.record import Change
from blocks.models.rolling import Rolling, RollingPhase, RollingState
from blocks.models.view import ClusterView
from tasks.decide.approval import approve_by
from tasks.decide.choose import in_doubt
from tasks.decide.gates import closed
from tasks.decide.lifecycle import moved as action_moved
from tasks.decide.rolling import CORE, action_id_of, actions_of, moved, tell_rolling
from tasks.decide.rolling_plan import disorderly, other_members, unwell
from tasks.decide.sync import tell

S, P, A = RollingState, RollingPhase, ActionState
ACTIVE = frozenset({S.RUNNING, S.PAUSED})


@dataclass(frozen=True, slots=True)
class Turned:
    """What is to be saved, and the view with it."""

    view: ClusterView
    change: Change = field(default_factory=Change)


def turned(view: ClusterView, known: Mapping[str, Action], *, now: datetime) -> Turned:
    """One turn of all rolling actions of a cluster.

    Args:
        view: the cluster as it was just seen.
        known: the actions that they have made so far, as stored, by id; the view's are newer.
        now: when the cycle looked.
    """
    actions = {**known, **view.actions}
    after = Turned(view)
    for rolling in view.rollings.values():  # where one ends, the next one has its turn at once
        if rolling is not front_of(after.view) and rolling.state is not S.PENDING_APPROVE:
            continue
        step = _step(view, rolling, actions, now)
        if step is not None:
            after = _with(after, rolling, step[0], step[1])
    for action, gone in _left_over(after.view, now):
        actions = {**after.view.actions, gone.action_id: gone}
        change = Change(swaps=(gone,), drafts=tuple(tell(action, gone)))
        after = Turned(replace(after.view, actions=actions), after.change + change)
    return after


def front_of(view: ClusterView) -> Rolling | None:
    """The rolling action whose turn it is: the oldest that was approved and is not finished."""
    return next((one for one in view.rollings.values() if one.state in ACTIVE), None)


def waits_until(view: ClusterView) -> datetime | None:
    """When the rolling action whose turn it is can go on although nothing changes; None: nobody knows."""
    rolling = front_of(view)
    if rolling is None or rolling.state is not S.RUNNING or rolling.healthy_since is None:
        return None
    return rolling.healthy_since + timedelta(seconds=rolling.plan.pace.settle_s)


def _with(turn: Turned, before: Rolling, after: Rolling, actions: tuple[Action, ...]) -> Turned:
    """The turn with one more change of a rolling action; it is told of where people care."""
    after = after.evolve(version=before.version + 1)
    told = actions or any(getattr(before, name) != getattr(after, name) for name in ("state", "batch", "ended"))
    drafts: tuple[EventDraft, ...] = (tell_rolling(before, after),) if told else ()
    drafts += tuple(event for one in actions for event in tell(None, one))
    view = replace(
        turn.view,
        rollings={**turn.view.rollings, after.rolling_id: after},
        actions={**turn.view.actions, **{one.action_id: one for one in actions}},
    )
    return Turned(view, turn.change + Change(swaps=(after, *actions), drafts=drafts))


Step = tuple[Rolling, tuple[Action, ...]]


def _step(view: ClusterView, rolling: Rolling, actions: Mapping[str, Action], now: datetime) -> Step | None:
    """One rolling action's step; None where nothing changed."""
    after = _collected(rolling, actions, now)
    if (why := other_members(view, rolling.plan)) is not None:
        return _over(after, S.LAPSED, why, now)
    if rolling.state is S.PENDING_APPROVE:
        return _expired(view, rolling, now)
    if rolling.state is S.PAUSED:
        return _changed(rolling, after)
    if (why := _failure(after, actions)) is not None:
        return _over(after, S.FAILED, why, now)
    return _phase(view, rolling, after, now)


def _phase(view: ClusterView, rolling: Rolling, after: Rolling, now: datetime) -> Step | None:
    """What a running one does next."""
    if after.phase is P.ACTING:
        return _changed(rolling, _timed(view, after, now)) or _late(after, now)
    if after.phase is P.SETTLING:
        after = _settling(view, after, now)
        if after.phase is P.SETTLING:
            return _changed(rolling, after) or _ill(view, after, now)
        if after.batch >= len(after.plan.batches):
            return _over(after, S.DONE, _done(after), now)
    return _next(view, rolling, after, now)


def _expired(view: ClusterView, rolling: Rolling, now: datetime) -> Step | None:
    settings = view.namespace.settings
    ends = approve_by(rolling.created_at, settings)
    if ends is None or ends >= now:
        return None
    return _over(rolling, S.CANCELLED, f"nobody approved it within {settings.approval_within:g} s", now)


def _next(view: ClusterView, rolling: Rolling, after: Rolling, now: datetime) -> Step | None:
    """The next batch begins, if nothing speaks against it."""
    if _shut(view, now):
        return _changed(rolling, after.evolve(since=None))
    if unwell(view, after.plan):
        return _changed(rolling, after.evolve(since=after.since or now)) or _ill(view, after, now)
    if (why := disorderly(view, after)) is not None:
        return _over(after, S.LAPSED, why, now)
    after = after.evolve(phase=P.ACTING, since=now, healthy_since=None)
    return after, actions_of(after, now=now)


def _changed(before: Rolling, after: Rolling) -> Step | None:
    return None if after == before else (after, ())


def _over(rolling: Rolling, state: RollingState, why: str, now: datetime) -> Step:
    error = why if state in {S.FAILED, S.LAPSED} else None
    return moved(rolling, state, now=now, who=CORE, why=why, error=error), ()


def _collected(rolling: Rolling, actions: Mapping[str, Action], now: datetime) -> Rolling:
    """With the ends of its actions that are known now; one that is not stored any more is lost."""
    if rolling.phase is not P.ACTING:
        return rolling
    ended = dict(rolling.ended)
    for node_id in rolling.now_on:
        action = actions.get(action_id_of(rolling, node_id))
        if node_id not in ended and (action is None or action.state.final):
            ended[node_id] = action.state if action is not None else A.LOST
    if ended.keys() >= set(rolling.now_on):
        return rolling.evolve(ended=ended, phase=P.SETTLING, since=now, healthy_since=None)
    return rolling.evolve(ended=ended)


def _failure(rolling: Rolling, actions: Mapping[str, Action]) -> str | None:
    """Why it is given up: more nodes failed than it may have."""
    failed = rolling.failed
    if len(failed) <= rolling.plan.pace.failures_max:
        return None
    last = failed[-1]
    action = actions.get(action_id_of(rolling, last))
    reason = action.error if action is not None and action.error else "no reason is known"
    more = (
        f" ({len(failed)} nodes failed, {rolling.plan.pace.failures_max} may)" if rolling.plan.pace.failures_max else ""
    )
    return f"its action on {last} is {rolling.ended[last]}: {reason}{more}"


def _shut(view: ClusterView, now: datetime) -> bool:
    return any(closed(view.gates, now)) or not view.namespace.may_act


def _timed(view: ClusterView, rolling: Rolling, now: datetime) -> Rolling:
    """While a gate is closed the time of a batch stands still; it begins anew when the gate opens."""
    return rolling.evolve(since=None if _shut(view, now) else rolling.since or now)


def _late(rolling: Rolling, now: datetime) -> Step | None:
    limit_s = rolling.plan.pace.batch_within_s
    if rolling.since is None or now - rolling.since <= timedelta(seconds=limit_s):
        return None
    left = ", ".join(node_id for node_id in rolling.now_on if node_id not in rolling.ended)
    return _over(rolling, S.FAILED, f"batch {rolling.batch + 1} was not done within {limit_s:g} s: {left}", now)


def _settling(view: ClusterView, rolling: Rolling, now: datetime) -> Rolling:
    """At the next batch, when the cluster has been healthy for long enough after this one."""
    if unwell(view, rolling.plan):
        return rolling.evolve(since=rolling.since or now, healthy_since=None)
    since = rolling.healthy_since or now
    if now - since < timedelta(seconds=rolling.plan.pace.settle_s):
        return rolling.evolve(since=rolling.since or now, healthy_since=since)
    return rolling.evolve(batch=rolling.batch + 1, phase=P.NEXT, since=None, healthy_since=None)


def _ill(view: ClusterView, rolling: Rolling, now: datetime) -> Step | None:
    limit_s = rolling.plan.pace.health_within_s
    why = unwell(view, rolling.plan)
    if not why or rolling.since is None or now - rolling.since <= timedelta(seconds=limit_s):
        return None
    return _over(rolling, S.FAILED, f"the cluster did not become healthy within {limit_s:g} s: {why[0]}", now)


def _done(rolling: Rolling) -> str:
    failed = rolling.failed
    return "all batches are done" + (f"; on {len(failed)} nodes it failed: {', '.join(failed[:5])}" if failed else "")


def _left_over(view: ClusterView, now: datetime) -> Iterator[tuple[Action, Action]]:
    """Actions that have not begun and whose rolling action is over, cancelled; unless one may have reached its agent."""
    for action in view.actions.values():
        if action.rolling_id is None or action.state is not A.PENDING_SCHEDULE or in_doubt(view, action, now):
            continue
        rolling = view.rollings.get(action.rolling_id)
        if rolling is None or rolling.state.final:
            state = rolling.state if rolling is not None else "gone"
            why = f"its rolling action {action.rolling_id} is {state}"
            yield action, action_moved(action, A.CANCELLED, now=now, who=CORE, why=why, error=why)
