"""Look at the nodes of clusters, all at once, each under its own deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.agents.protocol import Agents, Target
from blocks.errors import RecordError
from blocks.models.action import Action
from blocks.models.ids import ClusterRef
from blocks.models.look import Look
from blocks.models.request import WorkKind, WorkState, work_key
from blocks.models.source import DiscoveredNode
from blocks.models.view import ClusterView
from blocks.store.protocol import Store
from tasks.decide.rest import Manner, Occasion, manner, silent, why_not_asked
from tasks.decide.sync import asked_ids, strangers

KNOCK_S = 1.0
"""In an urgent cycle a node that has been silent for a while must answer within so many seconds, as it must to the watch."""
NOTES_MAX = 20


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is stored of clusters."""

    views: Mapping[str, ClusterView]
    """By cluster key; those that are not known are left out."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """By cluster key, why it cannot be read; the others are not harmed by it."""


@task(name="load views", cache_policy=NO_CACHE)
async def load_views(store: Store, clusters: Sequence[ClusterRef], *, with_dead: bool = False) -> Loaded:
    """Load clusters, with one query per collection for all of them; one by one where a record among them is broken.

    Args:
        store: where they are.
        clusters: which.
        with_dead: also load their work items that are dead. The queue never brings such a cluster: only people do.
    """
    loaded = await _views(store, clusters)
    dead = {item.key: item for item in await store.list_work([WorkState.DEAD], limit=10_000)} if with_dead else {}
    if not dead:
        return loaded
    views = {
        key: replace(view, dead_work=dead.get(work_key(WorkKind.ORCHESTRATE, key)))
        for key, view in loaded.views.items()
    }
    return replace(loaded, views=views)


async def _views(store: Store, clusters: Sequence[ClusterRef]) -> Loaded:
    try:
        return Loaded(await store.views(clusters))
    except RecordError:
        views: dict[str, ClusterView] = {}
        unreadable: dict[str, str] = {}
        for cluster in clusters:
            try:
                views |= await store.views([cluster])
            except RecordError as error:
                unreadable[cluster.key] = str(error)
        return Loaded(views, unreadable)


@dataclass(frozen=True, slots=True)
class Polled:
    """What looking at a cluster brought."""

    looks: Mapping[str, Look]
    """By node id; a node that was not asked is not among them."""
    notes: tuple[str, ...] = ()
    """Which nodes were not asked, and why; bounded."""


@task(name="poll nodes", cache_policy=NO_CACHE)
async def poll_nodes(
    agents: Agents,
    view: ClusterView,
    *,
    now: datetime,
    occasion: Occasion = Occasion.PERSON,
    only_with_actions: bool = False,
) -> Polled:
    """Look at every node of a cluster that discovery tells of, but leave those alone that have been silent for a while.

    Args:
        agents: the fleet's agents.
        view: the cluster.
        now: when the cycle looks.
        occasion: why it does; a person's cycle asks every node.
        only_with_actions: leave out nodes that are known and on which no action is unfinished.
    """
    nodes = [
        node
        for node in (view.discovery.nodes if view.discovery is not None else ())
        if not only_with_actions
        or node.node_id not in view.nodes
        or any(action.node_id == node.node_id for action in view.actions.values())
    ]
    manners = {node.node_id: manner(view, node, now=now, occasion=occasion) for node in nodes}
    targets = [_asked(view, node, manners[node.node_id]) for node in nodes if manners[node.node_id] is not Manner.REST]
    looks = await asyncio.gather(*(agents.look(target, asked_ids(view, target.node_id)) for target in targets))
    asked = {look.node_id: look for look in looks if look.asked}
    left = [why_not_asked(view, node.node_id) for node in nodes if node.node_id not in asked]
    more = [f"and {len(left) - NOTES_MAX} more of them"] if len(left) > NOTES_MAX else []
    return Polled(asked, (*left[:NOTES_MAX], *more))


def _asked(view: ClusterView, node: DiscoveredNode, how: Manner) -> Target:
    target = target_of(view, node)
    return target.evolve(silent=silent(view, node), knock_s=KNOCK_S if how is Manner.KNOCK else None)


@task(name="load strangers", cache_policy=NO_CACHE)
async def load_strangers(store: Store, view: ClusterView, looks: Mapping[str, Look]) -> frozenset[str]:
    """Ids of actions that agents tell of, that the view does not have and the store has: none of them is new."""
    found = [await store.get(Action, action_id) for action_id in strangers(view, looks)]
    return frozenset(action.action_id for action in found if action is not None)


def target_of(view: ClusterView, node: DiscoveredNode) -> Target:
    """Where a node's agent is and how to speak to it; its protocol is remembered while its address stays."""
    known = view.nodes.get(node.node_id)
    return Target(
        node_id=node.node_id,
        agent_address=node.agent_address,
        protocol=known.protocol if known is not None and known.agent_address == node.agent_address else None,
        only=view.namespace.settings.agent_protocol,
        tls=view.namespace.tls,
        timeout_s=view.namespace.settings.agent_timeout,
    )
