"""From what was known of a node and what one look brought: what is known now. A failed part keeps its last good facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from blocks.models.action import Action
from blocks.models.cluster import Discovery
from blocks.models.look import ActionsInfo, Failure, Look, NodeInfo, ShardsInfo, StoreInfo
from blocks.models.node import REWINDS_MAX, SHARDS_MAX, Node, NodeStatus, Rewind, Shard, ShardRole
from blocks.models.source import DiscoveredNode
from tasks.decide.clocks import Limits, clock_off
from tasks.decide.damping import damped
from tasks.decide.foreign import foreign_id

NOTES_SHOWN_MAX = 3
"""So much of what could not be read is named where a node is told of."""
NOTES_MAX = 20
REWINDS_KEPT = timedelta(hours=1)
PROTOCOL_CHANGE_KEPT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Policy:
    """How a look is judged."""

    status_hold_s: float = 0.0
    """See `tasks.decide.damping`."""
    refuse_foreign: bool = False
    """See `tasks.decide.foreign`."""
    clocks: Limits = field(default_factory=Limits)
    sent: Mapping[str, Action] = field(default_factory=dict)
    """By id, the cluster's actions."""


def merge(
    known: Node | None,
    discovered: DiscoveredNode,
    discovery: Discovery,
    look: Look,
    *,
    now: datetime,
    policy: Policy | None = None,
) -> Node:
    """The node after a look.

    Args:
        known: the node as stored; None when it is new.
        discovered: what its source says of it; the id and address are the source's.
        discovery: the cluster's discovery record.
        look: what the agent answered, part by part.
        now: when the look began.
        policy: how it is judged; without one, at once and without refusing anything.
    """
    policy = policy or Policy()
    facts: dict[str, Any] = dict(known) if known is not None else {}
    facts |= {
        "namespace": discovery.namespace,
        "cluster_id": discovery.cluster_id,
        "node_id": discovered.node_id,
        "agent_address": discovered.agent_address,
        "node_class": discovered.node_class,
        "node_group": discovered.node_group,
    }
    _forget(facts, now)
    foreign = foreign_id(known, look, discovery.cluster_id) if policy.refuse_foreign else None
    facts["foreign_id"] = foreign
    facts["tls_trouble"] = look.tls_trouble
    notes: list[str] = []
    if foreign is not None and not isinstance(look.info, Failure):
        status, text = _refused(facts, look.info, foreign, discovery.cluster_id, now)
    else:
        status, text = _accepted(facts, look, now, notes, policy)
    # Who a node is, is said at once: neither what began with another identity nor what ended with it is damped.
    identity = foreign is not None or (known is not None and known.foreign_id is not None)
    hold_s = 0.0 if identity else policy.status_hold_s
    facts |= damped(known, status, text, now=now, hold_s=hold_s)
    facts["notes"] = tuple(notes[:NOTES_MAX])
    return Node(**facts)


def _accepted(
    facts: dict[str, Any], look: Look, now: datetime, notes: list[str], policy: Policy
) -> tuple[NodeStatus, str | None]:
    status, text = _info(facts, look.info, now)
    if not isinstance(look.info, Failure):
        shards = look.shards
        if isinstance(shards, ShardsInfo) and status is NodeStatus.UNAVAILABLE and _lacks(shards, facts):
            shards = shards.evolve(partial=True)  # of a store that is down an agent cannot know what it no longer has
        missing = [*_store(facts, look.store, now), *_shards(facts, shards, now, notes)]
        if missing and status is NodeStatus.HEALTHY:
            status, text = NodeStatus.INCOMPLETE, "; ".join(missing)
        elif text is None and status is not NodeStatus.HEALTHY:
            text = "; ".join([f"the agent says {status}", *missing])
    asked = isinstance(look.actions, ActionsInfo) and not any(
        isinstance(word, Failure) for word in look.details.values()
    )
    _stale(facts, "actions_stale_since", failed=not asked, now=now)
    if isinstance(look.actions, Failure):
        notes.append(f"actions: {look.actions.reason}")
    if look.details or facts.get("clock_off") is not None:
        facts["clock_off"] = clock_off(
            facts.get("clock_off"), look.details.values(), policy.sent, policy.clocks, now=now
        )
    return status, text


def _lacks(told: ShardsInfo, facts: dict[str, Any]) -> bool:
    """Whether shards that the node had are not told of."""
    return bool({shard.shard_id for shard in facts.get("shards", ())} - {shard.shard_id for shard in told.shards})


def _refused(
    facts: dict[str, Any], info: NodeInfo, foreign: str, cluster_id: str, now: datetime
) -> tuple[NodeStatus, str | None]:
    """Nothing that the node tells is taken, but how to speak to it; what it told as this cluster's is kept as not fresh."""
    _protocol(facts, info, now)
    if facts.get("reported_cluster_id") not in {None, cluster_id}:  # taken before it was known to be another's
        facts |= {"reported_cluster_id": None, "store_attributes": {}, "shards": (), "rewinds": ()}
    for part in ("info_stale_since", "store_stale_since", "shards_stale_since", "actions_stale_since"):
        _stale(facts, part, failed=True, now=now)
    return NodeStatus.UNKNOWN, f"its store says cluster {foreign!r}: what it tells is refused"


def _forget(facts: dict[str, Any], now: datetime) -> None:
    changed_at = facts.get("protocol_changed_at")
    if changed_at is not None and now - changed_at >= PROTOCOL_CHANGE_KEPT:
        facts |= {"protocol_before": None, "protocol_changed_at": None}
    if rewinds := facts.get("rewinds"):
        facts["rewinds"] = tuple(one for one in rewinds if now - one.at < REWINDS_KEPT)


def _kept(facts: dict[str, Any], field: str, info: NodeInfo) -> dict[str, Any]:
    """What an agent cannot tell while its store is down is not gone: it is as it was."""
    return facts.get(field) or {} if info.status is NodeStatus.UNAVAILABLE else {}


def _protocol(facts: dict[str, Any], info: NodeInfo, now: datetime) -> None:
    before = facts.get("protocol")
    if before is not None and before is not info.protocol:
        facts |= {"protocol_before": before, "protocol_changed_at": now}
    facts["protocol"] = info.protocol


def _info(facts: dict[str, Any], info: NodeInfo | Failure, now: datetime) -> tuple[NodeStatus, str | None]:
    _stale(facts, "info_stale_since", failed=isinstance(info, Failure), now=now)
    if isinstance(info, Failure):
        for part in ("store_stale_since", "shards_stale_since"):
            _stale(facts, part, failed=True, now=now)
        return NodeStatus.UNREACHABLE, info.reason
    _protocol(facts, info, now)
    facts |= {
        "agent_version": info.agent_version,
        "store_id": info.store_id or facts.get("store_id"),
        "store_version": info.store_version or facts.get("store_version"),
        "reported_node_id": info.node_id or facts.get("reported_node_id"),
        "addresses": {**_kept(facts, "addresses", info), **info.addresses},
        "attributes": {**_kept(facts, "attributes", info), **info.attributes},
    }
    return info.status, info.status_text


def _store(facts: dict[str, Any], store: StoreInfo | Failure | None, now: datetime) -> list[str]:
    known = isinstance(store, StoreInfo)
    _stale(facts, "store_stale_since", failed=not known, now=now)
    if isinstance(store, StoreInfo):
        facts |= {"reported_cluster_id": store.cluster_id, "store_attributes": store.attributes}
        return []
    return [f"store details: {store.reason if store is not None else 'not asked'}"]


def _shards(facts: dict[str, Any], shards: ShardsInfo | Failure | None, now: datetime, notes: list[str]) -> list[str]:
    known = isinstance(shards, ShardsInfo)
    _stale(facts, "shards_stale_since", failed=not known, now=now)
    if isinstance(shards, ShardsInfo):
        before: tuple[Shard, ...] = facts.get("shards", ())
        rewinds = (*facts.get("rewinds", ()), *_rewound(before, shards.shards, now))
        facts["rewinds"] = tuple(one for one in rewinds if now - one.at < REWINDS_KEPT)[-REWINDS_MAX:]
        facts["shards"] = shards.shards if shards.whole else _with_unread(before, shards, now)
        notes.extend(f"shards: {note}" for note in shards.notes)
        return [] if shards.whole else [_unread(shards)]
    return [f"shards: {shards.reason if shards is not None else 'not asked'}"]


def _with_unread(before: tuple[Shard, ...], told: ShardsInfo, now: datetime) -> tuple[Shard, ...]:
    """What was told, and the last good copy of what may be there still; what is new gives way where all is too much."""
    known, fresh, unread = {one.shard_id for one in before}, {one.shard_id for one in told.shards}, set(told.unread)
    kept = tuple(
        one if one.stale_since is not None else one.model_copy(update={"stale_since": now})
        for one in before
        if one.shard_id not in fresh and (told.partial or one.shard_id in unread)
    )
    room, shards = SHARDS_MAX - len(kept), told.shards
    if len(shards) > room:
        shards = tuple(sorted(shards, key=lambda one: one.shard_id not in known))[:room]
    return shards + kept


def _unread(told: ShardsInfo) -> str:
    if told.notes:
        more = f"; and {len(told.notes) - NOTES_SHOWN_MAX} more" if len(told.notes) > NOTES_SHOWN_MAX else ""
        return f"shards: {'; '.join(told.notes[:NOTES_SHOWN_MAX])}{more}"
    if not told.unread:
        return "shards: not all could be read"
    more = f" and {len(told.unread) - 1} more" if len(told.unread) > 1 else ""
    return f"shards: {min(told.unread)}{more} could not be read"


def _rewound(before: Iterable[Shard], after: Iterable[Shard], now: datetime) -> list[Rewind]:
    """Shards that the node was and is primary for, and whose offset is smaller than before. Another unit is another log."""
    known = {shard.shard_id: shard for shard in before if shard.role is ShardRole.PRIMARY}
    return [
        Rewind(shard_id=shard.shard_id, before=old.commit_offset, after=shard.commit_offset, at=now)
        for shard in after
        if shard.role is ShardRole.PRIMARY
        and shard.commit_offset is not None
        and (old := known.get(shard.shard_id)) is not None
        and old.commit_offset is not None
        and old.commit_offset.unit == shard.commit_offset.unit
        and shard.commit_offset.value < old.commit_offset.value
    ]


def _stale(facts: dict[str, Any], field: str, *, failed: bool, now: datetime) -> None:
    """Remember since when a part is not fresh, from the first failure on."""
    facts[field] = (facts.get(field) or now) if failed else None
