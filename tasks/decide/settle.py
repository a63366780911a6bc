"""One cycle's judgement on one cluster: from what was known and what the looks brought to what is to be saved.

Pure: the view before, the looks and the moment go in; the view after, the change and the events come out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from blocks.models.action import Action
from blocks.models.cluster import ClusterState
from blocks.models.look import Failure, Look
from blocks.models.node import Node
from blocks.models.record import Change, RecordKey
from blocks.models.rolling import Rolling
from blocks.models.view import ClusterView
from tasks.decide.aggregate import aggregate
from tasks.decide.clocks import Limits
from tasks.decide.diff import diff, retyped_attributes
from tasks.decide.foreign import refuses
from tasks.decide.heads import with_heads
from tasks.decide.lapsing import lapsed, not_begun
from tasks.decide.merge import Policy, merge
from tasks.decide.rolling import tell_rolling, with_ends
from tasks.decide.rules.cluster import primary_grace_s
from tasks.decide.sync import Synced, cancelled_with_node, sync

OFFSETS_EVERY_S = 15.0
"""Offsets and lag alone are saved so often at most: on a busy fleet they would be most of all writes."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The judgement."""

    view: ClusterView
    """The cluster as it is known now."""
    change: Change
    """What to save, with its events; empty when nothing changed."""
    moved: tuple[Node, ...] = ()
    """Nodes whose offsets alone moved and are due to be saved; only used when `change` is empty."""
    synced: int = 0
    failed: int = 0
    lost: int = 0


def settle(
    view: ClusterView, looks: Mapping[str, Look], *, now: datetime, stored: frozenset[str] = frozenset()
) -> Settled:
    """Judge a cluster.

    Args:
        view: as stored.
        looks: by node id. A node of the cluster without a look keeps what was known of it.
        now: when the looks began.
        stored: actions that agents tell of and that the store has although the view has not.
    """
    nodes = with_heads(view.nodes, _nodes(view, looks, now), grace_s=primary_grace_s(view), now=now)
    foreign = {node.node_id for node in nodes.values() if node.foreign_id is not None}
    gone = sorted(view.nodes.keys() - nodes.keys())
    synced = _actions(view, {key: look for key, look in looks.items() if key not in foreign}, now, stored)
    actions = {**view.actions, **{action.action_id: action for action in synced.actions}}
    rollings = with_ends(view.rollings, synced.actions)
    after = replace(
        view, nodes=nodes, actions=actions, rollings={**view.rollings, **{one.key: one for one in rollings}}
    )
    after = replace(after, state=_state(view, after, looks, now))
    failed = sum(isinstance(look.info, Failure) for look in looks.values())
    change = _change(view, after, gone, synced) + _rollings(view, rollings)
    return Settled(
        view=after,
        change=change,
        moved=_offsets_due(view, after, now) if change.empty else (),
        synced=len(looks) - failed,
        failed=failed,
        lost=synced.lost,
    )


def _rollings(before: ClusterView, after: tuple[Rolling, ...]) -> Change:
    """What came of actions of rolling actions, in the transaction that ends them: it outlives them."""
    return Change(swaps=after, drafts=tuple(tell_rolling(before.rollings[one.key], one) for one in after))


def _nodes(view: ClusterView, looks: Mapping[str, Look], now: datetime) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    if view.discovery is None:
        return nodes
    policy = _policy(view, looks)
    for discovered in view.discovery.nodes:
        known, look = view.nodes.get(discovered.node_id), looks.get(discovered.node_id)
        if look is not None:
            nodes[discovered.node_id] = merge(known, discovered, view.discovery, look, now=now, policy=policy)
        elif known is not None:
            nodes[discovered.node_id] = known
    return nodes


def _policy(view: ClusterView, looks: Mapping[str, Look]) -> Policy:
    settings = view.namespace.settings
    return Policy(
        status_hold_s=settings.status_hold,
        refuse_foreign=refuses(view, looks),
        clocks=Limits(skew_s=settings.clock_skew_max, look_s=2 * settings.agent_timeout),
        sent=view.actions,
    )


def _actions(view: ClusterView, looks: Mapping[str, Look], now: datetime, stored: frozenset[str]) -> Synced:
    there = {node.node_id for node in (view.discovery.nodes if view.discovery is not None else ())}
    gone = sorted({action.node_id for action in view.actions.values() if action.node_id is not None} - there)
    synced = sync(view, looks, now=now, stored=stored)
    moved = {action.action_id for action in synced.actions} | {
        a.action_id for a in view.actions.values() if a.node_id in gone
    }
    parts = [
        synced,
        lapsed(view, now=now, besides=moved),
        not_begun(view, now=now, besides=moved),
        *(cancelled_with_node(view, node_id, now=now) for node_id in gone),
    ]
    actions: tuple[Action, ...] = tuple(action for part in parts for action in part.actions)
    return Synced(actions=actions, drafts=tuple(d for part in parts for d in part.drafts), lost=parts[0].lost)


def _state(before: ClusterView, after: ClusterView, looks: Mapping[str, Look], now: datetime) -> ClusterState:
    state, known = aggregate(after, now=now), before.state
    there = {node.node_id for node in (after.discovery.nodes if after.discovery is not None else ())}
    seen_whole = looks.keys() >= there
    return state.evolve(
        offsets_at=known.offsets_at if known is not None else None,
        observed_at=now if seen_whole else known.observed_at if known is not None else None,
    )


def _change(before: ClusterView, after: ClusterView, gone: list[str], synced: Synced) -> Change:
    drafts = (*diff(before, after), *synced.drafts)
    nodes = tuple(node for node in after.nodes.values() if _differs(before.nodes.get(node.node_id), node))
    changed = nodes or gone or synced.actions or drafts or _lasting(before.state) != _lasting(after.state)
    if not changed or after.state is None:
        return Change()
    deletes = tuple(RecordKey(Node, before.nodes[node_id].key) for node_id in gone)
    return Change(puts=(*nodes, after.state), swaps=synced.actions, deletes=deletes, drafts=drafts)


def _differs(before: Node | None, after: Node) -> bool:
    if before is None or retyped_attributes(before, after):
        return True
    return before != after and _stable(before) != _stable(after)


def _stable(node: Node) -> object:
    """A node without what moves all the time."""
    shards = tuple(
        (shard.shard_id, shard.role, shard.role_text, shard.stale_since, shard.led, shard.behind_since)
        for shard in node.shards
    )
    return {**dict(node), "shards": shards, "version": 0}


def _lasting(state: ClusterState | None) -> object:
    """A cluster's state without what moves all the time."""
    if state is None:
        return None
    problems = tuple(
        (problem.identity, problem.severity, problem.since, problem.evidence, problem.cause, problem.cause_node_id)
        for problem in state.problems
    )
    return {
        **dict(state),
        "problems": problems,
        "observed_at": None,
        "offsets_at": None,
        "lag_worst_ms": None,
        "lag_worst": None,
        "lags_synthesised": 0,
        "version": 0,
    }


def _offsets_due(before: ClusterView, after: ClusterView, now: datetime) -> tuple[Node, ...]:
    last = before.state.offsets_at if before.state is not None else None
    if last is not None and now - last < timedelta(seconds=OFFSETS_EVERY_S):
        return ()
    return tuple(node for node in after.nodes.values() if node != before.nodes.get(node.node_id))
