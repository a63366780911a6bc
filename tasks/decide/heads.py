"""Whether a new primary of a shard begins where the one before it ended: what it does not have, somebody has lost.

Each copy remembers how far it was when it was last seen as primary. A new primary that is behind the furthest of these may catch
up still, or has not told all that it has: that is said only if it is behind after the time that elections may take. A unit is one
log; a log of ZooKeeper goes on in a later epoch, whose numbers are greater.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from blocks.models.node import REWINDS_MAX, Node, Offset, Rewind, Shard, ShardRole

PRIMARY = ShardRole.PRIMARY
Copies = dict[str, dict[str, Shard]]
"""By node id, by shard id, its copy."""


def with_heads(
    before: Mapping[str, Node], after: Mapping[str, Node], *, grace_s: float, now: datetime
) -> dict[str, Node]:
    """The nodes, with what their copies remember, and with the primaries that turn out to have lost something.

    Args:
        before: by id, the nodes as stored.
        after: by id, the same after the looks.
        grace_s: for how many seconds a new primary may be behind.
        now: when the looks began.
    """
    copies: Copies = {}
    doubtful: dict[str, list[str]] = {}
    for node_id, node in after.items():
        copies[node_id] = {}
        known = {shard.shard_id: shard for shard in before[node_id].shards} if node_id in before else {}
        for shard in node.shards:
            copy = _remembering(known.get(shard.shard_id), shard, now) if _fresh(node, shard) else shard
            copies[node_id][shard.shard_id] = copy
            if copy.behind_since is not None and _fresh(node, copy):
                doubtful.setdefault(shard.shard_id, []).append(node_id)
    back = {node_id: _new_rewinds(before.get(node_id), node) for node_id, node in after.items()}
    for shard_id, primaries in doubtful.items():
        if len(primaries) == 1:
            _judge(shard_id, primaries[0], copies, after, back, timedelta(seconds=grace_s), now)
    _forget(copies, back)
    return {node_id: _node(node, copies[node_id], back[node_id]) for node_id, node in after.items()}


def _fresh(node: Node, shard: Shard) -> bool:
    return node.shards_fresh and shard.stale_since is None


def _remembering(known: Shard | None, shard: Shard, now: datetime) -> Shard:
    """A copy as it was told, with what was remembered of it; whoever is primary anew is doubted until it is compared."""
    own, led = shard.commit_offset, known.led if known is not None else None
    was_primary = known is not None and known.role is PRIMARY
    if was_primary and known is not None and known.commit_offset is not None and shard.role is not PRIMARY:
        led = known.commit_offset if led is None or not _behind(known.commit_offset, led) else led
    if shard.role is not PRIMARY:
        return shard.evolve(led=led) if led is not None else shard
    since = known.behind_since if was_primary and known is not None else now
    kept = led if led is not None and own is not None and _behind(own, led) else None
    return shard.evolve(led=kept, behind_since=since) if kept is not None or since is not None else shard


def _behind(one: Offset, other: Offset) -> bool:
    return one.unit == other.unit and one.value < other.value


def _judge(
    shard_id: str,
    node_id: str,
    copies: Copies,
    nodes: Mapping[str, Node],
    back: dict[str, tuple[Rewind, ...]],
    grace: timedelta,
    now: datetime,
) -> None:
    """Compare a new primary with what those before it had: it is as far, or may catch up still, or has lost something."""
    copy = copies[node_id][shard_id]
    if copy.behind_since is None:
        return
    head = _head(shard_id, copies, nodes)
    own = copy.commit_offset
    if own is not None and head is not None and _behind(own, head):
        if now - copy.behind_since < grace:
            return
        back[node_id] = (*back[node_id], Rewind(shard_id=shard_id, before=head, after=own, at=now))
    copies[node_id][shard_id] = copy.evolve(behind_since=None)


def _head(shard_id: str, copies: Copies, nodes: Mapping[str, Node]) -> Offset | None:
    """The furthest that a primary of a shard was seen, but for what is said already."""
    said = {one.before for node in nodes.values() for one in node.rewinds if one.shard_id == shard_id}
    found = []
    for node_id, shards in copies.items():
        copy = shards.get(shard_id)
        if copy is not None:
            last = copy.role is PRIMARY and not _fresh(nodes[node_id], copy)
            found += [copy.led, copy.commit_offset if last else None]
    return max((one for one in found if one is not None and one not in said), key=lambda one: one.value, default=None)


def _new_rewinds(before: Node | None, after: Node) -> tuple[Rewind, ...]:
    known = before.rewinds if before is not None else ()
    return tuple(one for one in after.rewinds if one not in known)


def _forget(copies: Copies, back: Mapping[str, tuple[Rewind, ...]]) -> None:
    """What was lost and is said is nothing to compare the next primary with."""
    lost = {one.shard_id for rewinds in back.values() for one in rewinds}
    for shards in copies.values() if lost else ():
        for shard_id in lost & shards.keys():
            if shards[shard_id].led is not None:
                shards[shard_id] = shards[shard_id].evolve(led=None)


def _node(node: Node, copies: Mapping[str, Shard], back: tuple[Rewind, ...]) -> Node:
    shards = tuple(copies[shard.shard_id] for shard in node.shards)
    more = tuple(one for one in back if one not in node.rewinds)
    if not more and all(new is old for new, old in zip(shards, node.shards, strict=True)):
        return node
    return node.model_copy(update={"shards": shards, "rewinds": (*node.rewinds, *more)[-REWINDS_MAX:]})
