"""Remove what is in namespaces that are being deleted, step by step: a part of `sweep`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pydantic import SecretStr

from blocks.coordinator.protocol import Coordinator
from blocks.errors import BusyError, DependencyUnavailableError, NotFoundError, RecordError, ReplicoreError
from blocks.models.ids import ClusterRef, SourceRef
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.source import Source
from blocks.secrets.protocol import Secrets
from blocks.store.protocol import Store, Where
from flows.degraded import DegradedMode, mode_of
from flows.delete import PURPOSE, delete_source
from flows.steps import Steps
from tasks.decide.remove import Order
from tasks.hold import hold_clusters, let_go
from tasks.remains import clusters_left
from tasks.remove import remove_cluster
from tasks.remove_namespace import finish_namespace

R = TypeVar("R")

AT_ONCE_MAX = 50
"""So many sources and clusters are removed in one turn, of all namespaces together: what else `sweep` does must not wait."""
WHO = "core"

_logger = logging.getLogger("replicore.sweep")


@dataclass(frozen=True, slots=True)
class Emptied:
    """What one turn removed."""

    removed: int = 0
    more: bool = False
    """More is left that nobody holds: another turn is due at once."""


@dataclass(slots=True)
class _OneTry(Secrets):
    """Secrets that are not asked again in a turn once they did not answer: each try may last for its whole deadline."""

    secrets: Secrets
    away: DependencyUnavailableError | None = None

    async def read(self, name: str) -> str:
        return await self._asked(lambda: self.secrets.read(name))

    async def keep(self, values: Mapping[str, SecretStr]) -> None:
        await self._asked(lambda: self.secrets.keep(values))

    async def forget(self, names: Collection[str]) -> None:
        await self._asked(lambda: self.secrets.forget(names))

    async def _asked(self, ask: Callable[[], Awaitable[R]]) -> R:
        if self.away is not None:
            raise self.away
        try:
            return await ask()
        except DependencyUnavailableError as error:
            self.away = error
            raise


async def empty_namespaces(
    coordinator: Coordinator,
    store: Store,
    secrets: Secrets,
    clock: Callable[[], datetime],
    steps: Steps,
    *,
    thorough: bool = True,
) -> Emptied:
    """One turn: of each namespace that is going, some of what is left in it; sources first, so that they make nothing new.
    What somebody else holds has to wait for its next turn, and so has what names secrets while Prefect is away. What fails
    for one does not stop the others.

    Args:
        coordinator: where the locks are.
        store: the truth.
        secrets: where secrets are kept.
        clock: the present.
        steps: how to run the verbs.
        thorough: look into those that are gone, too: something may have been added at the very last moment.

    Raises:
        DependencyUnavailableError: the store or the coordinator is gone; the next turn goes on from there.
    """
    secrets = _OneTry(secrets)
    statuses = {NamespaceStatus.DELETING, *([NamespaceStatus.DELETED] if thorough else [])}
    going = [namespace for namespace in (await store.readable(Namespace))[0] if namespace.status in statuses]
    removed, more = 0, False
    for namespace in sorted(going, key=lambda one: one.status is NamespaceStatus.DELETED):
        left = AT_ONCE_MAX - removed
        if left <= 0:
            return Emptied(removed, more=True)
        try:
            done = await _emptied(coordinator, store, secrets, namespace, clock, steps, left)
        except RecordError as error:
            _logger.warning("namespace %s cannot be emptied, it is tried again: %s", namespace.name, error)
            continue
        removed, more = removed + done.removed, more or done.more
    return Emptied(removed, more)


async def _emptied(
    coordinator: Coordinator,
    store: Store,
    secrets: Secrets,
    namespace: Namespace,
    clock: Callable[[], datetime],
    steps: Steps,
    limit: int,
) -> Emptied:
    order = Order(by=WHO, reason=f"namespace {namespace.name} is being deleted", force=True)
    readable, broken = await store.readable(Source, Where(namespace=namespace.name), limit=limit)
    if sources := [*(source.ref for source in readable), *map(SourceRef.parse, broken)]:
        removed = await _sources(coordinator, store, secrets, sources, order, clock, steps)
        return Emptied(removed, more=removed > 0)
    clusters = await clusters_left(store, namespace.name, limit)
    if clusters:
        removed = await _clusters(coordinator, store, clusters, order, clock, steps)
        return Emptied(removed, more=removed > 0)
    if namespace.status is NamespaceStatus.DELETING:
        finishing: Awaitable[None] = steps("finish", finish_namespace, store, secrets, namespace, clock())
        await _tried(f"namespace {namespace.name}", finishing)
    return Emptied()


async def _sources(
    coordinator: Coordinator,
    store: Store,
    secrets: Secrets,
    sources: Sequence[SourceRef],
    order: Order,
    clock: Callable[[], datetime],
    steps: Steps,
) -> int:
    removed = 0
    for source in sources:
        going = delete_source(coordinator, store, secrets, source, order, clock, steps)
        removed += await _tried(f"source {source}", going)
    return removed


async def _clusters(
    coordinator: Coordinator,
    store: Store,
    clusters: Sequence[ClusterRef],
    order: Order,
    clock: Callable[[], datetime],
    steps: Steps,
) -> int:
    held = await steps("lock", hold_clusters, coordinator, store, clusters, PURPOSE)
    try:
        removed = 0
        for ref in clusters:
            if ref.key in held.claims:
                going = steps("remove", remove_cluster, store, ref, held.claims[ref.key], order, clock)
                removed += await _tried(f"cluster {ref}", going)
        return removed
    finally:
        await steps("unlock", let_go, coordinator, list(held.claims.values()))


async def _tried(what: str, going: Awaitable[object]) -> bool:
    """Whether it went; what is in the way is said, and tried again at the next turn.

    Raises:
        DependencyUnavailableError: the store or the coordinator is gone, so nothing else goes either.
    """
    try:
        await going
    except DependencyUnavailableError as error:
        if mode_of(error) is not DegradedMode.NO_PREFECT:
            raise
        _logger.info("%s is not removed now: %s", what, error)
    except (BusyError, NotFoundError) as error:
        _logger.info("%s is not removed now: %s", what, error)
    except ReplicoreError as error:
        _logger.warning("%s could not be removed, it is tried again: %s", what, error)
    else:
        return True
    return False
