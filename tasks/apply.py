"""Apply what a person declared: all of a set of manifests, or nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import ConflictError, PartlyUndoneError, ReplicoreError
from blocks.models.action import Action
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.namespace import Namespace
from blocks.models.record import Change, Record
from blocks.models.source import Source
from blocks.models.submission import Applied, Submission
from blocks.store.protocol import Store, Where
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.manifests import Wanted
from tasks.decide.plan import Plan, Stored, planned
from tasks.decide.timetable import timetable
from tasks.orphans import cancel_orphans

R = TypeVar("R", bound=Record)
Replacing = Callable[[Iterable[Wanted]], None]

TRIES_MAX = 3
CLUSTERS_MAX = 100_000

_logger = logging.getLogger("replicore.apply")


@task(name="plan", cache_policy=NO_CACHE)
async def plan(store: Store, wanted: Sequence[Wanted], who: str) -> Plan:
    """Compare a set of objects with what is stored; nothing is written.

    Raises:
        InvalidInputError: with one fault for each object that cannot be applied.
    """
    return await asyncio.to_thread(planned, wanted, await _stored(store, wanted), who, CATALOGUE)


@task(name="apply", cache_policy=NO_CACHE)
async def apply_wanted(
    store: Store,
    wanted: Sequence[Wanted],
    who: str,
    now: datetime,
    submission: Submission | None = None,
    replacing: Replacing | None = None,
) -> tuple[Applied, ...]:
    """Save all objects that differ from what is stored, in one transaction with their events.

    Args:
        store: where they are saved.
        wanted: the objects.
        who: who applies them.
        now: the present.
        submission: what they were handed in with; it ends in the same transaction. When somebody else was quicker to apply
            it, nothing is changed.
        replacing: told what was stored of the objects that are changed, as soon as they are.

    Raises:
        InvalidInputError: something that an object refers to does not exist; each fault is named, nothing was changed.
        RecordError: one of them, or all together, are more than the store takes; nothing was changed.
        ConflictError: others kept changing one of them at the same moment; nothing was changed.
        PartlyUndoneError: a cluster was deleted at the same moment: the actions for it are cancelled, the rest is applied.
    """
    made = await _saved(store, wanted, who, now, submission, TRIES_MAX)
    if replacing is not None:
        replacing(made.replaced)
    await _schedule(store, wanted, now)
    await refuse_orphans(store, [record for record in made.change.swaps if isinstance(record, Action)], now)
    return made.applied


async def refuse_orphans(store: Store, ordered: Sequence[Action], now: datetime) -> None:
    """Cancel those of the actions just applied whose cluster was deleted at the same moment.

    Raises:
        PartlyUndoneError: there were some; the rest is applied.
    """
    if ordered and (gone := await cancel_orphans(store, ordered, now)):
        names = ", ".join(sorted({str(action.cluster) for action in gone})[:5])
        message = (
            f"{names} was deleted at the same moment: {len(gone)} actions for it were cancelled, the rest is applied"
        )
        raise PartlyUndoneError(message)


async def _saved(
    store: Store, wanted: Sequence[Wanted], who: str, now: datetime, submission: Submission | None, tries: int
) -> Plan:
    made = await asyncio.to_thread(planned, wanted, await _stored(store, wanted), who, CATALOGUE)
    change = made.change
    if submission is not None:
        version = submission.version + 1
        change += Change(swaps=(submission.evolve(ended_at=now, applied=made.applied, version=version),))
    try:
        if not change.empty:
            await store.commit(change, now=now)
    except ConflictError:
        if submission is not None and (ended := await _ended(store, submission)) is not None:
            return Plan(Change(), ended.applied or ())
        if tries <= 1:
            raise
        return await _saved(store, wanted, who, now, submission, tries - 1)
    return made


async def _ended(store: Store, submission: Submission) -> Submission | None:
    """The submission, if it has ended meanwhile."""
    stored = await store.get(Submission, submission.key)
    return stored if stored is not None and stored.ended_at is not None else None


async def _stored(store: Store, wanted: Sequence[Wanted]) -> Stored:
    """What is stored of the objects and of what they refer to."""
    sources = {record.key for record in wanted if isinstance(record, Source)}
    sources |= {
        f"{record.platform.ns_id or record.namespace}/{record.platform.name}"
        for record in wanted
        if isinstance(record, ClusterSpec) and record.platform is not None
    }
    actions = [record for record in wanted if isinstance(record, Action)]
    homes = {record.name if isinstance(record, Namespace) else record.namespace for record in wanted}
    specs = {record.key for record in wanted if isinstance(record, ClusterSpec)}
    clusters = {action.cluster.key for action in actions}
    return Stored(
        namespaces=await _by_key(store, Namespace, homes),
        sources=await _by_key(store, Source, sources),
        specs=await _by_key(store, ClusterSpec, specs | clusters),
        actions=await _by_key(store, Action, {action.action_id for action in actions}),
        discoveries=await _by_key(store, Discovery, clusters),
    )


async def _by_key(store: Store, type_: type[R], keys: set[str]) -> dict[str, R]:
    return await store.get_many(type_, keys) if keys else {}


async def _schedule(store: Store, wanted: Sequence[Wanted], now: datetime) -> None:
    """Bring the timetable in line, at once, for what was applied. Whatever keeps us from it is no fault of what is applied
    already: `sweep` does it within half a minute.
    """
    try:
        await _placed(store, wanted, now)
    except ReplicoreError as error:
        _logger.warning("what was applied has its place on the timetable with the next sweep: %s", error)


async def _placed(store: Store, wanted: Sequence[Wanted], now: datetime) -> None:
    touched = {record.name for record in wanted if isinstance(record, Namespace)}
    namespaces, _ = await store.readable(Namespace)
    sources = [record for record in wanted if isinstance(record, Source)]
    specs = [record for record in wanted if isinstance(record, ClusterSpec)]
    for name in touched:
        sources += (await store.readable(Source, Where(namespace=name), limit=CLUSTERS_MAX))[0]
        specs += (await store.readable(ClusterSpec, Where(namespace=name), limit=CLUSTERS_MAX))[0]
    items = timetable(namespaces, sources, specs)
    if items:
        await store.ensure_work(items, now)
