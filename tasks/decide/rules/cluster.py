"""What can be wrong with a cluster as a whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from blocks.models.node import NodeStatus, ShardRole
from blocks.models.request import WorkState
from blocks.models.view import ClusterView
from tasks.decide.rules.base import Finding, Scene, examples, moment

MAJORITY_FROM = 3
"""Clusters smaller than this have no majority to lose."""


def not_serving(scene: Scene) -> Iterator[Finding]:
    """No node serves."""
    if scene.total and scene.serving == 0:
        yield Finding(f"none of {scene.total} nodes serves: {scene.counts}")


def majority_lost(scene: Scene) -> Iterator[Finding]:
    """Some serve, and no majority."""
    if scene.total >= MAJORITY_FROM and 0 < scene.serving <= scene.total // 2:
        yield Finding(f"{scene.serving} of {scene.total} nodes serve: {scene.counts}")


def majority_at_risk(scene: Scene) -> Iterator[Finding]:
    """Just a majority serves."""
    if scene.total >= MAJORITY_FROM and scene.serving == scene.total // 2 + 1:
        yield Finding(f"{scene.serving} of {scene.total} nodes serve")


def primary_grace_s(view: ClusterView) -> float:
    """For how many seconds elections are normal."""
    own = view.spec.primary_grace
    return own if own is not None else view.namespace.settings.primary_grace


def _without_primary(scene: Scene) -> dict[str, list[str]]:
    """By shard that no fresh node is primary for, the nodes that were when they last told, and may still be."""
    bare = [shard for shard, primaries in scene.primaries.items() if primaries == 0]
    if not bare:
        return {}
    silent: dict[str, list[str]] = defaultdict(list)
    known = {node.node_id for node in scene.fresh}
    for node in scene.view.nodes.values():
        gone = node.foreign_id is not None or node.seen_status in {NodeStatus.UNAVAILABLE, NodeStatus.NOT_IN_CLUSTER}
        if node.node_id in known or gone:
            continue
        for shard in node.shards:
            if shard.role is ShardRole.PRIMARY:
                silent[shard.shard_id].append(node.node_id)
    return {shard: silent.get(shard, []) for shard in bare}


def no_primary(scene: Scene) -> Iterator[Finding]:
    """A shard without primary, for all that is known."""
    return examples([shard for shard, silent in _without_primary(scene).items() if not silent], "no primary for")


def primary_unknown(scene: Scene) -> Iterator[Finding]:
    """A shard whose last primary cannot be asked: it may still be one."""
    unknown = {shard: silent for shard, silent in _without_primary(scene).items() if silent}
    return examples([f"{shard} (last {', '.join(silent[:2])})" for shard, silent in unknown.items()], "unknown for")


def several_primaries(scene: Scene) -> Iterator[Finding]:
    """A shard with more than one primary."""
    return examples([shard for shard, primaries in scene.primaries.items() if primaries > 1], "several primaries for")


def versions(scene: Scene) -> Iterator[Finding]:
    """Nodes that run different versions of the store."""
    nodes = scene.view.nodes.values()
    found = {f"{node.store_id} {node.store_version}" for node in nodes if node.store_version is not None}
    if len(found) > 1:
        yield Finding(", ".join(sorted(found)))


def missing(scene: Scene) -> Iterator[Finding]:
    """Its source no longer tells of it."""
    discovery = scene.view.discovery
    if discovery is not None and discovery.missing_since is not None:
        yield Finding(f"{discovery.source} has not told of it since {moment(discovery.missing_since)}")


def dead_work(scene: Scene) -> Iterator[Finding]:
    """Its work item waits for a person."""
    item = scene.view.dead_work
    if item is not None and item.state is WorkState.DEAD:
        since = f" since {moment(item.finished_at)}" if item.finished_at is not None else ""
        yield Finding(f"{item.key} is dead{since}: {item.error or 'no reason is known'}")
