"""How each dependency is, asked all at once, each under a short deadline of its own, and what they tell when they answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from blocks.coordinator.protocol import ClaimKind, Holder
from blocks.errors import RecordError, ReplicoreError
from blocks.models.event import SYSTEM_STREAM, Event, EventType
from blocks.models.source import SourceReport
from blocks.store.protocol import EventQuery, WorkCounts
from blocks.work_queue.protocol import QueueStatus
from deployments.cli.words import seconds_since
from deployments.cli.world import Parts, World

WITHIN_S = 3.0
GRACE_S = 1.5
"""What an answer may take beyond the deadline of its calls: several calls, and closing."""
STACK_STATUS = "REPLICORE_STACK_STATUS"
EVENTS_MAX = 200
DUTIES = ("enqueue", "relay", "sweep")
WIPED = "COORDINATOR_WIPED"
"""The degraded mode of a ZooKeeper that knows less than the store; seen from here, whatever workers say."""
MODES = {"zookeeper": "NO_COORDINATOR", "mongodb": "NO_STORE", "kafka": "NO_QUEUE", "prefect": "NO_PREFECT"}
"""By component, the degraded mode that its absence is."""


@dataclass(frozen=True, slots=True)
class Check:
    """How a dependency answered."""

    ok: bool
    detail: str
    ms: float
    told: Any = None
    """What it told; None when it did not answer."""

    @property
    def row(self) -> dict[str, Any]:
        """For machines."""
        return {"ok": self.ok, "detail": self.detail, "ms": round(self.ms, 1)}


@dataclass(frozen=True, slots=True)
class Claims:
    """What ZooKeeper tells."""

    workers: list[Holder]
    duties: list[Holder]
    seats: list[Holder]
    standby: list[Holder]
    newest: tuple[int, int] = (0, 0)
    """Generation and token that no claim taken from now on stays behind."""


@dataclass(frozen=True, slots=True)
class Work:
    """What MongoDB tells."""

    counts: WorkCounts
    waiting: int
    oldest: datetime | None
    sources: int = 0
    failing: int = 0
    """How many of the sources gave no good answer when they were last asked, or told of clusters of others."""
    modes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By worker, the degraded modes that it has entered and not left, as its events tell."""
    newest: tuple[int, int] = (0, 0)
    """Generation and token of the newest holder that the store has seen."""


async def check_all(world: World, fleet: str, within_s: float, grace_s: float = GRACE_S) -> dict[str, Check]:
    """Ask ZooKeeper, MongoDB, Kafka and Prefect at the same time.

    Raises:
        ReplicoreError: it is not even known where they are.
    """
    async with world.connect(fleet, within_s):  # finds the settings, connects nothing yet
        pass
    asks: Mapping[str, Callable[[], Awaitable[tuple[str, Any]]]] = {
        "zookeeper": lambda: _part(world, fleet, within_s, _zookeeper),
        "mongodb": lambda: _part(world, fleet, within_s, lambda parts: _mongodb(parts, world.clock())),
        "kafka": lambda: _part(world, fleet, within_s, _kafka),
        "prefect": lambda: _prefect(world, within_s),
    }
    checks = dict(
        zip(asks, await asyncio.gather(*(_checked(asks[name], within_s, grace_s) for name in asks)), strict=True)
    )
    if _wiped(checks):  # or somebody took a lock between the two answers
        checks["zookeeper"] = await _checked(asks["zookeeper"], within_s, grace_s)
    return checks


def _wiped(checks: Mapping[str, Check]) -> bool:
    """Whether the store has seen newer holders than ZooKeeper knows of."""
    claims: Claims | None = checks["zookeeper"].told
    work: Work | None = checks["mongodb"].told
    return claims is not None and work is not None and claims.newest < work.newest


async def _checked(ask: Callable[[], Awaitable[tuple[str, Any]]], within_s: float, grace_s: float) -> Check:
    begun = time.monotonic()
    try:
        async with asyncio.timeout(within_s + grace_s):
            detail, told = await ask()
    except TimeoutError:
        return Check(ok=False, detail=f"no answer within {within_s:g} s", ms=_ms(begun))
    except ReplicoreError as error:
        return Check(ok=False, detail=str(error), ms=_ms(begun))
    return Check(ok=True, detail=detail, ms=_ms(begun), told=told)


def _ms(begun: float) -> float:
    return (time.monotonic() - begun) * 1_000


async def _part(
    world: World, fleet: str, within_s: float, ask: Callable[[Parts], Awaitable[tuple[str, Any]]]
) -> tuple[str, Any]:
    """With connections of its own: none waits for another."""
    async with world.connect(fleet, within_s) as parts:
        return await ask(parts)


async def _zookeeper(parts: Parts) -> tuple[str, Claims]:
    coordinator = await parts.coordinator()
    kinds = (ClaimKind.WORKER, ClaimKind.DUTY, ClaimKind.SEAT, ClaimKind.STANDBY)
    workers, duties, seats, standby = await asyncio.gather(*(coordinator.holders(kind) for kind in kinds))
    claims = Claims(workers, duties, seats, standby, await coordinator.newest())
    return f"answers; {len(claims.seats)} seats taken", claims


async def _mongodb(parts: Parts, now: datetime) -> tuple[str, Work]:
    store = await parts.store()
    await store.ready()
    told = EventQuery(stream=SYSTEM_STREAM, types=tuple(_ENTERED), newest=EVENTS_MAX)
    counts, (waiting, oldest), events, (reports, _), fence = await asyncio.gather(
        store.count_work(now),
        store.outbox_size(),
        store.events(told),
        store.readable(SourceReport),
        store.newest_fence(),
    )
    failing = sum(report.error is not None or bool(report.conflicts) for report in reports)
    newest = (0, 0) if fence is None else (fence.generation, fence.token)
    return "takes writes", Work(counts, waiting, oldest, len(reports), failing, _modes(events), newest)


_ENTERED = {EventType.DEGRADED_ENTERED: True, EventType.DEGRADED_LEFT: False}


def _modes(events: Iterable[Event]) -> dict[str, frozenset[str]]:
    last: dict[tuple[str, str], bool] = {}
    for event in events:
        last[str(event.data.get("worker")), str(event.data.get("mode"))] = _ENTERED[EventType(event.type)]
    found: dict[str, set[str]] = defaultdict(set)
    for (worker, mode), entered in last.items():
        if entered:
            found[worker].add(mode)
    return {worker: frozenset(modes) for worker, modes in found.items()}


async def _kafka(parts: Parts) -> tuple[str, QueueStatus]:
    queue = await parts.work_queue()
    await queue.ready()
    status = await queue.status()
    return f"answers; {status.partitions} partitions of work", status


async def _prefect(world: World, within_s: float) -> tuple[str, None]:
    return f"answers at {await world.prefect(within_s)}", None


def degraded(checks: Mapping[str, Check]) -> list[str]:
    """Names of what is not as it should be: degraded modes (seen from here, or by a living worker), duties that nobody
    does, dead work.
    """
    found = [name for component, name in MODES.items() if not checks[component].ok]
    claims: Claims | None = checks["zookeeper"].told
    if claims is not None:
        done = {holder.name for holder in claims.duties}
        found += ["NO_WORKER"] if not claims.workers else []
        found += [f"NO_DUTY_{duty.upper()}" for duty in DUTIES if duty not in done]
    work: Work | None = checks["mongodb"].told
    if work is not None and claims is not None:
        found += [WIPED] if _wiped(checks) else []
        living = {holder.owner for holder in claims.workers}
        found += sorted({mode for worker, modes in work.modes.items() if worker in living for mode in modes - {WIPED}})
    if work is not None and work.counts.dead:
        found.append("DEAD_WORK")
    return list(dict.fromkeys(found))


def holder_row(holder: Holder, now: datetime) -> dict[str, Any]:
    """Who holds a claim."""
    return {
        "owner": holder.owner,
        "host": holder.host,
        "pid": holder.pid,
        "flow_run": holder.flow_run,
        "since": holder.since,
        "age_s": seconds_since(holder.since, now),
    }


def stack_rows(environ: Mapping[str, str]) -> list[dict[str, Any]] | None:
    """The processes of the local stack; None where there is none.

    Raises:
        RecordError: its file cannot be read.
    """
    path = environ.get(STACK_STATUS)
    if not path:
        return None
    try:
        processes = json.loads(Path(path).read_text(encoding="utf-8"))["processes"]
        return [_process(process) for process in processes]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = (
            f"the status of the local stack in {path} cannot be read ({type(error).__name__}); unset {STACK_STATUS}"
        )
        raise RecordError(message) from error


def _process(process: Mapping[str, Any]) -> dict[str, Any]:
    pid = process.get("pid")
    gone = isinstance(pid, int) and not Path(f"/proc/{pid}").exists()
    return {
        "name": str(process["name"]),
        "pid": pid,
        "state": "gone" if gone else str(process["state"]),
        "restarts": process.get("restarts", 0),
        "since": process.get("since"),
        "error": process.get("error"),
    }
