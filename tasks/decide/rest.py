"""When a node that does not answer is asked again: at once, after a knock, or not in this cycle.

Asking a node that hangs costs its cluster's cycle the whole deadline of a look. So a node that was silent for a while is left
alone by routine cycles, for as long as it has been silent already, a minute at most; then it is looked at like any other.
An urgent cycle, which is about some other node or about this one's return, only knocks. A person's cycle always asks. The
watch goes on meanwhile, ever more seldom, and tells within half a minute that a node answers again; where it is off, nothing
rests.

All of it follows from what is stored, so that every worker decides alike and a restart forgets nothing: since when a node is
silent, and when its cluster was last seen whole. What was not asked refreshes nothing and changes nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum

from blocks.models.node import NodeStatus
from blocks.models.request import Priority, Request
from blocks.models.source import DiscoveredNode
from blocks.models.view import ClusterView
from tasks.decide.share import spread

SILENT_FROM = timedelta(seconds=10)
"""A node that was found silent over a shorter time is asked like any other."""
PAUSE_MAX = timedelta(seconds=60)


class Occasion(Enum):
    """Why a cluster is looked at."""

    PERSON = "person"
    URGENT = "urgent"
    ROUTINE = "routine"


class Manner(Enum):
    """How a node is asked."""

    LOOK = "look"
    """With all the time that a look may take."""
    KNOCK = "knock"
    """With a short time to answer at all; silence says nothing new."""
    REST = "rest"
    """Not at all."""


def occasion_of(request: Request) -> Occasion:
    """Why a work item is done now."""
    if request.by_person or request.priority is Priority.PERSON:
        return Occasion.PERSON
    return Occasion.URGENT if request.priority is Priority.URGENT else Occasion.ROUTINE


def silent(view: ClusterView, node: DiscoveredNode) -> bool:
    """Whether a node's agent did not answer when it was last asked, at the address it still has."""
    known = view.nodes.get(node.node_id)
    return (
        known is not None
        and known.status is NodeStatus.UNREACHABLE
        and known.info_stale_since is not None
        and known.agent_address == node.agent_address
    )


def manner(view: ClusterView, node: DiscoveredNode, *, now: datetime, occasion: Occasion) -> Manner:
    """How a node is asked in this cycle.

    Args:
        view: the cluster as stored.
        node: the node as its source tells of it.
        now: when the cycle looks.
        occasion: why it does.
    """
    seen = view.state.observed_at if view.state is not None else None
    if occasion is Occasion.PERSON or seen is None or not silent(view, node) or not _watched(view):
        return Manner.LOOK
    since = view.nodes[node.node_id].info_stale_since
    if since is None or seen - since < SILENT_FROM:
        return Manner.LOOK
    if occasion is Occasion.URGENT:
        return Manner.KNOCK
    share = 0.5 + spread(f"{view.nodes[node.node_id].key} {seen.isoformat()}") / 2
    return Manner.REST if now - seen < min(PAUSE_MAX, seen - since) * share else Manner.LOOK


def why_not_asked(view: ClusterView, node_id: str) -> str:
    """What is said of a node that was not asked in this cycle, or knocked at in vain."""
    known = view.nodes.get(node_id)
    since = known.info_stale_since if known is not None else None
    seen = view.state.observed_at if view.state is not None else None
    asked = f"not asked since {seen:%Y-%m-%dT%H:%M:%SZ}" if seen is not None else "not asked"
    return f"{node_id}: {asked}" + (
        f", because it has not answered since {since:%Y-%m-%dT%H:%M:%SZ}" if since is not None else ""
    )


def _watched(view: ClusterView) -> bool:
    own = view.spec.probe_interval
    return (own if own is not None else view.namespace.settings.probe_interval) > 0
