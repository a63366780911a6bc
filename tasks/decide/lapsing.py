"""What waits too long: what becomes of an action that nobody approves, and of one that was approved and could not begin."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from blocks.models.action import Action, ActionState
from blocks.models.view import ClusterView
from tasks.decide.approval import approve_by
from tasks.decide.gates import open_since
from tasks.decide.lifecycle import moved, ready_at
from tasks.decide.sync import CORE, Synced, tell

S = ActionState


def lapsed(view: ClusterView, *, now: datetime, besides: Collection[str] = ()) -> Synced:
    """Cancel what has waited for an approval longer than its namespace allows; actions named in `besides` are not touched."""
    settings = view.namespace.settings
    old = [
        action
        for action in view.actions.values()
        if action.state is S.PENDING_APPROVE
        and action.action_id not in besides
        and (ends := approve_by(action.created_at, settings)) is not None
        and ends < now
    ]
    return _cancelled(old, lambda _: f"nobody approved it within {settings.approval_within:g} s", now)


def begin_by(view: ClusterView, action: Action, now: datetime) -> datetime | None:
    """Until when an approved action may begin before it is cancelled; None: for ever, or nobody knows.

    What a rolling action made has the limits of that, as long as it is not over.

    Args:
        view: the cluster.
        action: what waits.
        now: the present.
    """
    limit_s, ready, opened = view.namespace.settings.schedule_within, ready_at(action), open_since(view, now)
    rolling = view.rollings.get(action.rolling_id) if action.rolling_id is not None else None
    rolls = rolling is not None and not rolling.state.final
    if action.state is not S.PENDING_SCHEDULE or limit_s is None or ready is None or opened is None or rolls:
        return None
    return max(ready, opened) + timedelta(seconds=limit_s)


def not_begun(view: ClusterView, *, now: datetime, besides: Collection[str] = ()) -> Synced:
    """Cancel what was approved and could not begin for longer than its namespace allows.

    Args:
        view: the cluster.
        now: the present.
        besides: actions that are not to be touched, by id.
    """
    old = [
        action
        for action in view.actions.values()
        if action.action_id not in besides and (ends := begin_by(view, action, now)) is not None and ends < now
    ]
    return _cancelled(old, lambda action: _why(view, action), now)


def _why(view: ClusterView, action: Action) -> str:
    node = view.nodes.get(action.node_id) if action.node_id is not None else None
    why = f"it could not begin within {view.namespace.settings.schedule_within:g} s"
    if node is not None and not node.takes_actions:
        why += f"; the agent of node {node.node_id} does not answer: {node.status_text or 'no reason is known'}"
    return f"{why}; its last error: {action.error}" if action.error else why


def _cancelled(old: Collection[Action], why: Callable[[Action], str], now: datetime) -> Synced:
    after = [moved(one, S.CANCELLED, now=now, who=CORE, why=why(one)) for one in old]
    drafts = tuple(told for before, now_ in zip(old, after, strict=True) for told in tell(before, now_))
    return Synced(actions=tuple(after), drafts=drafts)
