"""The metrics of a serving process: its endpoint, and the figures of the fleet that it reads from the store now and then.

The serving process reads them, not a worker: it has no probes to be late with, and goes on telling of the outbox and of
dead work when nobody can work. Every serving process tells the same; dashboards take the maximum. Costs nothing while
metrics are off: neither the client library nor the store is touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from blocks.errors import ReplicoreError
from blocks.fleet import DEFAULT_FLEET, Fleet, connect, settings_of
from blocks.metrics.families import BY_NAME, Samples
from blocks.models.cluster import ClusterState
from blocks.models.source import SourceReport
from blocks.store.protocol import Store, WorkCounts

if TYPE_CHECKING:
    from blocks.metrics.endpoint import Endpoint

READ_EVERY_S = 15.0
READ_SHARE_MAX = 0.02
"""Reading the figures takes no more of this process's time than that: on a large fleet it is done less often."""
READ_WITHIN_S = 60.0
RECORDS_MAX = 100_000
ABSENT: Samples = {"fleet_readable": {(): 0.0}}
DISTRIBUTION = "replicante-core"

_logger = logging.getLogger("replicore.metrics")


@asynccontextmanager
async def metrics_served(environ: MutableMapping[str, str], clock: Callable[[], datetime]) -> AsyncIterator[None]:
    """Serve metrics for as long as this lasts, if the settings say so.

    Args:
        environ: the environment; child processes learn from it where to count.
        clock: the present.

    Raises:
        InvalidInputError: it cannot listen where the settings say.
    """
    fleet = await _settings(environ)
    if fleet is None or fleet.metrics.port == 0:
        yield
        return
    from blocks.metrics.endpoint import Endpoint  # noqa: PLC0415 - paid for when used

    basics: Samples = {"info": {(version(DISTRIBUTION),): 1.0}, "seats": {(): float(fleet.workers.seats)}}
    with Endpoint(fleet.metrics, environ) as endpoint:
        async with connect(fleet) as connections:
            reading = asyncio.create_task(keep_reading(connections.store, endpoint, basics, clock))
            try:
                yield
            finally:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading


async def _settings(environ: MutableMapping[str, str]) -> Fleet | None:
    try:
        return await settings_of(DEFAULT_FLEET, environ)
    except ReplicoreError as error:
        _logger.warning("no metrics are served: %s", error)
        return None


async def keep_reading(
    store: Callable[[], Awaitable[Store]],
    endpoint: Endpoint,
    basics: Samples,
    clock: Callable[[], datetime],
    every_s: float = READ_EVERY_S,
) -> None:
    """Read the figures again and again; while that fails they are absent, and it is said that they are.

    Args:
        store: gives the store, connected.
        endpoint: what tells them.
        basics: told whatever can be read.
        clock: the present.
        every_s: how often, in seconds; less often when it takes long.
    """
    endpoint.tell({**basics, **ABSENT})
    readable = True
    while True:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                told = await read_figures(await store(), clock())
        except (ReplicoreError, TimeoutError) as error:
            if readable:
                _logger.warning("the figures of the fleet cannot be read: %s", str(error) or "no answer in time")
            told = ABSENT
        except Exception:
            _logger.exception("the figures of the fleet cannot be read")
            told = ABSENT
        took, readable = time.monotonic() - begun, told is not ABSENT
        endpoint.tell({**basics, **told, "fleet_read_duration_seconds": {(): took}})
        await asyncio.to_thread(endpoint.fold)
        await asyncio.sleep(max(every_s, took / READ_SHARE_MAX))


async def read_figures(store: Store, now: datetime) -> Samples:
    """How the fleet, the work and the outbox stand: a few queries.

    Raises:
        DependencyUnavailableError: the store is away.
        RecordError: it holds what this version cannot read.
    """
    states, _ = await store.readable(ClusterState, limit=RECORDS_MAX)
    reports, _ = await store.readable(SourceReport, limit=RECORDS_MAX)
    work = await store.count_work(now)
    waiting, oldest = await store.outbox_size()
    return {
        **_fleet(states),
        **_work(work),
        "sources": _counts("sources", "outcome", Counter("failed" if one.error else "success" for one in reports)),
        "outbox_events": {(): float(waiting)},
        "outbox_age_seconds": {(): max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0},
        "fleet_readable": {(): 1.0},
        "fleet_read_timestamp_seconds": {(): now.timestamp()},
    }


def _fleet(states: list[ClusterState]) -> Samples:
    nodes: Counter[str] = Counter()
    for state in states:
        nodes.update(state.nodes_by_status)
    problems = Counter((problem.code, problem.severity.value) for state in states for problem in state.problems)
    lags = [state.lag_worst_ms for state in states if state.lag_worst_ms is not None]
    return {
        "clusters": _counts("clusters", "health", Counter(state.health.value for state in states)),
        "nodes": _counts("nodes", "status", nodes),
        "problems": {labels: float(count) for labels, count in problems.items()},
        "lag_worst_seconds": {(): max(lags) / 1_000} if lags else {},
    }


def _work(work: WorkCounts) -> Samples:
    ready = work.queued - work.retrying
    counts = {"idle": work.idle, "queued": ready, "retrying": work.retrying, "claimed": work.claimed, "dead": work.dead}
    return {
        "work_items": {(state,): float(count) for state, count in counts.items()},
        "work_late_worst_seconds": {(): work.late_worst_s},
    }


def _counts(name: str, label: str, counted: Counter[str]) -> dict[tuple[str, ...], float]:
    """How many there are of each value, 0 for those that nothing has: what is absent cannot be compared."""
    told: dict[tuple[str, ...], float] = {(value,): 0.0 for value in BY_NAME[name].labels[label]}
    for value, count in counted.items():
        known = (BY_NAME[name].known(label, value),)
        told[known] = told.get(known, 0.0) + count
    return told
