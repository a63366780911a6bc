"""Until when an approval may be given."""

from __future__ import annotations

from datetime import datetime, timedelta

from blocks.errors import RefusedError
from blocks.models.namespace import Namespace, NamespaceSettings


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
