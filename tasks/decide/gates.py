"""The gates in front of every actor, in one place: people, schedules and self-healing all pass here, or do not.

Freezes, blackouts and maintenance windows are said by people for a place. Budgets and the health of the cluster are about the
nodes that would be acted on at once. An order that is forced, with a reason, passes budgets and health, and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from blocks.models.action import Action
from blocks.models.gate import Block, Gate, GateKind
from blocks.models.namespace import Namespace
from blocks.models.node import Node, NodeStatus, ShardRole
from blocks.models.rolling import RollingState
from blocks.models.view import ClusterView
from tasks.decide.stores import MAJORITY_FROM, Electorate, electorates

SERVING = frozenset({NodeStatus.HEALTHY, NodeStatus.INCOMPLETE})
COPIES = frozenset({ShardRole.PRIMARY, ShardRole.SECONDARY})
ABOUT_OTHERS = frozenset({"BUDGET", "MAJORITY", "LAST_COPY"})
"""Rules that say no because of other nodes: those that are acted on, or do not serve."""
NAMED_MAX = 3


def closed(gates: Iterable[Gate], now: datetime) -> Iterator[Block]:
    """What the gates in front of a cluster say at a moment."""
    windows: list[tuple[bool, datetime | None, Gate]] = []
    for gate in gates:
        if gate.expired(now):
            continue
        is_open, changes_at = gate.open_at(now)
        if gate.kind is GateKind.MAINTENANCE:
            windows.append((is_open, changes_at, gate))
        elif is_open:
            what = "frozen" if gate.kind is GateKind.FREEZE else "in a blackout"
            reason = f"{gate.where} is {what} ({gate.name}, {gate.owner}): {gate.reason}"
            yield Block(rule=gate.kind.value.upper(), reason=reason, until=changes_at)
    if windows and not any(is_open for is_open, _, _ in windows):
        opens = min((at for _, at, _ in windows if at is not None), default=None)
        names = ", ".join(sorted(gate.name for _, _, gate in windows)[:5])
        yield Block(rule="OUTSIDE_WINDOW", reason=f"outside its maintenance windows ({names})", until=opens)


def blocks(
    view: ClusterView, action: Action, disturbed: Collection[str], now: datetime, takes: str | None = None
) -> tuple[Block, ...]:
    """Everything that keeps an approved action from beginning now.

    Args:
        view: the cluster.
        action: what is to begin.
        disturbed: the nodes of the cluster that are acted on already.
        now: the present.
        takes: the node that an action on the cluster takes away.
    """
    found = [*stopped(view.namespace, now), *closed(view.gates, now), *_rolling(view, action)]
    node_id = takes if action.node_id is None else action.node_id
    if node_id is not None and action.forced is None and (takes is not None or disturbs(action, view.namespace)):
        found += [*_budget(view, node_id, disturbed), *health(view, node_id, disturbed)]
    return tuple(found)


def crowded(namespace: Namespace, others: Collection[str]) -> Iterator[Block]:
    """That other actions, by their ids, take all the room in the budget of a namespace."""
    most = namespace.settings.disruption_max
    if most is not None and len(others) >= most:
        text = (
            f"{len(others)} other actions take room in the budget of namespace {namespace.name}, and {most} may at once"
        )
        yield Block(rule="BUDGET", reason=f"{text}: {', '.join(sorted(others)[:NAMED_MAX])}")


def open_since(view: ClusterView, now: datetime) -> datetime | None:
    """Since when nothing holds all actions of a cluster, as far as its cycles saw; None: something does."""
    if any((*stopped(view.namespace, now), *closed(view.gates, now))):
        return None
    return (view.state.open_since if view.state is not None else None) or now


def disturbed_nodes(view: ClusterView, may_run: Collection[Action]) -> set[str]:
    """The nodes that are acted on, or may be, by these actions."""
    return {action.node_id for action in may_run if action.node_id is not None and disturbs(action, view.namespace)}


def disturbs(action: Action, namespace: Namespace) -> bool:
    """Whether an action may keep its node from serving for a while."""
    return not action.kind.startswith(namespace.settings.harmless_actions)


def unjudged(view: ClusterView, node_id: str) -> str | None:
    """That nothing was judged about a node that is to be taken away, since it is not known; None: it is."""
    if node_id in view.nodes:
        return None
    return f"node {node_id} is not known here: whether the cluster keeps its majority without it is not judged"


def stopped(namespace: Namespace, now: datetime) -> Iterator[Block]:
    """Why nothing begins in a namespace, whatever its gates say."""
    if not namespace.may_act:
        yield Block(rule="NAMESPACE", reason=f"namespace {namespace.name} is {namespace.status}")
    elif namespace.closing_until is not None and namespace.closing_until > now:
        reason = f"namespace {namespace.name} is about to be deleted"
        yield Block(rule="NAMESPACE", reason=reason, until=namespace.closing_until)


def _rolling(view: ClusterView, action: Action) -> Iterator[Block]:
    """An action that a rolling action made begins only while that runs."""
    if action.rolling_id is None:
        return
    rolling = view.rollings.get(action.rolling_id)
    if rolling is None or rolling.state is not RollingState.RUNNING:
        state = rolling.state if rolling is not None else "gone"
        yield Block(rule="ROLLING", reason=f"its rolling action {action.rolling_id} is {state}")


def _budget(view: ClusterView, node_id: str, disturbed: Collection[str]) -> Iterator[Block]:
    own, settings = view.spec.disruption_max, view.namespace.settings
    most = own if own is not None else settings.disruption_max_cluster
    if most is None:
        return
    others = sorted(set(disturbed) - {node_id})
    if len(others) >= most:
        reason = f"{len(others)} of its nodes are acted on already ({', '.join(others[:5])}), and {most} may be at once"
        yield Block(rule="BUDGET", reason=reason)


def health(view: ClusterView, node_id: str, disturbed: Collection[str]) -> Iterator[Block]:
    """What of the cluster's health speaks against a node that serves no more. Of a node that is not known nothing does.

    Args:
        view: the cluster.
        node_id: the node.
        disturbed: the nodes of the cluster that are acted on already.
    """
    node = view.nodes.get(node_id)
    if node is None or not _serves(node):
        return
    left = [one for one in view.nodes.values() if _serves(one) and one.node_id not in {node.node_id, *disturbed}]
    serve = {one.node_id for one in left}
    for one in _voting_with(view, node):
        total, voices = len(one.nodes), len(one.nodes & serve)
        if total >= MAJORITY_FROM and voices <= total // 2:
            of = f" of {one.shard_id}" if one.shard_id is not None else ""
            reason = f"only {voices} of {total} nodes{of} would be left that serve and are not acted on: no majority"
            yield Block(rule="MAJORITY", reason=reason)
            break
    fresh = (shard for one in left if one.shards_fresh for shard in one.shards if shard.stale_since is None)
    copies = {shard.shard_id for shard in fresh if shard.role in COPIES}
    last = sorted({shard.shard_id for shard in node.shards if shard.role in COPIES} - copies)
    if last:
        more = f" and {len(last) - 1} more" if len(last) > 1 else ""
        reason = f"{node.node_id} has the last healthy copy of {last[0]}{more}"
        yield Block(rule="LAST_COPY", reason=reason)


def _voting_with(view: ClusterView, node: Node) -> list[Electorate]:
    """Among whom a node has a vote. Where that is not known, or none votes, it is careful: all nodes that count are one set."""
    counted = frozenset(view.nodes.keys() - set(view.spec.not_counted))
    if node.node_id not in counted:
        return []
    return [one for one in electorates(view) if node.node_id in one.nodes] or [Electorate(counted)]


def _serves(node: Node) -> bool:
    return node.status in SERVING and node.seen_status in SERVING and node.foreign_id is None
