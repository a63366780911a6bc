"""Have the timetable leave a cluster or a source alone for a while, and go on with it."""

from __future__ import annotations

from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import NotFoundError
from blocks.models.cluster import ClusterSpec
from blocks.models.event import EventType
from blocks.models.ids import ClusterRef, SourceRef
from blocks.models.namespace import Namespace
from blocks.models.request import Request, work_key
from blocks.models.source import Source
from blocks.store.protocol import Store
from tasks.decide.pausing import Pausable, told_pause
from tasks.decide.timetable import timetable


@task(name="pause", cache_policy=NO_CACHE)
async def pause_turns(
    store: Store, kind: Pausable, name: str, until: datetime | None, by: str, why: str | None, now: datetime
) -> Request:
    """Pause the turns of a cluster or source, or (until: None) end their pause, with the event that tells of it.

    Returns:
        Its work item as it is now.

    Raises:
        InvalidInputError: `name` is not the name of one.
        NotFoundError: there is none of that name.
    """
    key, stream = await _on_timetable(store, kind, name, now)
    type_ = EventType.WORK_RESUMED if until is None else EventType.WORK_PAUSED
    item = await store.pause_work(key, until, by, why, now, told_pause(type_, stream, by, why))
    if item is None:
        message = f"{kind} {name} has no place on the timetable: its namespace does not exist"
        raise NotFoundError(message)
    return item


async def _on_timetable(store: Store, kind: Pausable, name: str, now: datetime) -> tuple[str, str]:
    """The key of the work item, which is made if need be, and the stream of its events."""
    spec, source = None, None
    if kind is Pausable.CLUSTER:
        ref = ClusterRef.parse(name)
        subject, stream, namespace = ref.key, ref.key, ref.namespace
        spec = await store.get(ClusterSpec, ref.key)
    else:
        source_ref = SourceRef.parse(name)
        subject, stream, namespace = source_ref.key, source_ref.namespace, source_ref.namespace
        source = await store.get(Source, source_ref.key)
    if spec is None and source is None:
        message = f"there is no {kind} {name}; `replictl {kind}s` lists those that are known"
        raise NotFoundError(message)
    home = await store.get(Namespace, namespace)
    if home is not None:
        items = timetable([home], [source] if source is not None else [], [spec] if spec is not None else [])
        await store.ensure_work(items, now)
    return work_key(kind.work, subject), stream
