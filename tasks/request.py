"""Ask for work now, and put its pointer on the queue so that a worker takes it at once."""

from __future__ import annotations

import contextlib
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import DependencyUnavailableError
from blocks.models.request import Pointer, Priority, Request, WorkKind, WorkState
from blocks.store.protocol import Store
from blocks.work_queue.protocol import WorkQueue


def pointer_to(item: Request) -> Pointer:
    """The pointer to a work item."""
    return Pointer(key=item.key, kind=item.kind, subject=item.subject, priority=item.priority)


@task(name="request work", cache_policy=NO_CACHE)
async def request_work(
    store: Store, queue: WorkQueue, kind: WorkKind, subject: str, priority: Priority, now: datetime
) -> Request:
    """Ask for work now. When the queue is away the item waits in the store, and `enqueue` sends its pointer later."""
    item = await store.ask(kind, subject, priority, now)
    if item.state is WorkState.QUEUED:
        await point_to(store, queue, item, now)
    return item


async def point_to(store: Store, queue: WorkQueue, item: Request, now: datetime) -> None:
    """Put the pointer of a queued item on the queue. When that cannot be done, or not be noted, `enqueue` does it later."""
    with contextlib.suppress(DependencyUnavailableError):
        await queue.send([pointer_to(item)])
        await store.mark_sent([item.key], now)
