"""How far copies of shards are behind their primary: their agent's word, or else our difference of two offsets.

The difference means something only where a shard has exactly one primary, both offsets are fresh and have one unit, and
count the same thing: a ZooKeeper zxid counts within its epoch (its upper 32 bits) only, and a moment of zero is none. A
negative lag, told or computed, is unknown. What is computed here is shown and never stored with the node, as if its agent
had said it; and it never makes a problem, so that it is no cause of an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from blocks.models.node import VALUE_MAX, Node, Offset, Shard, ShardRole

EPOCH_BITS = 32
BEHIND = frozenset({ShardRole.SECONDARY, ShardRole.RECOVERING})


class Lag(NamedTuple):
    """How far one copy is behind."""

    node_id: str
    shard_id: str
    unit: str
    value: int
    synthesised: bool
    """Whether it is our difference, not the agent's word."""


def lags(nodes: Iterable[Node], primaries: Mapping[str, int]) -> Iterator[Lag]:
    """The known lags of a cluster.

    Args:
        nodes: those whose shards are fresh.
        primaries: by shard, how many of these nodes are primary for it.
    """
    nodes = tuple(nodes)
    heads: dict[str, Offset] | None = None
    for node in nodes:
        for shard in node.shards:
            if shard.stale_since is not None:
                continue
            if shard.lag is not None:
                if shard.lag.value >= 0 and shard.role is not ShardRole.PRIMARY:
                    yield Lag(node.node_id, shard.shard_id, shard.lag.unit, shard.lag.value, synthesised=False)
            elif shard.role in BEHIND and shard.commit_offset is not None and primaries.get(shard.shard_id) == 1:
                heads = _heads(nodes) if heads is None else heads
                behind = _behind(heads.get(shard.shard_id), shard.commit_offset)
                if behind is not None:
                    yield Lag(node.node_id, shard.shard_id, shard.commit_offset.unit, behind, synthesised=True)


def _heads(nodes: Iterable[Node]) -> dict[str, Offset]:
    return {
        shard.shard_id: shard.commit_offset
        for node in nodes
        for shard in node.shards
        if shard.role is ShardRole.PRIMARY and shard.commit_offset is not None and shard.stale_since is None
    }


def _behind(head: Offset | None, own: Offset) -> int | None:
    if head is None or head.unit != own.unit or head.value < own.value:
        return None
    if head.unit == "zxid" and head.value >> EPOCH_BITS != own.value >> EPOCH_BITS:
        return None
    if own.milliseconds is not None and own.value <= 0:
        return None
    behind = head.value - own.value
    return behind if behind <= VALUE_MAX else None  # no log is that long: one of the two is nonsense


def worst(shards: Iterable[Shard]) -> int:
    """The largest lag of a node's secondaries, by its agent's word, in milliseconds; 0 where none is known."""
    told = (
        shard.lag.milliseconds
        for shard in shards
        if shard.lag is not None and shard.stale_since is None and shard.role is not ShardRole.PRIMARY
    )
    return max((lag for lag in told if lag is not None), default=0)


def worst_in(shards: Iterable[Shard], unit: str) -> int:
    """The largest lag of a node's copies, by its agent's word, in a unit; 0 where none is known."""
    return max(
        (
            shard.lag.value
            for shard in shards
            if shard.lag is not None and shard.lag.unit == unit and shard.role in BEHIND and shard.stale_since is None
        ),
        default=0,
    )
