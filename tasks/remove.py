"""Remove clusters and sources under their locks. All of it can be done again after a crash, by the same order, and comes to
the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.coordinator.protocol import Claim
from blocks.errors import ConflictError, NotFoundError, RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.ids import ClusterRef, SourceRef
from blocks.models.node import Node
from blocks.models.record import Change
from blocks.models.request import WorkKind, work_key
from blocks.models.rolling import UNFINISHED as UNFINISHED_ROLLINGS
from blocks.models.rolling import Rolling
from blocks.models.source import Source
from blocks.secrets.protocol import Secrets
from blocks.store.protocol import Store, Where
from tasks.decide.discovery import source_removed
from tasks.decide.remove import (
    Order,
    Remains,
    Removed,
    Thing,
    cluster_removed,
    comes_back,
    leftovers_removed,
    node_count,
    refuse_named_platforms,
    source_deleted,
)
from tasks.hold import fence_of
from tasks.shelter import forget_unused, own_names

TRIES_MAX = 5
"""So often a removal is decided anew when people change what is removed at the same moment."""
READ_MAX = 100_000
CLUSTERS_AT_ONCE = 100
"""So many clusters of a removed source are marked missing in one transaction."""

UNFINISHED = tuple(state for state in ActionState if not state.final)

Clock = Callable[[], datetime]


# -- clusters --------------------------------------------------------------------------------------------------------------


@task(name="remove cluster", cache_policy=NO_CACHE)
async def remove_cluster(store: Store, ref: ClusterRef, claim: Claim, order: Order, clock: Clock) -> Removed:
    """Cancel a cluster's unfinished actions, remove its records, tell of it, take it off the timetable.

    Raises:
        NotFoundError: there is no such cluster.
        RefusedError: an agent or a rolling action is at work on it, and the order is not forced.
        FencedError: a newer holder has taken the cluster; it goes on from what is there.
        ConflictError: people kept changing it; what is left of it is there as before.
    """
    remains = await _remains(store, ref)
    work = [work_key(WorkKind.ORCHESTRATE, ref.key)]
    if remains.empty:
        if not await store.drop_work(work):
            message = f"there is no cluster {ref}; `replictl clusters` lists those that are known"
            raise NotFoundError(message)
        return Removed(kind=Thing.CLUSTER, name=str(ref), notes=("only its place on the timetable was left",))
    removed = await _removed(store, remains, claim, order, clock)
    await store.drop_work(work)
    return removed


async def _removed(store: Store, remains: Remains, claim: Claim, order: Order, clock: Clock) -> Removed:
    first, cancelled = remains, 0
    for tried in range(TRIES_MAX):
        try:
            for change in cluster_removed(remains, order, now=clock()):
                await store.commit(change, now=clock(), fence=fence_of(claim))
                cancelled += len([record for record in change.swaps if isinstance(record, Action)])
            break
        except ConflictError:
            if tried == TRIES_MAX - 1:
                raise
            remains = await _remains(store, remains.ref)
    late = await _remains(store, remains.ref)
    if late.spec is None and late.discovery is None:  # applied in the meantime: nobody would look after these actions
        for change in leftovers_removed(late, order, now=clock()):
            await store.commit(change, now=clock(), fence=fence_of(claim))
            cancelled += len([record for record in change.swaps if isinstance(record, Action)])
    return Removed(
        kind=Thing.CLUSTER,
        name=str(first.ref),
        nodes=node_count(first),
        actions_cancelled=cancelled,
        notes=comes_back(first),
    )


async def _remains(store: Store, ref: ClusterRef) -> Remains:
    where = Where(namespace=ref.namespace, cluster_id=ref.cluster_id)
    discovery = await store.get(Discovery, ref.key)
    return Remains(
        ref=ref,
        spec=await store.get(ClusterSpec, ref.key),
        discovery=discovery,
        state=await store.get(ClusterState, ref.key),
        nodes=await store.find(Node, where, limit=READ_MAX),
        actions=await store.find(Action, where.evolve(action_states=UNFINISHED), limit=READ_MAX),
        rollings=await store.find(Rolling, where.evolve(rolling_states=UNFINISHED_ROLLINGS), limit=READ_MAX),
        left=await store.find(Action, where.evolve(left_running=True), limit=READ_MAX),
        source=await store.get(Source, discovery.source) if discovery is not None else None,
    )


# -- sources ---------------------------------------------------------------------------------------------------------------


@task(name="remove source", cache_policy=NO_CACHE)
async def remove_source(
    store: Store, secrets: Secrets, ref: SourceRef, claim: Claim, order: Order, clock: Clock, kind: Thing | None = None
) -> Removed:
    """Mark a source's clusters missing, forget the secrets that only it named, remove its records, tell of it.

    Args:
        store: the truth.
        secrets: where secrets are kept.
        ref: which source.
        claim: its lock.
        order: who wants that, and why.
        clock: the present.
        kind: what the person takes it for; None takes it for what it is.

    Raises:
        NotFoundError: there is no such source.
        RefusedError: it is of the other kind, or a platform that clusters name, and the order is not forced.
        FencedError: a newer holder has taken it.
        ConflictError: people kept changing it.
        DependencyUnavailableError: the store, or Prefect that keeps the secrets; the source is still there, with them.
    """
    for _ in range(TRIES_MAX):
        source = await _source(store, ref, kind)
        if source is None:
            break
        try:
            return await _source_removed(store, secrets, source, claim, order, clock)
        except ConflictError:
            continue
    else:
        message = f"source {ref} kept changing; try again"
        raise ConflictError(message)
    if await store.drop_work([work_key(WorkKind.DISCOVER, ref.key)]):
        note = "only its place on the timetable was left"
        return Removed(kind=kind or Thing.SOURCE, name=ref.key, notes=(note,))
    message = f"there is no source or platform {ref}; `replictl sources` lists those that are known"
    raise NotFoundError(message)


async def _source(store: Store, ref: SourceRef, kind: Thing | None) -> Source | None:
    source = await store.get(Source, ref.key)
    if source is not None and kind not in {None, (real := _kind(source))}:
        message = f"{ref} is a {real}, not a {kind}: `replictl delete {real} {ref}`"
        raise RefusedError(message)
    return source


def _kind(source: Source) -> Thing:
    return Thing.SOURCE if source.platform is None else Thing.PLATFORM


async def _source_removed(
    store: Store, secrets: Secrets, source: Source, claim: Claim, order: Order, clock: Clock
) -> Removed:
    what = f"{_kind(source)} {source.key}"
    if source.platform is not None:
        refuse_named_platforms(what, {source.key}, await store.find(ClusterSpec, limit=READ_MAX), order)
    missing = 0
    async for known in store.pages(Discovery, Where(namespace=source.namespace, source=source.key)):
        changes = source_removed(source, known, now=clock())
        missing += len(changes)
        for change in _batches(changes):
            await store.commit(change, now=clock(), fence=fence_of(claim))
    unused = await own_names(store, secrets, source)
    change = source_deleted(source, order, clusters=missing, secrets=unused)
    await store.commit(change, now=clock(), fence=fence_of(claim))
    forgotten = await forget_unused(store, secrets, unused)  # not before: a source that stays keeps its secrets
    await store.drop_work([work_key(WorkKind.DISCOVER, source.key)])
    kept = f"its {missing} clusters are marked missing and stay: `replictl delete cluster` removes them one by one"
    still = "secrets that only it named may still be kept: its event names them"
    return Removed(
        kind=_kind(source),
        name=source.key,
        clusters_missing=missing,
        secrets_forgotten=forgotten,
        notes=(*((kept,) if missing else ()), *((still,) if unused and not forgotten else ())),
    )


def _batches(changes: Mapping[str, Change]) -> Iterable[Change]:
    singles = list(changes.values())
    for at in range(0, len(singles), CLUSTERS_AT_ONCE):
        yield sum(singles[at : at + CLUSTERS_AT_ONCE], Change())
