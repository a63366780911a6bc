"""Approvals: what becomes of an action that nobody approves."""

from __future__ import annotations

from datetime import datetime, timedelta

from blocks.models.action import ActionState
from blocks.models.view import ClusterView
from tasks.decide.lifecycle import moved
from tasks.decide.sync import CORE, Synced, tell


def lapsed(view: ClusterView, *, now: datetime) -> Synced:
    """Cancel what has waited for an approval longer than its namespace allows."""
    limit_s = view.namespace.settings.approval_within
    if limit_s is None:
        return Synced()
    old = [
        action
        for action in view.actions.values()
        if action.state is ActionState.PENDING_APPROVE and now - action.created_at > timedelta(seconds=limit_s)
    ]
    why = f"nobody approved it within {limit_s:g} s"
    after = [moved(action, ActionState.CANCELLED, now=now, who=CORE, why=why) for action in old]
    drafts = tuple(told for before, now_ in zip(old, after, strict=True) for told in tell(before, now_))
    return Synced(actions=tuple(after), drafts=drafts)
