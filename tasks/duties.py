"""One turn of each duty: due work to the queue, events to the bus, and repair of what dead processes left."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.coordinator.protocol import ClaimKind, Coordinator
from blocks.errors import DependencyUnavailableError
from blocks.event_bus.protocol import EventBus
from blocks.models.base import Fact, Json
from blocks.models.cluster import ClusterSpec
from blocks.models.event import SYSTEM_STREAM, EventDraft, EventType
from blocks.models.namespace import Namespace
from blocks.models.request import Priority, Request, WorkKind, work_key
from blocks.models.source import Source, SourceReport
from blocks.sources.protocol import Sources
from blocks.store.protocol import Store, Where
from blocks.work_queue.protocol import WorkQueue
from tasks.decide.timetable import timetable
from tasks.request import pointer_to, request_work

ITEMS_MAX = 1_000
RESEND_AFTER_S = 10.0
"""A pointer that brought no claim for so long is taken for lost and sent again."""
PER_STREAM_MAX = 100
"""Events of one stream in a turn of `relay`: a turn always has events of many streams."""
ASIDE_BASE_S = 2.0
ASIDE_MAX_S = 12.0
"""The longest wait before a stream is tried again that the bus did not take."""
ASIDE_WITHIN_S = 3.0
"""Deadline of publishing while some stream is in trouble: the others wait for it."""
ASIDE_STREAMS_MAX = 4_000
FILES_AGAIN_S = 10.0
"""Where no source is a file, so long passes before somebody looks again whether one is."""

_logger = logging.getLogger("replicore.duties")


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
    orphans: int = 0
    """Actions cancelled because their cluster is gone."""
    dead_told: int = 0
    """Clusters whose problems name their dead work now."""
    removed: int = 0
    """Sources and clusters removed from namespaces that are being deleted."""
    removing: bool = False
    """More of them are left: another turn is due at once."""


@task(name="enqueue due work", cache_policy=NO_CACHE)
async def enqueue_due(store: Store, queue: WorkQueue, now: datetime) -> Enqueued:
    """Queue what is due and send pointers to it, urgent ones first, at most a thousand in a turn."""
    queued = await store.queue_due(now, ITEMS_MAX)
    items = await store.unsent(now, RESEND_AFTER_S, ITEMS_MAX)
    if items:
        await queue.send([pointer_to(item) for item in items])
        await store.mark_sent([item.key for item in items], now)
    return Enqueued(queued=queued, sent=len(items))


@dataclass(slots=True)
class Relay:
    """What one relay knows from turn to turn: streams that the bus did not take while it took others.

    They are kept aside so that they cost the others nothing, and tried again together after a growing wait: first all,
    then a random half each time, because a refused record may take its neighbours in a batch along. Until none is aside,
    publishing has a short deadline. A bus that takes nothing at all is away: then none is to blame.
    """

    jitter: random.Random = field(default_factory=random.Random)
    aside: set[str] = field(default_factory=set)
    tries: int = 0
    """Tries in a row that the bus took nothing of what is aside."""
    again_at: datetime | None = None

    def trying(self, now: datetime) -> set[str]:
        """Those to be tried again now."""
        if self.again_at is not None and now < self.again_at <= now + timedelta(seconds=ASIDE_MAX_S):
            return set()
        if self.tries == 0 or len(self.aside) == 1:
            return set(self.aside)
        return {stream for stream in sorted(self.aside) if self.jitter.random() < 0.5}  # noqa: PLR2004 - half

    def learn(self, tried: set[str], taken: set[str], broken: set[str], now: datetime) -> None:
        """Learn of a turn in which streams were tried again, the bus took events of some and failed for others. What was
        tried and is neither has nothing that waits.
        """
        new = sorted(broken - self.aside)[: ASIDE_STREAMS_MAX - len(self.aside)]
        self.aside = (self.aside - tried) | (tried & broken) | set(new)
        if not self.aside:
            self.forget()
        elif tried or self.again_at is None:
            self.tries = self.tries + 1 if tried and not tried & taken else 0
            wait_s = min(ASIDE_MAX_S, ASIDE_BASE_S * 2.0 ** min(self.tries, 10))
            self.again_at = now + timedelta(seconds=wait_s * self.jitter.uniform(0.5, 1.0))

    def forget(self) -> None:
        """None is to blame."""
        self.aside.clear()
        self.tries, self.again_at = 0, None


@task(name="relay events", cache_policy=NO_CACHE)
async def relay_events(store: Store, bus: EventBus, relay: Relay, now: datetime) -> Relayed:
    """Publish events that wait in the outbox, those of a stream in their order, and mark those that are on the bus for
    good. Streams that the bus does not take wait in `relay`.

    Raises:
        DependencyUnavailableError: the store is away, or the bus takes nothing.
    """
    tried = relay.trying(now)
    per_stream = 1 if tried else PER_STREAM_MAX
    events = await store.unpublished(ITEMS_MAX, per_stream=per_stream, skip=relay.aside - tried)
    waiting = Counter(event.stream for event in events)
    published: list[str] = []
    try:
        published += await bus.publish(events, within_s=ASIDE_WITHIN_S if relay.aside else None) if events else []
    except DependencyUnavailableError as error:
        if not waiting.keys() <= tried:
            relay.forget()
            raise
        _logger.warning("%d streams are still not taken: %s", len(waiting), error)
    if published:
        await store.mark_published(published)
    sent = set(published)
    taken = {event.stream for event in events if event.event_id in sent}
    relay.learn(tried, taken, {event.stream for event in events if event.event_id not in sent}, now)
    full = len(events) == ITEMS_MAX or per_stream in waiting.values()
    return Relayed(published=len(published), waiting=full and bool(published))


def told_dead(item: Request) -> EventDraft:
    """The event that tells of a work item that has just become dead."""
    data: dict[str, Json] = {"kind": item.kind, "subject": item.subject, "attempts": item.attempts, "error": item.error}
    return EventDraft(type=EventType.WORK_DEAD, stream=SYSTEM_STREAM, subject=item.key, data=data)


@task(name="take back work of the dead", cache_policy=NO_CACHE)
async def requeue_orphans(coordinator: Coordinator, store: Store, now: datetime) -> int:
    """Queue again what is claimed by workers whose presence is gone; what keeps killing its workers becomes dead.

    Owners are read before presences: a worker that has just come, and claims after the one and before the other, would
    else be taken for dead.
    """
    owners = await store.claimed_by()
    alive = {holder.owner for holder in await coordinator.holders(ClaimKind.WORKER)}
    return await store.requeue_of(owners - alive, now, told=told_dead)


@task(name="mend timetable", cache_policy=NO_CACHE)
async def mend_timetable(store: Store, now: datetime) -> int:
    """Bring the timetable in line with what is declared, in case a process died between the two; returns how many items
    were added, changed, or dropped because what they are about is gone.
    """
    items = timetable(
        (await store.readable(Namespace))[0],
        (await store.readable(Source, limit=100_000))[0],
        (await store.readable(ClusterSpec, limit=100_000))[0],
    )
    changed = await store.ensure_work(items, now) if items else 0
    undeclared = await store.on_timetable([WorkKind.DISCOVER, WorkKind.ORCHESTRATE]) - {item.key for item in items}
    return changed + await _drop_gone(store, undeclared) if undeclared else changed


async def _drop_gone(store: Store, keys: set[str]) -> int:
    """Drop those items whose source, cluster or namespace does not exist. That is read again: it may have been declared
    just after the others were read, and its item made at once.
    """
    drop: list[str] = []
    for kind, type_ in ((WorkKind.DISCOVER, Source), (WorkKind.ORCHESTRATE, ClusterSpec)):
        subjects = {key.removeprefix(f"{kind}:") for key in keys if key.startswith(f"{kind}:")}
        homes = await store.existing(Namespace, {subject.partition("/")[0] for subject in subjects})
        declared = {subject for subject in await store.existing(type_, subjects) if subject.partition("/")[0] in homes}
        drop += [work_key(kind, subject) for subject in sorted(subjects - declared)]
    return await store.drop_work(drop, spare_claimed=True) if drop else 0


@dataclass(slots=True)
class Files:
    """What one duty knows from turn to turn of the sources that are files: their stamps."""

    stamps: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    """By source key, the version of its settings and the stamp."""
    again_at: datetime | None = None


@task(name="ask changed files", cache_policy=NO_CACHE)
async def ask_changed_files(store: Store, queue: WorkQueue, sources: Sources, files: Files, now: datetime) -> int:
    """Have those sources asked at once whose files have changed since they were read; returns how many.

    Who declares a source, or changes it, has it asked: until that has been done there is nothing to compare with. One that
    is switched off or paused is looked at when it is on again.
    """
    if files.again_at is not None and now < files.again_at:
        return 0
    sources_of_files, _ = await store.readable(Source, Where(files=True), limit=100_000)
    files.again_at = None if sources_of_files else now + timedelta(seconds=FILES_AGAIN_S)
    keys = {source.key for source in sources_of_files}
    files.stamps = {key: stamp for key, stamp in files.stamps.items() if key in keys}
    on = await _on(store, sources_of_files, now)
    stamps = await asyncio.gather(*(sources.stamp(source) for source in on))
    reports, _ = await store.readable_many(SourceReport, {source.key for source in on})
    asked = 0
    for source, stamp in zip(on, stamps, strict=True):
        version, before = files.stamps.get(source.key, (None, None))
        if version != source.version:
            if source.key not in reports:
                continue
            before = reports[source.key].stamp
        if before != stamp:
            await request_work.fn(store, queue, WorkKind.DISCOVER, source.key, Priority.URGENT, now)
            asked += 1
        files.stamps[source.key] = (source.version, stamp)
    return asked


async def _on(store: Store, sources: list[Source], now: datetime) -> list[Source]:
    """Those that the timetable would ask."""
    if not sources:
        return []
    namespaces, _ = await store.readable_many(Namespace, {source.namespace for source in sources})
    paused = await store.paused(now)
    return [
        source
        for source in sources
        if source.enabled
        and source.namespace in namespaces
        and namespaces[source.namespace].may_look
        and work_key(WorkKind.DISCOVER, source.key) not in paused
    ]
