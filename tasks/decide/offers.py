"""What a person is offered to choose from in a form. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from blocks.models.action import Action, ActionState
from blocks.models.base import clean_text
from blocks.models.rolling import Rolling, RollingState
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

    @property
    def rolling_states(self) -> tuple[RollingState, ...]:
        """The states of the rolling actions that it can be done with."""
        match self:
            case Doing.APPROVE | Doing.REJECT:
                return (RollingState.PENDING_APPROVE,)
            case Doing.CANCEL:
                return tuple(state for state in RollingState if not state.final)
            case Doing.RETRY:
                return (RollingState.FAILED, RollingState.CANCELLED, RollingState.LAPSED)


def offers(orders: Iterable[Action | Rolling], now: datetime, most: int = OFFERED_MAX) -> dict[str, str]:
    """By what is shown in the form, the ids of actions and rolling actions: the newest, at most `most` of them."""
    newest = sorted(orders, key=lambda order: (order.created_at, order.key), reverse=True)[:most]
    return {_label(order, now): order.key for order in newest}


def _label(order: Action | Rolling, now: datetime) -> str:
    if isinstance(order, Rolling):
        target, kind = str(order.cluster), f"rolling {order.plan.kind}"
    else:
        target, kind = str(order.node if order.node is not None else order.cluster), order.kind
    since = age((now - order.created_at).total_seconds())
    words = clean_text(f"{target}: {kind}, {order.state}, by {order.created_by} {since} ago", LABEL_CHARS_MAX)
    return f"{words} [{order.key}]"
