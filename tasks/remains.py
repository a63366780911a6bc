"""What is stored of clusters, read so that one broken record keeps nobody from removing it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.gate import Gate
from blocks.models.ids import ClusterRef
from blocks.models.node import Node
from blocks.models.record import Record, RecordKey
from blocks.models.rolling import UNFINISHED as UNFINISHED_ROLLINGS
from blocks.models.rolling import Rolling
from blocks.models.source import Source
from blocks.store.protocol import Store, Where
from tasks.decide.remove import Remains

R = TypeVar("R", bound=Record)

READ_MAX = 100_000
UNFINISHED = tuple(state for state in ActionState if not state.final)


async def remains_of(store: Store, ref: ClusterRef) -> Remains:
    """All that is left of a cluster; what cannot be read is there by its key."""
    where = Where(namespace=ref.namespace, cluster_id=ref.cluster_id)
    unreadable: list[RecordKey] = []

    def apart(type_: type[Any], broken: Collection[str]) -> None:
        unreadable.extend(RecordKey(type_, key) for key in broken)

    async def one(type_: type[R]) -> R | None:
        found, broken = await store.readable_many(type_, {ref.key})
        apart(type_, broken)
        return found.get(ref.key)

    async def many(type_: type[R], narrowed: Where) -> list[R]:
        found, broken = await store.readable(type_, narrowed, limit=READ_MAX)
        apart(type_, broken)
        return found

    discovery = await one(Discovery)
    source = None if discovery is None else discovery.source
    return Remains(
        ref=ref,
        spec=await one(ClusterSpec),
        discovery=discovery,
        state=await one(ClusterState),
        nodes=await many(Node, where),
        actions=await many(Action, where.evolve(action_states=UNFINISHED)),
        rollings=await many(Rolling, where.evolve(rolling_states=UNFINISHED_ROLLINGS)),
        left=await many(Action, where.evolve(left_running=True)),
        gates=await many(Gate, where),
        source=None if source is None else (await store.readable_many(Source, {source}))[0].get(source),
        unreadable=tuple(dict.fromkeys(unreadable)),
    )


async def all_specs(store: Store) -> list[ClusterSpec]:
    """Those that can be read."""
    return (await store.readable(ClusterSpec, limit=READ_MAX))[0]


async def clusters_left(store: Store, name: str, limit: int) -> list[ClusterRef]:
    """Clusters of which anything is left in a namespace, at most so many; unfinished actions count, too. Those that cannot be
    read do not: they do not say of which cluster they are.
    """
    found: dict[str, ClusterRef] = {}
    for type_ in (ClusterSpec, Discovery, ClusterState):
        records: Sequence[ClusterSpec | Discovery | ClusterState]
        records, broken = await store.readable(type_, Where(namespace=name), limit=limit)
        found |= {record.key: record.ref for record in records}
        found |= {key: ClusterRef.from_key(key) for key in broken}
        if len(found) >= limit:
            return list(found.values())[:limit]
    nodes, broken = await store.readable(Node, Where(namespace=name), limit=limit)
    found |= {node.cluster.key: node.cluster for node in nodes}
    for ref in (ClusterRef.from_key(key.rpartition("/")[0]) for key in broken):
        found[ref.key] = ref
    actions, _ = await store.readable(Action, Where(namespace=name, action_states=UNFINISHED), limit=limit)
    found |= {action.cluster.key: action.cluster for action in actions}
    of_rollings = Where(namespace=name, rolling_states=UNFINISHED_ROLLINGS)
    rollings, _ = await store.readable(Rolling, of_rollings, limit=limit)
    found |= {rolling.cluster.key: rolling.cluster for rolling in rollings}
    return list(found.values())[:limit]
