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
from blocks.models.action import Action
from blocks.models.cluster import Discovery
from blocks.models.ids import ClusterRef, SourceRef
from blocks.models.record import Change
from blocks.models.request import WorkKind, work_key
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
    unread_told,
)
from tasks.decide.remove_source import refuse_named_platforms, source_deleted, unread_source_deleted
from tasks.hold import fence_of
from tasks.remains import all_specs, remains_of
from tasks.shelter import forget_unused, own_names

TRIES_MAX = 5
"""So often a removal is decided anew when people change what is removed at the same moment."""
CLUSTERS_AT_ONCE = 100
"""So many clusters of a removed source are marked missing in one transaction."""

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
    remains = await remains_of(store, ref)
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
            remains = await remains_of(store, remains.ref)
    late = await remains_of(store, remains.ref)
    if late.spec is None and late.discovery is None:  # applied in the meantime: nobody would look after these actions
        for change in leftovers_removed(late, order, now=clock()):
            await store.commit(change, now=clock(), fence=fence_of(claim))
            cancelled += len([record for record in change.swaps if isinstance(record, Action)])
    return Removed(
        kind=Thing.CLUSTER,
        name=str(first.ref),
        nodes=node_count(first),
        actions_cancelled=cancelled,
        notes=(*comes_back(first), *unread_told(first)),
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
        found, broken = await store.readable_many(Source, {ref.key})
        if broken:
            return await _unread_source_removed(store, ref, claim, order, clock, kind)
        source = found.get(ref.key)
        if source is None:
            break
        _refuse_other_kind(source, kind)
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


def _refuse_other_kind(source: Source, kind: Thing | None) -> None:
    if kind not in {None, (real := _kind(source))}:
        message = f"{source.ref} is a {real}, not a {kind}: `replictl delete {real} {source.ref}`"
        raise RefusedError(message)


def _kind(source: Source) -> Thing:
    return Thing.SOURCE if source.platform is None else Thing.PLATFORM


async def _source_removed(
    store: Store, secrets: Secrets, source: Source, claim: Claim, order: Order, clock: Clock
) -> Removed:
    what = f"{_kind(source)} {source.key}"
    if source.platform is not None:
        refuse_named_platforms(what, {source.key}, await all_specs(store), order)
    missing, notes = await _all_missing(store, source.ref, claim, clock)
    unused = await own_names(store, secrets, source)
    change = source_deleted(source, order, clusters=missing, secrets=unused)
    await store.commit(change, now=clock(), fence=fence_of(claim))
    forgotten = await forget_unused(store, secrets, unused)  # not before: a source that stays keeps its secrets
    await store.drop_work([work_key(WorkKind.DISCOVER, source.key)])
    still = "secrets that only it named may still be kept: its event names them"
    return Removed(
        kind=_kind(source),
        name=source.key,
        clusters_missing=missing,
        secrets_forgotten=forgotten,
        notes=(*notes, *((still,) if unused and not forgotten else ())),
    )


async def _unread_source_removed(
    store: Store, ref: SourceRef, claim: Claim, order: Order, clock: Clock, kind: Thing | None
) -> Removed:
    """What it is and which secrets it names cannot be known: it goes by its key, and leaves secrets where they are."""
    refuse_named_platforms(f"source {ref}", {ref.key}, await all_specs(store), order)
    missing, notes = await _all_missing(store, ref, claim, clock)
    thing = kind or Thing.SOURCE
    await store.commit(unread_source_deleted(ref, thing, order, missing), now=clock(), fence=fence_of(claim))
    await store.drop_work([work_key(WorkKind.DISCOVER, ref.key)])
    note = "its record could not be read: the secrets that it named, if any, are kept"
    return Removed(kind=thing, name=ref.key, clusters_missing=missing, notes=(*notes, note))


async def _all_missing(store: Store, ref: SourceRef, claim: Claim, clock: Clock) -> tuple[int, tuple[str, ...]]:
    """Mark a source's clusters missing; returns how many, and what a person should know of them."""
    missing = unread = 0
    async for known, broken in store.pages(Discovery, Where(namespace=ref.namespace, source=ref.key)):
        changes = source_removed(ref, known, now=clock())
        missing, unread = missing + len(changes), unread + len(broken)
        for change in _batches(changes):
            await store.commit(change, now=clock(), fence=fence_of(claim))
    notes = []
    if missing:
        notes += [
            f"its {missing} clusters are marked missing and stay: `replictl delete cluster` removes them one by one"
        ]
    if unread:
        notes += [f"{unread} more cannot be read and stay as they are: `replictl admin validate` names them"]
    return missing, tuple(notes)


def _batches(changes: Mapping[str, Change]) -> Iterable[Change]:
    singles = list(changes.values())
    for at in range(0, len(singles), CLUSTERS_AT_ONCE):
        yield sum(singles[at : at + CLUSTERS_AT_ONCE], Change())
