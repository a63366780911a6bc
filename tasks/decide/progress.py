"""From one step of an action on a cluster to the action that is to be saved.

The table of moves and the action's time hold whatever a handler says: one that is late and says that it is done is done; one
that is late and is not is FAILED.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from blocks.errors import InvalidInputError, ReplicoreError
from blocks.models.action import Action, ActionState, Intent
from blocks.models.base import Json, clean_text
from tasks.decide.choose import BACKOFF_BASE_S, BACKOFF_MAX_S, CORE
from tasks.decide.cluster_kinds import Catalogue, timeout_of
from tasks.decide.lifecycle import moved, noted
from tasks.decide.manifest_size import bounded

ERROR_CHARS = 2_000
PAYLOAD_DEPTH_MAX = 100
"""So deep a payload may be nested: events and answers put some levels around it, and all that reads them has an end."""
STATES = frozenset({ActionState.RUNNING, ActionState.DONE, ActionState.FAILED})


class Keep(Enum):
    """That something stays what it is."""

    KEEP = "keep"


KEEP = Keep.KEEP


@dataclass(frozen=True, slots=True)
class Step:
    """What became of an action in one step."""

    state: ActionState
    """RUNNING, DONE or FAILED."""
    payload: Json | Keep = KEEP
    error: str | Keep | None = KEEP
    failed: bool = False
    """Whoever had to be asked gave no usable answer: the step is tried again, after a growing wait."""
    in_doubt: bool = False
    """The request may have arrived all the same: the next try has the same key."""


def started(action: Action, *, now: datetime, note: str | None = None) -> Action:
    """An action that begins to run.

    Args:
        action: what begins.
        now: the present.
        note: what whoever looks at it later is to know of its beginning.

    Raises:
        RefusedError: it does not wait to be started.
    """
    return moved(
        action,
        ActionState.RUNNING,
        now=now,
        who=CORE,
        why=f"it begins; {note}" if note else "it begins",
        scheduled_at=now,
        error=None,
    )


def intending(action: Action, *, generation: int, token: int, now: datetime, budget_s: float) -> Action:
    """With the intent to call its handler, to be saved before; how often this step was tried is counted in it."""
    tries = action.intent.attempt if action.intent is not None else 0
    answer_by = now + timedelta(seconds=budget_s)
    return noted(
        action, intent=Intent(attempt=tries + 1, generation=generation, token=token, at=now, answer_by=answer_by)
    )


def held(action: Action, *, now: datetime) -> Action:
    """An action whose steps are held from now on: its time stands still. As it is where they are held already."""
    return action if action.held_since is not None else noted(action, held_since=now)


def let_go(action: Action, *, now: datetime) -> Action:
    """An action whose steps are held no more: its time goes on. As it is where they were not held."""
    if action.held_since is None:
        return action
    held_s = action.held_s + max(0.0, (now - action.held_since).total_seconds())
    return noted(action, held_since=None, held_s=held_s)


def ends_at(action: Action, kinds: Catalogue) -> datetime | None:
    """When its time is over, from its start, without what it was held; None while it is held: nobody knows."""
    if action.held_since is not None:
        return None
    return (action.scheduled_at or action.created_at) + timedelta(seconds=timeout_of(action, kinds) + action.held_s)


def overdue(action: Action, kinds: Catalogue, *, now: datetime) -> bool:
    """Whether its time is over."""
    ends = ends_at(action, kinds)
    return ends is not None and now > ends


def stepped(
    action: Action, step: Step | None, kinds: Catalogue, *, now: datetime, jitter: random.Random
) -> Action | None:
    """The action after a step; None where there is nothing to save.

    Args:
        action: running, perhaps with an intent.
        step: what its handler gave back; None: nothing changed.
        kinds: what kinds there are.
        now: when it did.
        jitter: spreads the tries.
    """
    step = step or Step(ActionState.RUNNING)
    state: object = step.state
    if not isinstance(state, ActionState) or state not in STATES:
        return broken(action, f"its handler said {state}, which is not for it to say", now=now)
    if overdue(action, kinds, now=now) and step.state is ActionState.RUNNING:
        limit_s = timeout_of(action, kinds)
        said = step.error if isinstance(step.error, str) else action.error
        last = f"; the last error: {said}" if said else ""
        error = clean_text(f"it was not done within {limit_s:g} s{last}", ERROR_CHARS)
        return moved(action, ActionState.FAILED, now=now, who=CORE, why="its time is over", error=error, intent=None)
    try:
        changes = _changes(action, step, now, jitter)
    except InvalidInputError as error:
        return broken(action, f"its handler said what cannot be kept: {error}", now=now)
    if step.state is ActionState.RUNNING:
        same = all(getattr(action, name) == value for name, value in changes.items())
        return None if same else noted(action, **changes)
    why = "it is done" if step.state is ActionState.DONE else "it failed"
    return moved(action, step.state, now=now, who=CORE, why=why, **changes)


def broken(action: Action, why: str, *, now: datetime) -> Action:
    """The action after its handler went wrong."""
    error = clean_text(why, ERROR_CHARS)
    return moved(action, ActionState.FAILED, now=now, who=CORE, why="its handler went wrong", error=error, intent=None)


def fault(error: BaseException) -> str:
    """What a handler raised, for people: one of ours in its own words, others with their type; also one that has no words."""
    try:
        words = str(error)
    except Exception:  # noqa: BLE001 - whatever its words fail with, it is told of
        words = "it cannot say what it is"
    return words if isinstance(error, ReplicoreError) else f"{type(error).__name__}: {words}"


def _changes(action: Action, step: Step, now: datetime, jitter: random.Random) -> dict[str, Any]:
    changes: dict[str, Any] = {"not_before": None, "attempts": 0}
    if not isinstance(step.payload, Keep):
        changes["payload"] = _kept(step.payload)
    error = action.answered_error if isinstance(step.error, Keep) else step.error
    error = clean_text(error, ERROR_CHARS) if error is not None else None
    if not step.in_doubt:
        changes["intent"] = None
    if not step.failed:
        return {**changes, "error": error, "answered_error": error, "step": action.step + (action.intent is not None)}
    if not isinstance(step.error, Keep):
        changes["error"] = error
    attempts = action.attempts + 1
    wait_s = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** min(attempts - 1, 10)) * jitter.uniform(0.5, 1.0)
    return {**changes, "attempts": attempts, "not_before": now + timedelta(seconds=wait_s)}


def _kept(payload: Json) -> Json:
    """A payload that comes back from the store, from events and from answers as it went in.

    Raises:
        InvalidInputError: it is too large, too deep, or not what JSON makes of it again.
    """
    level: list[Any] = [bounded(payload, "its payload is")]
    for _ in range(PAYLOAD_DEPTH_MAX + 1):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return payload
    message = f"its payload is nested deeper than {PAYLOAD_DEPTH_MAX} levels"
    raise InvalidInputError(message)


def _inside(value: Any) -> list[Any]:
    if isinstance(value, tuple) or (isinstance(value, dict) and not all(isinstance(key, str) for key in value)):
        message = "its payload has a tuple in it, or a key that is no text"
        raise InvalidInputError(message)
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
