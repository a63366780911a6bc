"""When another status of a node is said: once it has been seen for a while, by at least two looks.

A node that is not as it was is remembered as pending, without an event. Is it as it was again before the while is over, then
nothing was ever said; so however often it changes to and fro within that while, nobody is told more than once. A status
that changes while it is pending does not begin anew: what is not well is said in time, whatever it is by then.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from blocks.models.node import Node, NodeStatus


def damped(known: Node | None, status: NodeStatus, text: str | None, *, now: datetime, hold_s: float) -> dict[str, Any]:
    """What a node says of its status after a look, as fields of the node.

    Args:
        known: the node before; None when it is new, whose status is said at once.
        status: what was seen.
        text: why.
        now: when the look began.
        hold_s: for how many seconds it must be seen; 0 says it at once.
    """
    said = {"status": status, "status_text": text, "pending_status": None, "pending_text": None, "pending_since": None}
    if known is None:
        return {**said, "status_since": now}
    if known.status is status:
        return {**said, "status_since": known.status_since}
    since = known.pending_since or now
    if hold_s <= 0 or (known.pending_since is not None and now - since >= timedelta(seconds=hold_s)):
        return {**said, "status_since": since if known.pending_status is status else now}
    return {"pending_status": status, "pending_text": text, "pending_since": since}
