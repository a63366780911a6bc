"""A work queue in memory: one process, no partitions, the same promises."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from blocks.errors import DependencyUnavailableError
from blocks.models.request import Pointer
from blocks.work_queue.protocol import QueueStatus

SIZE_MAX = 100_000
DOWN_WAIT_S = 0.05


class FakeWorkQueue:
    """Set `down` to make it unreachable. What a closed (or dropped) receiver had not counted as taken comes again."""

    def __init__(self) -> None:
        self.down = False
        self.prepared = 0
        self.wrong: list[str] = []
        self.waiting: deque[Pointer | bytes] = deque(maxlen=SIZE_MAX)
        """In the order of sending; bytes are records that cannot be read."""
        self.receivers: list[FakeWorkReceiver] = []
        self.changed = asyncio.Condition()

    async def ready(self) -> None:
        """See `WorkQueue.ready`."""
        if self.down:
            raise unavailable()

    async def prepare(self) -> None:
        """See `WorkQueue.prepare`."""
        await self.ready()
        self.prepared += 1

    async def faults(self) -> list[str]:
        """See `WorkQueue.faults`."""
        await self.ready()
        return self.wrong

    async def send(self, pointers: Sequence[Pointer]) -> None:
        """See `WorkQueue.send`."""
        await self.ready()
        await self.put(pointers)

    async def put(self, records: Sequence[Pointer | bytes]) -> None:
        """Put records on the queue, readable or not."""
        async with self.changed:
            self.waiting.extend(records)
            self.changed.notify_all()

    async def receiver(self) -> FakeWorkReceiver:
        """See `WorkQueue.receiver`."""
        receiver = FakeWorkReceiver(self)
        self.receivers.append(receiver)
        return receiver

    async def status(self) -> QueueStatus:
        """See `WorkQueue.status`."""
        await self.ready()
        backlog = len(self.waiting) + sum(len(receiver.handed) for receiver in self.receivers)
        return QueueStatus(backlog=backlog, partitions=1, members=len(self.receivers))


class FakeWorkReceiver:
    """One worker's end of the fake queue."""

    def __init__(self, queue: FakeWorkQueue) -> None:
        self.handed: list[Pointer] = []
        self._queue = queue

    async def receive(self, limit: int, wait_s: float) -> list[Pointer]:
        """See `WorkReceiver.receive`."""
        self.handed = []
        queue = self._queue
        if queue.down:
            await asyncio.sleep(min(wait_s, DOWN_WAIT_S))
        try:
            async with asyncio.timeout(0 if queue.down else wait_s), queue.changed:
                await queue.changed.wait_for(lambda: queue.waiting and not queue.down)
        except TimeoutError:
            if queue.down:
                raise unavailable() from None
            return []
        pointers = [record for record in queue.waiting if isinstance(record, Pointer)]
        pointers.sort(key=lambda pointer: pointer.priority)
        self.handed = pointers[:limit]
        queue.waiting = deque(pointers[limit:], maxlen=SIZE_MAX)
        return list(self.handed)

    async def close(self) -> None:
        """See `WorkReceiver.close`."""
        if self in self._queue.receivers:
            self._queue.receivers.remove(self)
            await self._queue.put(self.handed)
            self.handed = []


def unavailable() -> DependencyUnavailableError:
    """What an unreachable queue raises."""
    return DependencyUnavailableError("Kafka", "memory", "it is down", "Set `down` to False.")
