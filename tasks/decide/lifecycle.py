"""The one table of an action's life, and the only functions that move an action along it.

States are the original's. Final states never change. What an agent says goes the same way as what a person orders: a
move that is not in the table is refused, and the caller says so.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from blocks.errors import RefusedError
from blocks.models.action import HISTORY_MAX, Action, ActionState, Transition

S = ActionState

TABLE: dict[ActionState, frozenset[ActionState]] = {
    S.PENDING_APPROVE: frozenset({S.PENDING_SCHEDULE, S.CANCELLED}),
    S.PENDING_SCHEDULE: frozenset({S.NEW, S.RUNNING, S.DONE, S.FAILED, S.LOST, S.CANCELLED}),
    S.NEW: frozenset({S.RUNNING, S.DONE, S.FAILED, S.LOST, S.CANCELLED}),
    S.RUNNING: frozenset({S.DONE, S.FAILED, S.LOST, S.CANCELLED}),
    S.CANCELLED: frozenset(),
    S.DONE: frozenset(),
    S.FAILED: frozenset(),
    S.LOST: frozenset(),
}
"""From each state, where an action may go."""

FIRST: frozenset[ActionState] = frozenset({S.PENDING_APPROVE, S.PENDING_SCHEDULE, S.NEW, S.RUNNING, S.DONE, S.FAILED})
"""Where an action may begin: the first two by our orders, the others when an agent began it by itself."""


def may_move(before: ActionState, after: ActionState) -> bool:
    """Whether the table has this move."""
    return after in TABLE[before]


def moved(action: Action, after: ActionState, *, now: datetime, who: str, why: str = "", **changes: Any) -> Action:
    """The action after a move, with its history and its next version.

    Raises:
        RefusedError: the table does not have this move.
    """
    if not may_move(action.state, after):
        allowed = ", ".join(sorted(TABLE[action.state])) or "nothing, it is final"
        msg = (
            f"action {action.action_id} is {action.state} and cannot become {after}; from there it can become {allowed}"
        )
        raise RefusedError(msg)
    step = Transition(at=now, before=action.state, after=after, who=who, why=why)
    finished: dict[str, Any] = {"finished_at": now} if after.final and action.finished_at is None else {}
    if after is S.CANCELLED and action.node_id is not None:
        finished["left_running"] = action.state.on_agent or action.intent is not None
    return action.evolve(
        state=after,
        history=(*action.history, step)[-HISTORY_MAX:],
        version=action.version + 1,
        **{**finished, **changes},
    )


def begun(action: Action, *, now: datetime, who: str, why: str = "") -> Action:
    """A new action with its first line of history and its first version.

    Raises:
        RefusedError: no action begins in this state.
    """
    if action.state not in FIRST:
        msg = f"no action begins as {action.state}"
        raise RefusedError(msg)
    step = Transition(at=now, before=None, after=action.state, who=who, why=why)
    return action.evolve(history=(step,), version=1)


def noted(action: Action, **changes: Any) -> Action:
    """The action with other facts in the same state, in its next version."""
    return action.evolve(version=action.version + 1, **changes)


def ready_at(action: Action) -> datetime | None:
    """Since when an action could run; None while it waits for approval, or is finished."""
    if action.state.final or action.state is S.PENDING_APPROVE:
        return None
    approved = (step.at for step in action.history if step.after is S.PENDING_SCHEDULE)
    return next(approved, action.created_at)
