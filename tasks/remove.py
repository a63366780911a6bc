"""Remove clusters and sources under their locks, and take namespaces to their end. All of it can be done again after a
crash, by the same order, and comes to the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.coordinator.protocol import Claim
from blocks.errors import ConflictError, NotFoundError, RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.gate import Gate
from blocks.models.ids import ClusterRef, SourceRef
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.node import Node
from blocks.models.record import Change
from blocks.models.request import WorkKind, work_key
from blocks.models.rolling import UNFINISHED as UNFINISHED_ROLLINGS
from blocks.models.rolling import Rolling
from blocks.models.source import Source
from blocks.secrets.protocol import Secrets
from blocks.store.protocol import Store, Where
from tasks.decide.discovery import source_removed
from tasks.decide.gating import GATES_MAX
from tasks.decide.going import namespace_closed, namespace_emptied, namespace_freed
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
    refuse_under_way,
    source_deleted,
)
from tasks.decide.secret_names import own_secrets
from tasks.decide.timetable import timetable
from tasks.hold import fence_of

TRIES_MAX = 5
CLOSING = timedelta(seconds=60)
"""For so long at most nothing is sent in a namespace while somebody looks whether it can be deleted."""
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
        RefusedError: an agent is at work on it, and the order is not forced.
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
        DependencyUnavailableError: the store, or Prefect that keeps the secrets; the source is still there.
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
    forgotten = own_secrets(source, await _others(store, source))
    if forgotten:
        await secrets.forget(forgotten)
    change = source_deleted(source, order, clusters=missing, secrets=forgotten)
    await store.commit(change, now=clock(), fence=fence_of(claim))
    await store.drop_work([work_key(WorkKind.DISCOVER, source.key)])
    kept = f"its {missing} clusters are marked missing and stay: `replictl delete cluster` removes them one by one"
    return Removed(
        kind=_kind(source),
        name=source.key,
        clusters_missing=missing,
        secrets_forgotten=forgotten,
        notes=(kept,) if missing else (),
    )


def _batches(changes: Mapping[str, Change]) -> Iterable[Change]:
    singles = list(changes.values())
    for at in range(0, len(singles), CLUSTERS_AT_ONCE):
        yield sum(singles[at : at + CLUSTERS_AT_ONCE], Change())


async def _others(store: Store, going: Namespace | Source) -> list[Namespace | Source]:
    namespaces: Sequence[Namespace | Source] = await store.find(Namespace)
    sources: Sequence[Namespace | Source] = await store.find(Source, limit=READ_MAX)
    return [one for one in (*namespaces, *sources) if (type(one), one.key) != (type(going), going.key)]


# -- namespaces ------------------------------------------------------------------------------------------------------------


@task(name="close namespace", cache_policy=NO_CACHE)
async def close_namespace(store: Store, name: str, order: Order, clock: Clock) -> Removed:
    """Let a namespace begin to go: from now on nothing in it is looked at or acted on, and `sweep` removes it step by step.
    Of one that is gone, free the name.

    Raises:
        NotFoundError: there is no such namespace.
        RefusedError: an agent is at work in it, or clusters outside name its platforms, and the order is not forced.
        ConflictError: people kept changing it.
    """
    for _ in range(TRIES_MAX):
        namespace = await store.get(Namespace, name)
        if namespace is None:
            message = f"there is no namespace {name}; `replictl get namespaces` lists those that are known"
            raise NotFoundError(message)
        try:
            return await _closed(store, namespace, order, clock)
        except ConflictError:
            continue
    message = f"namespace {name} kept changing; try again"
    raise ConflictError(message)


async def _closed(store: Store, namespace: Namespace, order: Order, clock: Clock) -> Removed:
    name = namespace.name
    sources, specs = await _inside(store, name)
    if namespace.status is NamespaceStatus.DELETED:
        if await clusters_left(store, name, 1) or sources:
            message = (
                f"something was added to namespace {name} while it went: it is removed within a minute, then try again"
            )
            raise RefusedError(message)
        await store.commit(namespace_freed(namespace, order), now=clock())
        return Removed(kind=Thing.NAMESPACE, name=name, outcome="name free", notes=("the name can be used again",))
    if namespace.status is not NamespaceStatus.DELETING:
        platforms = {source.key for source in sources if source.platform is not None}
        if platforms:
            others = [spec for spec in await store.find(ClusterSpec, limit=READ_MAX) if spec.namespace != name]
            refuse_named_platforms(f"namespace {name}", platforms, others, order)
        namespace = await _quiet(store, namespace, order, clock)
        await store.commit(namespace_closed(namespace, order), now=clock())
    now_going = namespace.evolve(status=NamespaceStatus.DELETING)
    if items := timetable([now_going], sources, specs):
        await store.ensure_work(items, clock())
    left = f"{len(specs)} clusters and {len(sources)} sources in it are being removed; `replictl get namespace {name}` shows it"
    return Removed(kind=Thing.NAMESPACE, name=name, outcome="deleting", notes=(left,))


async def _quiet(store: Store, namespace: Namespace, order: Order, clock: Clock) -> Namespace:
    """Let nothing more begin in a namespace for a moment, and make sure that nothing is under way.

    Raises:
        RefusedError: an agent is at work in it, and the order is not forced; it goes on as before.
        ConflictError: somebody else changed it.
    """
    if order.force:
        return namespace
    now = clock()
    closing = namespace.evolve(closing_until=now + CLOSING, version=namespace.version + 1)
    await store.commit(Change(swaps=(closing,)), now=now)
    try:
        where = Where(namespace=namespace.name, action_states=UNFINISHED)
        refuse_under_way(f"namespace {namespace.name}", await store.find(Action, where, limit=READ_MAX), order)
    except RefusedError:
        with contextlib.suppress(ConflictError):  # whoever changed it did not keep the mark
            await store.commit(
                Change(swaps=(closing.evolve(closing_until=None, version=closing.version + 1),)), now=now
            )
        raise
    return closing


async def _inside(store: Store, name: str) -> tuple[list[Source], list[ClusterSpec]]:
    where = Where(namespace=name)
    return await store.find(Source, where, limit=READ_MAX), await store.find(ClusterSpec, where, limit=READ_MAX)


async def clusters_left(store: Store, name: str, limit: int) -> list[ClusterRef]:
    """Clusters of which anything is left in a namespace, at most so many; unfinished actions count, too."""
    found: dict[str, ClusterRef] = {}
    for type_ in (ClusterSpec, Discovery, ClusterState, Node):
        records: Sequence[ClusterSpec | Discovery | ClusterState | Node]
        records = await store.find(type_, Where(namespace=name), limit=limit)
        refs = (record.cluster if isinstance(record, Node) else record.ref for record in records)
        found |= {ref.key: ref for ref in refs}
        if len(found) >= limit:
            return list(found.values())[:limit]
    actions = await store.find(Action, Where(namespace=name, action_states=UNFINISHED), limit=limit)
    found |= {action.cluster.key: action.cluster for action in actions}
    rollings = await store.find(Rolling, Where(namespace=name, rolling_states=UNFINISHED_ROLLINGS), limit=limit)
    found |= {rolling.cluster.key: rolling.cluster for rolling in rollings}
    return list(found.values())[:limit]


@task(name="finish namespace", cache_policy=NO_CACHE)
async def finish_namespace(store: Store, secrets: Secrets, namespace: Namespace, now: datetime) -> None:
    """Say that a namespace is gone, once nothing is left in it; the secrets that only it named are forgotten.

    Raises:
        ConflictError: it has changed; the next turn sees how.
    """
    forgotten = own_secrets(namespace, await _others(store, namespace))
    if forgotten:
        await secrets.forget(forgotten)
    gates = await store.find(Gate, limit=GATES_MAX)
    await store.commit(namespace_emptied(namespace, gates), now=now)
