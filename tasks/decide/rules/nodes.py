"""What can be wrong with a node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from blocks.models.action import Action, ActionState
from blocks.models.namespace import ForeignNodes
from blocks.models.node import NodeStatus, ShardRole
from blocks.models.view import ClusterView
from tasks.decide.choose import on_silent_node
from tasks.decide.foreign import policy_of
from tasks.decide.lag import worst, worst_in
from tasks.decide.lifecycle import ready_at
from tasks.decide.rules.base import Finding, Scene, listed, moment, without_secrets

PARTS = (
    ("info_stale_since", "the node"),
    ("store_stale_since", "store details"),
    ("shards_stale_since", "shards"),
    ("actions_stale_since", "actions"),
)


STORES_WORD = frozenset({NodeStatus.UNAVAILABLE, NodeStatus.UNHEALTHY, NodeStatus.UNKNOWN, NodeStatus.INCOMPLETE})
"""Statuses that are no problem of a node that its cluster does not count: they tell of its store."""
LAG = "LAG_ABOVE_LIMIT"
LAG_CLEARED = 0.8
"""Below this share of the limit a lag that was said is over: around the limit it neither comes nor goes."""


def with_status(*statuses: NodeStatus) -> Callable[[Scene], Iterator[Finding]]:
    """Nodes with one of these statuses."""
    values = {status.value for status in statuses}

    def match(scene: Scene) -> Iterator[Finding]:
        if values.isdisjoint(scene.statuses):
            return
        uncounted = scene.view.spec.not_counted
        for node in scene.view.nodes.values():
            if node.status in statuses and not (node.status in STORES_WORD and node.node_id in uncounted):
                yield Finding(node.status_text or f"the agent says {node.status}", node.node_id)

    return match


def unreachable(scene: Scene) -> Iterator[Finding]:
    """Nodes whose agent does not answer: what was tried, since when, and what came of it."""
    for node in scene.view.nodes.values():
        if node.status is NodeStatus.UNREACHABLE:
            asked = f"{without_secrets(node.agent_address)} is asked in vain"
            since = moment(node.info_stale_since or node.status_since)
            yield Finding(f"{asked} since {since}: {node.status_text or 'no reason is known'}", node.node_id)


def lag(scene: Scene) -> Iterator[Finding]:
    """Copies that are, by their agent's word, further behind than the cluster allows, or are not yet well below that."""
    state, spec = scene.view.state, scene.view.spec
    said = {problem.node_id for problem in (state.problems if state is not None else ()) if problem.code == LAG}
    for node in scene.fresh:
        share = LAG_CLEARED if node.node_id in said else 1.0
        lags = ((limit, unit, worst_in(node.shards, unit)) for unit, limit in sorted(spec.lag_limits.items()))
        told = [
            _behind(limit, share, unit, behind)
            for limit, unit, behind in ((spec.lag_limit_s, "s", worst(node.shards) / 1_000), *lags)
            if behind > limit * share
        ]
        if told:
            yield Finding("; ".join(told), node.node_id)


def _behind(limit: float, share: float, unit: str, behind: float) -> str:
    if behind > limit:
        return f"over {limit:g} {unit} behind its primary"
    return f"not yet below {limit * share:g} {unit} behind its primary again; the limit is {limit:g} {unit}"


def not_in_sync(scene: Scene) -> Iterator[Finding]:
    """Nodes with copies that have not caught up: nothing can fall back on these. One that is joining has others by nature."""
    uncounted = scene.view.spec.not_counted
    for node in scene.fresh:
        if node.node_id in uncounted or node.seen_status is NodeStatus.JOINING_CLUSTER:
            continue
        fresh = [shard for shard in node.shards if shard.stale_since is None]
        behind = [shard.shard_id for shard in fresh if shard.role is ShardRole.RECOVERING]
        if behind:
            yield Finding(f"{len(behind)} of its {len(fresh)} copies: {listed(behind)}", node.node_id)


def lag_grace_s(view: ClusterView) -> float:
    """For how many seconds a lag may be above the limit, or a copy not in sync."""
    return view.spec.lag_grace


def identity(scene: Scene) -> Iterator[Finding]:
    """Nodes that call themselves, or their cluster, otherwise than discovery does."""
    ours, accepted = scene.view.spec.cluster_id, policy_of(scene.view) is ForeignNodes.ACCEPT
    for node in scene.view.nodes.values():
        told = []
        named = node.node_id != node.agent_address  # a source that has no names for nodes calls them by their address
        if named and node.reported_node_id is not None and node.reported_node_id != node.node_id:
            told.append(f"its agent calls itself {node.reported_node_id!r}")
        if node.reported_cluster_id is not None and node.reported_cluster_id != ours and not accepted:
            told.append(f"its store says cluster {node.reported_cluster_id!r}")
        if told:
            yield Finding("; ".join(told), node.node_id)


def foreign(scene: Scene) -> Iterator[Finding]:
    """Nodes whose answers are refused."""
    for node in scene.view.nodes.values():
        if node.foreign_id is not None:
            yield Finding(f"its store says cluster {node.foreign_id!r}", node.node_id)


def duplicates(scene: Scene) -> Iterator[Finding]:
    """Of agents that say that they are the same node, all but its owner.

    The owner is the one that discovery knows by that id, or else the first in discovery's order, which is that of ids.
    """
    found: dict[str, list[str]] = {}
    for said, nodes in _claims(scene.view).items():
        owner = said[1] if said[0] == "id" and said[1] in nodes else nodes[0]
        what = f"its agent calls itself {said[1]!r}" if said[0] == "id" else f"its members' address is {said[1]!r}"
        for node_id in nodes:
            if node_id != owner:
                found.setdefault(node_id, []).append(f"{what}, as that of {owner} does")
    for node_id, told in found.items():
        yield Finding("; ".join(told), node_id)


def _claims(view: ClusterView) -> dict[tuple[str, str], list[str]]:
    """What more than one node says of itself, and which, in discovery's order."""
    order = [node.node_id for node in view.discovery.nodes] if view.discovery is not None else sorted(view.nodes)
    claims: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node in (view.nodes[node_id] for node_id in order if node_id in view.nodes):
        if node.reported_node_id is not None:
            claims["id", node.reported_node_id].append(node.node_id)
        member = node.addresses.get("member")
        if member:
            claims["member", member].append(node.node_id)
    return {said: nodes for said, nodes in claims.items() if len(nodes) > 1}


def protocol_changed(scene: Scene) -> Iterator[Finding]:
    """Nodes whose agent speaks another protocol than within the last hour."""
    for node in scene.view.nodes.values():
        if node.protocol_changed_at is not None:
            at = moment(node.protocol_changed_at)
            yield Finding(f"protocol {node.protocol} instead of {node.protocol_before} since {at}", node.node_id)


def clock(scene: Scene) -> Iterator[Finding]:
    """Agents whose clock does not agree with ours."""
    for node in scene.view.nodes.values():
        if (off := node.clock_off) is not None:
            side = "ahead of" if off.seconds > 0 else "behind"
            evidence = f"at least {abs(off.seconds):g} s {side} ours, by the times of action {off.action_id}"
            yield Finding(evidence, node.node_id)


def stale(scene: Scene) -> Iterator[Finding]:
    """Nodes of which a part could not be read for a long while."""
    limit = timedelta(seconds=scene.view.namespace.settings.stale_after)
    for node in scene.view.nodes.values():
        if node.node_id in scene.view.spec.not_counted:
            continue
        old = [
            f"{name} since {moment(since)}"
            for field, name in PARTS
            if (since := getattr(node, field)) is not None and scene.now - since >= limit
        ]
        if old:
            yield Finding("; ".join(old), node.node_id)


def rewound(scene: Scene) -> Iterator[Finding]:
    """Nodes that are primary, and whose log is shorter than it was, or than that of the primary before them."""
    for node in scene.view.nodes.values():
        if node.rewinds:
            last = node.rewinds[-1]
            steps = f"{last.shard_id} went from {last.before.value} back to {last.after.value} {last.after.unit}"
            yield Finding(f"{steps} at {moment(last.at)}", node.node_id)


def stuck(scene: Scene) -> Iterator[Finding]:
    """Actions that are not finished long after they could run: on a node, the oldest of them is named."""
    limit = timedelta(seconds=scene.view.namespace.settings.stuck_after)
    found: dict[str | None, list[tuple[datetime, Action]]] = defaultdict(list)
    for action in scene.view.actions.values():
        begun = ready_at(action)
        if begun is not None and scene.now - begun > limit:
            found[action.node_id].append((begun, action))
    for node_id, actions in found.items():
        _, oldest = min(actions, key=lambda one: (one[0], one[1].action_id))
        more = f" (and {len(actions) - 1} more)" if len(actions) > 1 else ""
        why = _why(scene.view, oldest)
        evidence = f"action {oldest.action_id} ({oldest.kind}) is {oldest.state}{f': {why}' if why else ''}{more}"
        yield Finding(evidence, node_id)


def silent_with_action(scene: Scene) -> Iterator[Finding]:
    """Nodes that cannot be asked what became of an action, while actions on the whole cluster wait: the oldest of each is named."""
    by_age = sorted(scene.view.actions.values(), key=lambda one: (one.created_at, one.action_id))
    waiting = [one for one in by_age if one.node_id is None and one.state is ActionState.PENDING_SCHEDULE]
    if not waiting:
        return
    found: dict[str | None, list[Action]] = defaultdict(list)
    for action in by_age:
        if on_silent_node(scene.view, action, scene.now):
            found[action.node_id].append(action)
    for node_id, actions in found.items():
        more = f" (and {len(actions) - 1} more)" if len(actions) > 1 else ""
        behind = f"action {waiting[0].action_id} ({waiting[0].kind})"
        others = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        word = actions[0].state if actions[0].state.on_agent else "perhaps sent"
        evidence = (
            f"action {actions[0].action_id} ({actions[0].kind}) is {word}{more}; on the cluster wait: {behind}{others}"
        )
        yield Finding(evidence, node_id)


def exclusive_patience_s(view: ClusterView) -> float:
    """How long that must last before it is said."""
    return view.namespace.settings.exclusive_patience


def _why(view: ClusterView, action: Action) -> str | None:
    """Why an action does not go on, as far as it is known."""
    node = view.nodes.get(action.node_id) if action.node_id is not None else None
    if action.error:
        return action.error
    if node is not None and not node.takes_actions:
        return "its node is another cluster's" if node.foreign_id is not None else "its agent does not answer"
    if action.state is not ActionState.PENDING_SCHEDULE:
        return None
    if not view.namespace.may_act:
        return f"its namespace is {view.namespace.status}"
    others = (one for one in view.actions.values() if one.node_id == action.node_id)
    before = (
        next((one for one in others if one.state.on_agent or one.left_running), None)
        if action.node_id is not None
        else None
    )
    return f"it waits for action {before.action_id} on its node" if before is not None else None
