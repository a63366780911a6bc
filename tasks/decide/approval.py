"""Approvals: until when one may be given, and what becomes of an action that nobody approves."""

from __future__ import annotations

from datetime import datetime, timedelta

from blocks.errors import RefusedError
from blocks.models.action import ActionState
from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.models.view import ClusterView
from tasks.decide.lifecycle import moved
from tasks.decide.sync import CORE, Synced, tell


def approve_by(created_at: datetime, settings: NamespaceSettings) -> datetime | None:
    """Until when what was ordered then may be approved; None: for ever."""
    limit_s = settings.approval_within
    return created_at + timedelta(seconds=limit_s) if limit_s is not None else None


def check_in_time(home: Namespace | None, created_at: datetime, now: datetime, what: str) -> None:
    """What nobody approved in time is not approved any more, also where no cycle has cancelled it yet.

    Raises:
        RefusedError: the time is over.
    """
    ends = approve_by(created_at, home.settings) if home is not None else None
    if ends is not None and ends < now:
        message = f"{what} could be approved until {ends:%Y-%m-%dT%H:%M:%SZ}: order it again"
        raise RefusedError(message)


def lapsed(view: ClusterView, *, now: datetime) -> Synced:
    """Cancel what has waited for an approval longer than its namespace allows."""
    limit_s = view.namespace.settings.approval_within
    if limit_s is None:
        return Synced()
    old = [
        action
        for action in view.actions.values()
        if action.state is ActionState.PENDING_APPROVE
        and (ends := approve_by(action.created_at, view.namespace.settings)) is not None
        and ends < now
    ]
    why = f"nobody approved it within {limit_s:g} s"
    after = [moved(action, ActionState.CANCELLED, now=now, who=CORE, why=why) for action in old]
    drafts = tuple(told for before, now_ in zip(old, after, strict=True) for told in tell(before, now_))
    return Synced(actions=tuple(after), drafts=drafts)
