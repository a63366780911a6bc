"""The consumer of a shift: take pointers, claim what they point to, run it in batches, report how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from blocks.agents.protocol import Agents
from blocks.coordinator.protocol import Coordinator
from blocks.errors import (
    BusyError,
    DependencyUnavailableError,
    NotFoundError,
    PermanentError,
    ReplicoreError,
    TransientError,
)
from blocks.fleet import Workers
from blocks.metrics.protocol import Metrics, NoMetrics
from blocks.models.ids import ClusterRef, SourceRef
from blocks.models.report import CycleOutcome, Report
from blocks.models.request import Ended, Pointer, Request, WorkKind
from blocks.secrets.protocol import Secrets
from blocks.sources.protocol import Sources
from blocks.store.protocol import RetryPolicy, Store
from blocks.work_queue.protocol import WorkQueue, WorkReceiver
from flows.apply import apply_submission
from flows.cycle import BUSY, Mode, Result, cycle
from flows.degraded import Degraded, DegradedMode
from flows.discover import discover_source
from flows.steps import Steps, Turn
from flows.waits import pause
from tasks.cluster_actions.base import Outside
from tasks.decide.rest import Occasion, occasion_of
from tasks.duties import told_dead

RECEIVE_S = 1.0
"""How long one call waits for the first pointer; also how soon the end of a shift is noticed."""
AGAIN_S = 0.5
SLOW_S = 1.0
"""A batch that takes longer waits for slow nodes."""
LATE_S = 0.2
"""A timer that comes so late means that this process is busy, or starved."""
SLOW_MAX = 16
"""So many slow batches more may run."""
SILENCE_S = 5.0
"""After so long without a pointer, work is looked for straight in the store: a frozen broker answers nothing at all."""

SOURCES_MAX = 16
"""So many sources are asked at once: the answer of each is held in memory as a whole."""

_Some = Callable[[Sequence[Ended]], Awaitable[None]]

_logger = logging.getLogger("replicore.consume")


@dataclass(slots=True)
class Consumer:
    """Runs work off the queue, `batches_parallel` batches at once."""

    coordinator: Coordinator
    store: Store
    queue: WorkQueue
    agents: Agents
    sources: Sources
    settings: Workers
    clock: Callable[[], datetime]
    degraded: Degraded
    outside: Outside
    secrets: Secrets
    metrics: Metrics = field(default_factory=NoMetrics)
    items: int = 0
    failures: int = 0
    asking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SOURCES_MAX))
    nudge: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be new events for the relay."""
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _places: set[asyncio.Task[None]] = field(default_factory=set)
    _idle_since: float = field(default_factory=time.monotonic)
    _doubt: bool = False
    """A claim's answer was lost: what it claimed is given back once nothing runs here."""

    async def run(self, over: asyncio.Event) -> None:
        """Consume until the shift is over, then let running batches end."""
        slots = asyncio.Semaphore(self.settings.batches_parallel)
        running = self._running
        receiver = await self.queue.receiver()
        try:
            while not over.is_set():
                await slots.acquire()
                if over.is_set():
                    break
                requests = await self._next(receiver, over)
                if not requests:
                    slots.release()
                    continue
                batch = asyncio.create_task(self._batch(requests))
                running.add(batch)
                batch.add_done_callback(running.discard)
                batch.add_done_callback(_log_failure)
                place = asyncio.create_task(self._until_due(batch))
                self._places.add(place)
                place.add_done_callback(self._places.discard)
                place.add_done_callback(lambda _: slots.release())
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.drain_s):
                    await receiver.close()
                    await asyncio.gather(*running, return_exceptions=True)
            left = [*running, *self._places]
            for batch in left:
                batch.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _until_due(self, batch: asyncio.Task[None]) -> None:
        """Until a batch is done, or slow: then it gives up its place, so that nodes that hang keep no others waiting. Where
        there are many slow ones already, it keeps it; and where it is our own loop that is late: there, more batches at once
        would only make all of them later, and each holds its clusters in memory.
        """
        while not batch.done():
            begun = time.monotonic()
            await asyncio.wait({batch}, timeout=SLOW_S)
            late = time.monotonic() - begun > SLOW_S + LATE_S
            if not late and len(self._running) <= self.settings.batches_parallel + SLOW_MAX:
                return

    async def _next(self, receiver: WorkReceiver, over: asyncio.Event) -> list[Request]:
        if not self.coordinator.connected:
            error = DependencyUnavailableError("ZooKeeper", "its session", "is suspended", "It comes back by itself.")
            await self.degraded.enter(DegradedMode.NO_COORDINATOR, error)
            await pause(over, AGAIN_S)
            return []
        if self._doubt and self._running:
            await asyncio.wait(self._running, timeout=RECEIVE_S)
            return []
        pointers = await self._pointers(receiver)
        try:
            if self._doubt and not self._running:
                await self.store.release_work(self.coordinator.worker, self.clock())
                self._doubt = False
            requests = await self._claimed(pointers)
        except DependencyUnavailableError as error:
            self._doubt = True
            await self.degraded.enter(DegradedMode.NO_STORE, error)
            await pause(over, AGAIN_S)
            return []
        except ReplicoreError as error:
            self._doubt = True
            _logger.warning("work could not be claimed: %s", error)
            await pause(over, AGAIN_S)
            return []
        for request in requests:
            self.metrics.started(request)
        if requests:
            await self.degraded.leave(DegradedMode.NO_STORE)
        elif pointers is None:
            await pause(over, AGAIN_S)
        return requests

    async def _pointers(self, receiver: WorkReceiver) -> list[Pointer] | None:
        """Pointers from the queue; None when it is away, or so silent that work must be looked for without it."""
        try:
            pointers = await receiver.receive(self.settings.batch_max, RECEIVE_S)
        except DependencyUnavailableError as error:
            await self.degraded.enter(DegradedMode.NO_QUEUE, error)
            return None
        if pointers:
            self._idle_since = time.monotonic()
            await self.degraded.leave(DegradedMode.NO_QUEUE)
        elif time.monotonic() - self._idle_since > SILENCE_S:
            self._idle_since = time.monotonic()
            return None
        return pointers

    async def _claimed(self, pointers: list[Pointer] | None) -> list[Request]:
        owner = self.coordinator.worker
        if pointers is None:
            await self.store.queue_due(self.clock(), self.settings.batch_max)
            kinds = [kind.value for kind in WorkKind]
            return await self.store.claim_any(kinds, owner, self.clock(), self.settings.batch_max)
        known = [pointer.key for pointer in pointers if pointer.kind in set(WorkKind)]
        return await self.store.claim_work(known, owner, self.clock()) if known else []

    async def _batch(self, requests: list[Request]) -> None:
        by_kind: dict[tuple[str, Occasion], list[Request]] = defaultdict(list)
        for request in requests:
            orchestrated = request.kind == WorkKind.ORCHESTRATE
            by_kind[request.kind, occasion_of(request) if orchestrated else Occasion.ROUTINE].append(request)
        # Urgent work is over, and can be asked for again, while routine still waits for nodes that hang.
        await asyncio.gather(
            *(self._done(WorkKind(kind), occasion, items) for (kind, occasion), items in by_kind.items())
        )

    async def _done(self, kind: WorkKind, occasion: Occasion, items: list[Request]) -> None:
        finished: set[str] = set()

        async def some(ended: Sequence[Ended]) -> None:
            finished.update(one.key for one in ended)
            await self._over(ended)

        ended = await self._part(kind, occasion, items, some)
        if rest := [one for one in ended if one.key not in finished]:
            await self._over(rest)

    async def _over(self, ended: Sequence[Ended]) -> None:
        self.nudge.set()
        if any(one.error is None for one in ended):
            await self.degraded.leave(DegradedMode.NO_COORDINATOR)
        for one in ended:
            self.metrics.ended(one.key.partition(":")[0], one)
        self.items += len(ended)
        self.failures += sum(one.error is not None for one in ended)
        await self._finish_at_last(ended)

    async def _finish_at_last(self, ended: Sequence[Ended]) -> None:
        """Report until the store takes it; what it never takes is taken back by `sweep` when this worker is gone."""
        while True:
            try:
                await self._finish(ended)
            except DependencyUnavailableError as error:
                await self.degraded.enter(DegradedMode.NO_STORE, error)
            except TransientError as error:
                _logger.warning("finished work could not be reported yet: %s", error)
            else:
                return
            await asyncio.sleep(AGAIN_S)

    async def _part(
        self,
        kind: WorkKind,
        occasion: Occasion,
        items: list[Request],
        some: _Some,
    ) -> list[Ended]:
        subjects = [item.subject for item in items]
        try:
            if kind is WorkKind.ORCHESTRATE:
                return await orchestrate_batch(self, subjects, occasion, some)
            return await VERBS[kind](self, subjects, some)
        except TransientError as error:
            return [Ended(key=item.key, error=str(error), transient=True) for item in items]
        except Exception as error:
            _logger.exception("a batch of %d %s failed unexpectedly", len(items), kind)
            return [Ended(key=item.key, error=f"{type(error).__name__}: {error}") for item in items]

    async def _finish(self, ended: Sequence[Ended]) -> None:
        policy = RetryPolicy(attempts_max=self.settings.attempts_max)
        await self.store.finish_work(ended, self.coordinator.worker, self.clock(), policy, told=told_dead)
        once = [one.key for one in ended if one.error is None and one.key.startswith(f"{WorkKind.APPLY}:")]
        if once:
            await self.store.drop_work(once)


def _run_name() -> str:
    """A task run's name of bounded length, whatever the batch."""
    subjects = task_run.parameters.get("subjects") or ["?"]
    more = f" and {len(subjects) - 1} more" if len(subjects) > 1 else ""
    return f"{task_run.task_name} {str(subjects[0])[:100]}{more}"


def _log_failure(batch: asyncio.Task[None]) -> None:
    if not batch.cancelled() and (error := batch.exception()) is not None:
        _logger.error("a batch ended unexpectedly; its work is given back with the shift", exc_info=error)


@task(name="orchestrate", task_run_name=_run_name, cache_policy=NO_CACHE)
async def orchestrate_batch(
    consumer: Consumer,
    subjects: Sequence[str],
    occasion: Occasion,
    some: _Some | None = None,
) -> list[Ended]:
    """Take a batch of clusters through the cycle; what fails for one is that one's error. `some` is told of those that are
    done as soon as they are.
    """
    turn = Turn(consumer.coordinator, consumer.store, consumer.agents, consumer.clock, Steps(), consumer.outside)

    async def over(result: Result) -> None:
        for report in result.reports:
            consumer.metrics.cycled(report, transient=report.key in result.transient)
        if some is not None:
            await some([_ended(report, result, occasion) for report in result.reports])

    clusters = [ClusterRef.from_key(subject) for subject in subjects]
    result = await cycle(turn, clusters, Mode.ORCHESTRATE, occasion=occasion, ended=over)
    return [_ended(report, result, occasion) for report in result.reports]


def _ended(report: Report, result: Result, occasion: Occasion) -> Ended:
    """How a cluster's work ended. What was urgent and met a held lock is done again: its holder may have looked before."""
    busy = report.notes == (BUSY,) and occasion is not Occasion.ROUTINE
    return Ended(
        key=f"{WorkKind.ORCHESTRATE}:{report.key}",
        error=report.error if report.outcome is CycleOutcome.FAILED else BUSY if busy else None,
        transient=busy or report.key in result.transient,
        next_at=result.follow_up.get(report.key),
    )


@task(name="discover", task_run_name=_run_name, cache_policy=NO_CACHE)
async def discover_batch(consumer: Consumer, subjects: Sequence[str], some: _Some | None = None) -> list[Ended]:
    """Ask a batch of sources; a source that fails is in its report, and asked again at its next turn, one that somebody else
    is asking as soon as that is over. `some` is told of each that is done as soon as it is: a slow one holds up no other.
    """

    async def one(subject: str) -> Ended:
        async with consumer.asking:
            ended = await asked(subject)
        if some is not None:
            await some([ended])
        return ended

    async def asked(subject: str) -> Ended:
        key = f"{WorkKind.DISCOVER}:{subject}"
        ref = SourceRef.parse(subject)
        try:
            report = await discover_source(
                consumer.coordinator, consumer.store, consumer.sources, ref, consumer.clock, Steps()
            )
            consumer.metrics.discovered("success" if report.error is None else "failed", report.duration_s)
        except BusyError:  # its holder may have read the source before what this was asked for
            consumer.metrics.discovered("busy")
            return Ended(key=key, error=BUSY, transient=True)
        except NotFoundError as error:
            _logger.info("%s: %s", subject, error)
        except ReplicoreError as error:
            consumer.metrics.discovered("failed")
            return Ended(key=key, error=str(error), transient=isinstance(error, TransientError))
        return Ended(key=key)

    return list(await asyncio.gather(*(one(subject) for subject in subjects)))


@task(name="apply", task_run_name=_run_name, cache_policy=NO_CACHE)
async def apply_batch(consumer: Consumer, subjects: Sequence[str], some: _Some | None = None) -> list[Ended]:
    """Apply what was handed in, one after the other; what is wrong with one is kept with it. `some` is told as they end."""
    ended: list[Ended] = []

    async def over(one: Ended) -> None:
        ended.append(one)
        if some is not None:
            await some([one])

    for subject in subjects:
        key = f"{WorkKind.APPLY}:{subject}"
        try:
            await apply_submission(consumer.store, consumer.queue, consumer.secrets, subject, consumer.clock)
        except NotFoundError as error:
            _logger.info("%s: %s", subject, error)
        except TransientError as error:
            await over(Ended(key=key, error=str(error), transient=True))
            continue
        except (
            PermanentError
        ) as error:  # it cannot be read, or not even its end be kept: parked after its limit, and told
            _logger.warning("%s: %s", key, error)
            await over(Ended(key=key, error=str(error)))
            continue
        await over(Ended(key=key))
    return ended


VERBS = {WorkKind.DISCOVER: discover_batch, WorkKind.APPLY: apply_batch}
"""By kind of work, what runs it; clusters are orchestrated apart, by the occasion."""
