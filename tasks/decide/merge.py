"""From what was known of a node and what one look brought: what is known now. A failed part keeps its last good facts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from blocks.models.cluster import Discovery
from blocks.models.look import ActionsInfo, Failure, Look, NodeInfo, ShardsInfo, StoreInfo
from blocks.models.node import REWINDS_MAX, Node, NodeStatus, Rewind, Shard, ShardRole
from blocks.models.source import DiscoveredNode

NOTES_MAX = 20
REWINDS_KEPT = timedelta(hours=1)


def merge(known: Node | None, discovered: DiscoveredNode, discovery: Discovery, look: Look, *, now: datetime) -> Node:
    """The node after a look.

    Args:
        known: the node as stored; None when it is new.
        discovered: what its source says of it; the id and address are the source's.
        discovery: the cluster's discovery record.
        look: what the agent answered, part by part.
        now: when the look began.
    """
    facts: dict[str, Any] = dict(known) if known is not None else {"status_since": now}
    facts |= {
        "namespace": discovery.namespace,
        "cluster_id": discovery.cluster_id,
        "node_id": discovered.node_id,
        "agent_address": discovered.agent_address,
        "node_class": discovered.node_class,
        "node_group": discovered.node_group,
    }
    notes: list[str] = []
    status, text = _info(facts, look.info, now)
    if not isinstance(look.info, Failure):
        missing = [*_store(facts, look.store, now), *_shards(facts, look.shards, now, notes)]
        if missing and status is NodeStatus.HEALTHY:
            status, text = NodeStatus.INCOMPLETE, "; ".join(missing)
    asked = isinstance(look.actions, ActionsInfo) and not any(
        isinstance(word, Failure) for word in look.details.values()
    )
    _stale(facts, "actions_stale_since", failed=not asked, now=now)
    if isinstance(look.actions, Failure):
        notes.append(f"actions: {look.actions.reason}")
    if known is None or known.status is not status:
        facts["status_since"] = now
    facts |= {"status": status, "status_text": text, "notes": tuple(notes[:NOTES_MAX])}
    return Node(**facts)


def _info(facts: dict[str, Any], info: NodeInfo | Failure, now: datetime) -> tuple[NodeStatus, str | None]:
    _stale(facts, "info_stale_since", failed=isinstance(info, Failure), now=now)
    if isinstance(info, Failure):
        for part in ("store_stale_since", "shards_stale_since"):
            _stale(facts, part, failed=True, now=now)
        return NodeStatus.UNREACHABLE, info.reason
    facts |= {
        "protocol": info.protocol,
        "agent_version": info.agent_version,
        "store_id": info.store_id or facts.get("store_id"),
        "store_version": info.store_version or facts.get("store_version"),
        "reported_node_id": info.node_id or facts.get("reported_node_id"),
        "addresses": info.addresses,
        "attributes": info.attributes,
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
        rewinds = (*facts.get("rewinds", ()), *_rewound(facts.get("shards", ()), shards.shards, now))
        facts["rewinds"] = tuple(one for one in rewinds if now - one.at < REWINDS_KEPT)[-REWINDS_MAX:]
        facts["shards"] = shards.shards
        notes.extend(f"shards: {note}" for note in shards.notes)
        return []
    return [f"shards: {shards.reason if shards is not None else 'not asked'}"]


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
