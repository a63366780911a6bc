"""What is known of kinds of stores by their name, which each agent spells in its own way; and who votes in a cluster."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from blocks.models.node import Node, NodeStatus
from blocks.models.view import ClusterView

FAMILIES: Final = ("mongo", "kafka", "zookeeper")
"""How the names of those begin that have several spellings (MongoDB, mongo.replica), whatever the case."""
VOTELESS: Final = frozenset({"kafka"})
"""Families whose brokers elect nobody among themselves: a shard is served as long as one copy in sync is there."""
MAJORITY_FROM: Final = 3
"""Sets smaller than this have no majority to lose."""
NEW: Final = frozenset({NodeStatus.NOT_IN_CLUSTER, NodeStatus.JOINING_CLUSTER})


@dataclass(frozen=True, slots=True)
class Electorate:
    """Nodes that need a majority among themselves."""

    nodes: frozenset[str]
    shard_id: str | None = None
    """A shard that they share; None: they are all of the cluster."""


def is_newcomer(node: Node) -> bool:
    """Whether a node says that it is no member, or not yet, and has nothing of the cluster."""
    return node.status in NEW and node.seen_status in NEW and not node.shards


def family(store_id: str) -> str:
    """Of which family a store is; one that is not known is its own."""
    name = store_id.casefold()
    return next((one for one in FAMILIES if name.startswith(one)), name)


def release(node: Node) -> tuple[str, str] | None:
    """Family and version of a node's store, without what only says how it was built; None where it is not known now."""
    if node.store_id is None or node.store_version is None or node.info_stale_since is not None:
        return None
    return family(node.store_id), node.store_version.number.partition("+")[0].strip()


def electorates(view: ClusterView) -> tuple[Electorate, ...]:
    """Who needs a majority among whom: none in a store whose nodes do not vote, else the members that share a shard.

    Where fewer than two such sets are known (one set, agents that give each copy a shard of its own, or nothing read yet)
    it is all members of the cluster. Nodes that do not count, and newcomers, are in none.
    """
    uncounted = set(view.spec.not_counted)
    members = [node for node in view.nodes.values() if node.node_id not in uncounted and not is_newcomer(node)]
    if any(node.store_id is not None and family(node.store_id) in VOTELESS for node in members):
        return ()
    having: dict[str, list[str]] = defaultdict(list)
    for node in members:
        for shard in node.shards:
            having[shard.shard_id].append(node.node_id)
    sets: dict[frozenset[str], str] = {}
    for shard_id in sorted(having):
        if len(having[shard_id]) > 1:
            sets.setdefault(frozenset(having[shard_id]), shard_id)
    if len(sets) > 1:
        return tuple(Electorate(nodes, shard_id) for nodes, shard_id in sets.items())
    return (Electorate(frozenset(node.node_id for node in members)),)
