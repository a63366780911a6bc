"""What a person is offered to choose from in a form. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from blocks.models.action import Action, ActionState
from blocks.models.base import clean_text
from tasks.decide.words import age

OFFERED_MAX = 100
LABEL_CHARS_MAX = 160


class Doing(StrEnum):
    """What is done with the actions that are chosen."""

    APPROVE = "approve"
    REJECT = "reject"
    CANCEL = "cancel"
    RETRY = "retry"

    @property
    def states(self) -> tuple[ActionState, ...]:
        """The states of the actions that it can be done with."""
        match self:
            case Doing.APPROVE | Doing.REJECT:
                return (ActionState.PENDING_APPROVE,)
            case Doing.CANCEL:
                return tuple(state for state in ActionState if not state.final)
            case Doing.RETRY:
                return (ActionState.FAILED, ActionState.LOST, ActionState.CANCELLED)


def offers(actions: Iterable[Action], now: datetime, most: int = OFFERED_MAX) -> dict[str, str]:
    """By what is shown in the form, the ids of actions: the newest, at most `most` of them."""
    newest = sorted(actions, key=lambda action: (action.created_at, action.action_id), reverse=True)[:most]
    return {_label(action, now): action.action_id for action in newest}


def _label(action: Action, now: datetime) -> str:
    target = action.node if action.node is not None else action.cluster
    since = age((now - action.created_at).total_seconds())
    words = clean_text(f"{target}: {action.kind}, {action.state}, by {action.created_by} {since} ago", LABEL_CHARS_MAX)
    return f"{words} [{action.action_id}]"
