"""Take namespaces to their end. All of it can be done again after a crash, by the same order, and comes to the same."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import ConflictError, NotFoundError, RefusedError
from blocks.models.action import Action
from blocks.models.cluster import ClusterSpec
from blocks.models.gate import Gate
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.record import Change
from blocks.models.rolling import Rolling, RollingState
from blocks.models.source import Source
from blocks.secrets.protocol import Secrets
from blocks.store.protocol import Store, Where
from tasks.decide.gating import GATES_MAX
from tasks.decide.going import namespace_closed, namespace_emptied, namespace_freed
from tasks.decide.remove import Order, Removed, Thing, refuse_under_way, refuse_unread
from tasks.decide.remove_source import refuse_named_platforms
from tasks.decide.timetable import timetable
from tasks.orphans import gone_clusters
from tasks.remains import READ_MAX, UNFINISHED, all_specs, clusters_left
from tasks.remove import TRIES_MAX, Clock
from tasks.shelter import forget_unused, own_names

CLOSING = timedelta(seconds=60)
"""For so long at most nothing is sent in a namespace while somebody looks whether it can be deleted."""


@task(name="close namespace", cache_policy=NO_CACHE)
async def close_namespace(store: Store, name: str, order: Order, clock: Clock) -> Removed:
    """Let a namespace begin to go: from now on nothing in it is looked at or acted on, and `sweep` removes it step by step.
    Of one that is gone, free the name.

    Raises:
        NotFoundError: there is no such namespace.
        RefusedError: an agent or a rolling action is at work in it, or clusters outside name its platforms, and the order is not forced.
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
            others = [spec for spec in await all_specs(store) if spec.namespace != name]
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
        RefusedError: an agent or a rolling action is at work in it, and the order is not forced; it goes on as before.
        ConflictError: somebody else changed it.
    """
    if order.force:
        return namespace
    now = clock()
    closing = namespace.evolve(closing_until=now + CLOSING, version=namespace.version + 1)
    await store.commit(Change(swaps=(closing,)), now=now)
    try:
        await _refuse_busy(store, namespace.name, order)
    except RefusedError:
        with contextlib.suppress(ConflictError):  # whoever changed it did not keep the mark
            await store.commit(
                Change(swaps=(closing.evolve(closing_until=None, version=closing.version + 1),)), now=now
            )
        raise
    return closing


async def _refuse_busy(store: Store, name: str, order: Order) -> None:
    where = Where(namespace=name)
    actions, unread = await store.readable(Action, where.evolve(action_states=UNFINISHED), limit=READ_MAX)
    left, more = await store.readable(Action, where.evolve(left_running=True), limit=READ_MAX)
    gone = await gone_clusters(store, {action.cluster.key for action in left})
    actions += [action for action in left if action.cluster.key not in gone]  # of the others nobody will ever hear
    running = where.evolve(rolling_states=(RollingState.RUNNING,))
    rollings, _ = await store.readable(Rolling, running, limit=READ_MAX)  # one that cannot be read goes nowhere
    refuse_under_way(f"namespace {name}", actions, rollings, order)
    refuse_unread(f"namespace {name}", [*dict.fromkeys((*unread, *more))], order)


async def _inside(store: Store, name: str) -> tuple[list[Source], list[ClusterSpec]]:
    """The sources and clusters in it that can be read."""
    where = Where(namespace=name)
    sources, _ = await store.readable(Source, where, limit=READ_MAX)
    return sources, (await store.readable(ClusterSpec, where, limit=READ_MAX))[0]


@task(name="finish namespace", cache_policy=NO_CACHE)
async def finish_namespace(store: Store, secrets: Secrets, namespace: Namespace, now: datetime) -> None:
    """Say that a namespace is gone, once nothing is left in it; then the secrets that only it named are forgotten.

    Raises:
        ConflictError: it has changed; the next turn sees how.
        DependencyUnavailableError: the store, or Prefect that keeps the secrets; it is still going, and the next turn ends it.
    """
    unused = await own_names(store, secrets, namespace)
    gates, unread = await store.readable(Gate, Where(namespace=namespace.name), limit=GATES_MAX)
    await store.commit(namespace_emptied(namespace, gates, unread), now=now)
    await forget_unused(store, secrets, unused)
