"""What can be wrong with a cluster as a whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from blocks.models.node import NodeStatus, ShardRole
from blocks.models.request import WorkState
from blocks.models.view import ClusterView
from tasks.decide.rules.base import Finding, Scene, Voters, moment, of_shards
from tasks.decide.stores import release

EXAMPLES, WORDS_MAX = 2, 120
"""So many nodes are quoted, or sets of them, with so much of their words."""


def not_serving(scene: Scene) -> Iterator[Finding]:
    """No node serves, for certain; where there are only newcomers, nobody has made a cluster of them."""
    total = scene.total + scene.newcomers
    if total and scene.serving + scene.unasked == 0:
        new = f", {scene.newcomers} no member yet" if scene.newcomers and scene.total else ""
        told = f"none of {total} nodes serves: {scene.members.counts or 'none is a member'}{new}"
        yield Finding(told + _words(scene))


def _words(scene: Scene, *statuses: NodeStatus) -> str:
    """What the first nodes with trouble (of these statuses; none: of any) say, or what came of asking them."""
    ill = [node for node in scene.view.nodes.values() if node.status_text and (not statuses or node.status in statuses)]
    said = [f"; {node.node_id}: {node.status_text[:WORDS_MAX]}" for node in ill[:EXAMPLES] if node.status_text]
    return "".join(said)


def unknown(scene: Scene) -> Iterator[Finding]:
    """No node is known to serve, and some may."""
    if scene.serving == 0 and scene.unasked:
        told = f"{scene.unasked} of {scene.total} nodes cannot be asked, and none is known to serve: {scene.members.counts}"
        yield Finding(told + _words(scene, NodeStatus.UNREACHABLE))


def majority_lost(scene: Scene) -> Iterator[Finding]:
    """Some serve, or may, and of a set that votes they are no majority even if all that may do."""
    if scene.serving + scene.unasked:
        yield from _of_sets(
            [one for one in scene.voters if one.serving + one.unasked <= one.total // 2],
            lambda one: f"nodes serve{f', and {one.unasked} more may' if one.unasked else ''}: {one.counts}",
        )


def majority_unknown(scene: Scene) -> Iterator[Finding]:
    """Some serve, and whether they are a majority depends on nodes that cannot be asked."""
    if scene.serving:
        for found in _of_sets(
            [one for one in scene.voters if one.serving <= one.total // 2 < one.serving + one.unasked],
            lambda one: f"nodes serve, and {one.unasked} cannot be asked: {one.counts}",
        ):
            yield replace(found, evidence=found.evidence + _words(scene, NodeStatus.UNREACHABLE))


def majority_at_risk(scene: Scene) -> Iterator[Finding]:
    """Just a majority serves."""
    return _of_sets([one for one in scene.voters if one.serving == one.total // 2 + 1], lambda _: "nodes serve")


def _of_sets(found: Sequence[Voters], how: Callable[[Voters], str]) -> Iterator[Finding]:
    """A finding about sets of nodes that vote; the first few are told of."""
    if found:
        told = [f"{one.name}{one.serving} of {one.total} {how(one)}" for one in found[:EXAMPLES]]
        more = f" and {len(found) - EXAMPLES} more" if len(found) > EXAMPLES else ""
        yield Finding("; ".join(told) + more, nodes=frozenset().union(*(one.nodes for one in found)))


def primary_grace_s(view: ClusterView) -> float:
    """For how many seconds elections are normal."""
    own = view.spec.primary_grace
    return own if own is not None else view.namespace.settings.primary_grace


def _without_primary(scene: Scene) -> dict[str, list[str]]:
    """By shard without a known primary, the nodes that cannot be asked and may be its primary."""
    return {shard: scene.silent.get(shard, []) for shard, primaries in scene.primaries.items() if primaries == 0}


def no_primary(scene: Scene) -> Iterator[Finding]:
    """Shards that no node is primary for, and none may be."""
    return of_shards(
        {shard: shard for shard, silent in _without_primary(scene).items() if not silent}, "no primary for"
    )


def primary_unknown(scene: Scene) -> Iterator[Finding]:
    """Shards of which a node cannot be asked: it may be their primary."""
    silent = {shard: nodes for shard, nodes in _without_primary(scene).items() if nodes}
    named = {shard: f"{shard} (cannot be asked: {', '.join(nodes[:2])})" for shard, nodes in silent.items()}
    return of_shards(named, "unknown for", frozenset(chain.from_iterable(silent.values())))


def several_primaries(scene: Scene) -> Iterator[Finding]:
    """Shards with more than one primary; two agents of one member are a mistake in the inventory, and no second primary."""
    suspects = {shard for shard, primaries in scene.primaries.items() if primaries > 1}
    if not suspects:
        return
    members: dict[str, set[str]] = defaultdict(set)
    for node in scene.fresh:
        name = node.addresses.get("member") or node.reported_node_id or node.node_id
        for shard in node.shards:
            if shard.role is ShardRole.PRIMARY and shard.shard_id in suspects:
                members[shard.shard_id].add(name)
    several = {shard: shard for shard in sorted(suspects) if len(members[shard]) > 1}
    yield from of_shards(several, "several primaries for")


def versions(scene: Scene) -> Iterator[Finding]:
    """Nodes that run different versions of one store, as far as they can be asked; agents spell its name differently."""
    releases: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for node in scene.view.nodes.values():
        if (told := release(node)) is not None:
            releases[told[0]][told[1]].add(f"{node.store_id} {node.store_version}")
    skewed = [chain.from_iterable(one.values()) for one in releases.values() if len(one) > 1]
    if skewed:
        yield Finding(", ".join(sorted(chain.from_iterable(skewed))))


def missing(scene: Scene) -> Iterator[Finding]:
    """Its source no longer tells of it."""
    discovery = scene.view.discovery
    if discovery is not None and discovery.missing_since is not None:
        yield Finding(f"{discovery.source} has not told of it since {moment(discovery.missing_since)}")


def tls_material(scene: Scene) -> Iterator[Finding]:
    """What its nodes are asked with cannot be used any more, and the last good one still is."""
    reasons = sorted({node.tls_trouble for node in scene.view.nodes.values() if node.tls_trouble})
    if reasons:
        yield Finding("; ".join(reasons[:EXAMPLES]))


def dead_work(scene: Scene) -> Iterator[Finding]:
    """Its work item waits for a person."""
    item = scene.view.dead_work
    if item is not None and item.state is WorkState.DEAD:
        since = f" since {moment(item.finished_at)}" if item.finished_at is not None else ""
        yield Finding(f"{item.key} is dead{since}: {item.error or 'no reason is known'}")
