"""What a person is offered to choose from in a form. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from blocks.models.action import Action, ActionState
from blocks.models.base import clean_text
from blocks.models.rolling import Rolling, RollingState
from blocks.models.view import ClusterView
from tasks.decide.cluster_kinds import Catalogue
from tasks.decide.search import labels_of_nodes
from tasks.decide.words import age

OFFERED_MAX = 100
NODES_OFFERED_MAX = 500
LABELS_OFFERED_MAX = 50
RESTART = "agent.replicante.io/node.restart"
"""What rolling actions are mostly for: offered although it was never done here."""
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


@dataclass(frozen=True, slots=True)
class RollOffers:
    """What there is for a rolling action on a cluster."""

    kinds: tuple[str, ...]
    nodes: Mapping[str, str]
    """By what is shown, their ids."""
    labels: tuple[str, ...]
    """By which its nodes can be told apart."""


def roll_offers(view: ClusterView, orders: Iterable[Action | Rolling], kinds: Catalogue) -> RollOffers:
    """What a person may choose from for a rolling action.

    Args:
        view: the cluster.
        orders: what was ordered here before: which kinds agents know, nobody tells us.
        kinds: kinds of actions on clusters, which are none of nodes.
    """
    done = (order.plan.kind if isinstance(order, Rolling) else order.kind for order in orders)
    known = sorted({RESTART, *(kind for kind in done if kind not in kinds)})[:OFFERED_MAX]
    there = view.discovery.nodes if view.discovery is not None else ()
    ids = sorted(node.node_id for node in there)[:NODES_OFFERED_MAX]
    keys = {key for labels in labels_of_nodes(view.spec, view.discovery).values() for key in labels}
    return RollOffers(tuple(known), {_node(view, one): one for one in ids}, tuple(sorted(keys))[:LABELS_OFFERED_MAX])


def _node(view: ClusterView, node_id: str) -> str:
    node = view.nodes.get(node_id)
    roles = sorted({shard.role.value for shard in node.shards}) if node is not None else []
    seen = ", ".join([node.status.value, *roles[:5]]) if node is not None else "not looked at yet"
    return f"{node_id} ({seen})"
