"""One turn of each duty: due work to the queue, events to the bus, and repair of what dead processes left."""

from __future__ import annotations

from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.coordinator.protocol import ClaimKind, Coordinator
from blocks.event_bus.protocol import EventBus
from blocks.models.base import Fact
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace
from blocks.models.source import Source
from blocks.store.protocol import Store
from blocks.work_queue.protocol import WorkQueue
from tasks.decide.timetable import timetable
from tasks.request import pointer_to

ITEMS_MAX = 1_000
RESEND_AFTER_S = 10.0
"""A pointer that brought no claim for so long is taken for lost and sent again."""


class Enqueued(Fact):
    """One turn of `enqueue`."""

    queued: int
    """Items that came due."""
    sent: int
    """Pointers put on the queue."""


class Relayed(Fact):
    """One turn of `relay`."""

    published: int
    waiting: bool
    """More events wait: another turn is due at once."""


class Swept(Fact):
    """One turn of `sweep`."""

    requeued: int = 0
    """Work items taken back from workers that are gone."""
    crashed: int = 0
    """Flow runs marked Crashed because their worker is gone."""
    timetable_changes: int = 0


@task(name="enqueue due work", cache_policy=NO_CACHE)
async def enqueue_due(store: Store, queue: WorkQueue, now: datetime) -> Enqueued:
    """Queue what is due and send pointers to it, urgent ones first, at most a thousand in a turn."""
    queued = await store.queue_due(now, ITEMS_MAX)
    items = await store.unsent(now, RESEND_AFTER_S, ITEMS_MAX)
    if items:
        await queue.send([pointer_to(item) for item in items])
        await store.mark_sent([item.key for item in items], now)
    return Enqueued(queued=queued, sent=len(items))


@task(name="relay events", cache_policy=NO_CACHE)
async def relay_events(store: Store, bus: EventBus) -> Relayed:
    """Publish events that wait in the outbox, in their order, and mark those that are on the bus for good."""
    events = await store.unpublished(ITEMS_MAX)
    if not events:
        return Relayed(published=0, waiting=False)
    published = await bus.publish(events)
    await store.mark_published(published)
    return Relayed(published=len(published), waiting=len(events) == ITEMS_MAX and bool(published))


@task(name="take back work of the dead", cache_policy=NO_CACHE)
async def requeue_orphans(coordinator: Coordinator, store: Store, now: datetime) -> int:
    """Queue again what is claimed by workers whose presence is gone."""
    alive = {holder.owner for holder in await coordinator.holders(ClaimKind.WORKER)}
    return await store.requeue_orphans(alive, now)


@task(name="mend timetable", cache_policy=NO_CACHE)
async def mend_timetable(store: Store, now: datetime) -> int:
    """Bring the timetable in line with what is declared, in case a process died between the two."""
    items = timetable(
        await store.find(Namespace),
        await store.find(Source, limit=100_000),
        await store.find(ClusterSpec, limit=100_000),
    )
    return await store.ensure_work(items, now) if items else 0
