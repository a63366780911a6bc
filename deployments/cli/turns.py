"""When the timetable has something done next, and whether it is paused: of work items, for listings of what they are about."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.text import Text

from blocks.models.request import Request, WorkKind, WorkState
from blocks.store.protocol import Store
from deployments.cli.output import Row, clean
from deployments.cli.select import READ_MAX, Note, cut
from deployments.cli.words import MIDDLING, age, coloured
from tasks.decide.conditions import Fields

TURN_FIELDS: Fields = {
    "work_state": WorkState,
    "next_at": datetime,
    "due_in_s": float,
    "started_at": datetime,
    "late_s": float,
    "paused_until": datetime,
    "paused_by": str,
    "paused_why": str,
}


async def turns_of(store: Store, kind: WorkKind, note: Note) -> dict[str, Request]:
    """By subject, the work items of a kind; at most `READ_MAX` items of all kinds are read."""
    items = await store.list_work(limit=READ_MAX + 1)
    items = cut(
        items, READ_MAX, note, f"only {READ_MAX} work items were read: of the others it is not known when they are due"
    )
    return {item.subject: item for item in items if item.kind == kind}


def turn_fields(item: Request | None, now: datetime) -> dict[str, Any]:
    """What rows tell of a work item; a pause that is over is none."""
    paused = item is not None and item.paused_until is not None and item.paused_until > now
    return {
        "work_state": item.state if item else None,
        "next_at": item.next_at if item else None,
        "due_in_s": due_in_s(item, now) if item else None,
        "started_at": item.started_at if item else None,
        "late_s": item.late_s if item else None,
        "paused_until": item.paused_until if item and paused else None,
        "paused_by": item.paused_by if item and paused else None,
        "paused_why": item.paused_why if item and paused else None,
    }


def due_in_s(item: Request, now: datetime) -> float | None:
    """In how many seconds it may be run, negative when that is overdue; None while it runs and when it never will."""
    if item.state is WorkState.QUEUED:
        waits_for = [item.wanted_at or item.next_at, item.not_before]
    elif item.state is WorkState.IDLE and item.active and item.next_at is not None:
        waits_for = [item.next_at, item.paused_until]
    else:
        return None
    moments = [moment for moment in waits_for if moment is not None]
    return round((max(moments) - now).total_seconds(), 1) if moments else None


def next_turn(row: Row) -> object:
    """The cell that says when the next turn is."""
    if row["work_state"] is WorkState.CLAIMED:
        return coloured("running", "cyan")
    if row["work_state"] is WorkState.DEAD:
        return coloured(WorkState.DEAD)
    seconds = row["due_in_s"]
    if seconds is None:
        return None
    return (
        f"in {age(seconds)}"
        if seconds >= 0
        else Text(f"overdue {age(-seconds)}", style=MIDDLING if seconds < -1 else "")
    )


def until(moment: datetime | None) -> str:
    """A moment to the second."""
    return "" if moment is None else clean(moment.replace(microsecond=0)).replace(".000Z", "Z")
