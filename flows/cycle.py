"""The cycle of clusters: lock, load, look, judge, save, act, let go. `observe`, `act` and `orchestrate` are parts of it.

Everything here works on a batch: its locks are taken together and its views loaded together; then each cluster goes its
own way, so that a slow or broken one delays no other. What fails for one cluster is in its report. What fails for all
(the store or the coordinator is gone) is raised, with nothing half done.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from blocks.coordinator.protocol import Claim
from blocks.errors import (
    BusyError,
    DependencyUnavailableError,
    FencedError,
    LockLostError,
    NotFoundError,
    RecordError,
    ReplicoreError,
    TransientError,
)
from blocks.models.action import ActionState
from blocks.models.ids import ClusterRef
from blocks.models.look import Look
from blocks.models.report import Choice, CycleOutcome, Report
from blocks.models.view import ClusterView
from flows.steps import Steps, Turn
from tasks.budget import holders_beside
from tasks.decide.choose import choose
from tasks.decide.rest import Occasion
from tasks.decide.settle import Settled, settle
from tasks.decide.sync import strangers
from tasks.decide.timetable import follow_up
from tasks.dispatch import Dispatched, dispatch
from tasks.hold import Held, hold_clusters, let_go
from tasks.poll import load_strangers, load_views, poll_nodes
from tasks.progress import Progressed, Surroundings, progress
from tasks.rolling import Rolled, roll_on
from tasks.save import save, save_report, save_seen

BUSY = "somebody else holds its lock"
WAVE_S = 0.5
"""For so long the clusters of a batch wait for each other, so that they are saved and let go together."""


_logger = logging.getLogger("replicore.cycle")


class Mode(Enum):
    """Which part of the cycle is done."""

    OBSERVE = "observe"
    ACT = "act"
    ORCHESTRATE = "orchestrate"


@dataclass(frozen=True, slots=True)
class _Done:
    """One cluster's way through the cycle."""

    report: Report
    unchanged: tuple[Settled, Claim] | None = None
    follow_up: datetime | None = None
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a batch came to."""

    reports: tuple[Report, ...]
    follow_up: Mapping[str, datetime] = field(default_factory=dict)
    """By cluster key, when to look again before the cluster's turn: something is under way there."""
    transient: frozenset[str] = frozenset()
    """Clusters whose failure says nothing about them: superseded, a lock in doubt, a record changed by a person."""


async def cycle(
    turn: Turn,
    clusters: Sequence[ClusterRef],
    mode: Mode,
    *,
    wait_s: float = 0.0,
    occasion: Occasion = Occasion.PERSON,
    ended: Callable[[Result], Awaitable[None]] | None = None,
) -> Result:
    """Take clusters through the cycle.

    Args:
        turn: the services to work with.
        clusters: which, each once.
        mode: how much of the cycle.
        wait_s: with a single cluster, how many seconds to wait for its lock.
        occasion: why; a person's cycle asks every node, also those that have been silent for a while.
        ended: told of clusters as soon as they are done and their locks given back: a slow one keeps no other.

    Raises:
        DependencyUnavailableError: the store or the coordinator is gone.
    """
    begun = turn.clock()
    held: Held = await turn.steps("lock", hold_clusters, turn.coordinator, turn.store, clusters, mode.value, wait_s)
    left = dict(held.claims)
    results: list[Result] = []

    async def over(done: Sequence[_Done]) -> None:
        """Some clusters are done: save what was only seen, let go of them, and say so."""
        unchanged = [one.unchanged for one in done if one.unchanged is not None]
        if unchanged:
            await turn.steps("save", save_seen, turn.store, unchanged, turn.clock())
        mine = [left.pop(one.report.key) for one in done if one.report.key in left]
        await turn.steps("unlock", let_go, turn.coordinator, mine)
        results.append(_result(done))
        if ended is not None:
            await ended(results[-1])

    try:
        mine = [cluster for cluster in clusters if cluster.key in held.claims]
        loaded = await turn.steps("load", load_views, turn.store, mine, with_dead=turn.steps.watched)
        broken = [
            await _told(turn, _failed(ref, begun, loaded.unreadable[ref.key]), held.claims[ref.key])
            for ref in mine
            if ref.key in loaded.unreadable
        ]
        busy = [_Done(_skipped(ref, begun, BUSY)) for ref in clusters if ref.key in held.busy]
        lost = [
            _Done(_failed(ref, begun, held.why_superseded(ref.key)), transient=True)
            for ref in clusters
            if ref.key in held.superseded
        ]
        if at_once := [*broken, *busy, *lost]:
            await over(at_once)
        await _waves(
            (
                _cluster(_own(turn), ref, loaded.views.get(ref.key), held.claims[ref.key], mode, occasion, begun)
                for ref in mine
                if ref.key not in loaded.unreadable
            ),
            over,
        )
    finally:
        if left:
            await turn.steps("unlock", let_go, turn.coordinator, list(left.values()))
    return Result(
        reports=tuple(report for one in results for report in one.reports),
        transient=frozenset(key for one in results for key in one.transient),
        follow_up={key: at for one in results for key, at in one.follow_up.items()},
    )


def _result(done: Sequence[_Done]) -> Result:
    return Result(
        reports=tuple(one.report for one in done),
        transient=frozenset(one.report.key for one in done if one.transient),
        follow_up={one.report.key: one.follow_up for one in done if one.follow_up is not None},
    )


async def _waves(
    ways: Iterable[Coroutine[Any, Any, _Done]], over: Callable[[Sequence[_Done]], Awaitable[None]]
) -> None:
    """Let every cluster come to its end, under its lock, before what failed for all is raised. Most are done at the same
    time, and then together; those that wait for slow nodes follow one by one.
    """
    pending = {asyncio.ensure_future(way) for way in ways}
    wave_s: float | None = WAVE_S
    trouble: BaseException | None = None
    try:
        while pending:
            when = asyncio.ALL_COMPLETED if wave_s is not None else asyncio.FIRST_COMPLETED
            ended, pending = await asyncio.wait(pending, timeout=wave_s, return_when=when)
            wave_s = None
            trouble = next((error for one in ended if (error := one.exception()) is not None), trouble)
            if good := [one.result() for one in ended if one.exception() is None]:
                await over(good)
    finally:
        for one in pending:
            one.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    if trouble is not None:
        raise trouble


def _own(turn: Turn) -> Turn:
    """The turn of one cluster of a batch: it measures its own phases. A watched run has one cluster and one measure."""
    return turn if turn.steps.watched else replace(turn, steps=turn.steps.fork())


async def cycle_one(turn: Turn, ref: ClusterRef, mode: Mode, *, wait_s: float) -> Report:
    """Take one cluster through the cycle by order of a person, and keep the report.

    Raises:
        NotFoundError: there is no such cluster.
        BusyError: its lock did not become free in time.
        DependencyUnavailableError: the store or the coordinator is gone.
    """
    if not await turn.store.views([ref]):
        msg = f"there is no cluster {ref}; `replictl clusters` lists those that are known"
        raise NotFoundError(msg)
    result = await cycle(turn, [ref], mode, wait_s=wait_s)
    report = result.reports[0]
    if report.notes == (BUSY,):
        holder = "another worker (see `replictl locks`)"
        raise BusyError("lock", str(ref), holder)
    phases_ms = {phase: round(ms, 2) for phase, ms in turn.steps.phases_ms.items()}
    return report.evolve(phases_ms={**report.phases_ms, **phases_ms})


async def _cluster(
    turn: Turn,
    ref: ClusterRef,
    view: ClusterView | None,
    claim: Claim,
    mode: Mode,
    occasion: Occasion,
    begun: datetime,
) -> _Done:
    if view is None:
        return _Done(_skipped(ref, begun, "it is not known any more"))
    if not view.spec.active or not view.namespace.may_look:
        why = "it is not active" if not view.spec.active else f"its namespace is {view.namespace.status}"
        return _Done(_skipped(ref, begun, why))
    report = Report(namespace=ref.namespace, cluster_id=ref.cluster_id, started_at=begun, outcome=CycleOutcome.SUCCESS)
    try:
        return await _through(turn, view, claim, mode, occasion, report)
    except DependencyUnavailableError:
        raise
    except (FencedError, LockLostError) as error:
        return _Done(_failed(ref, begun, str(error)), transient=True)
    except ReplicoreError as error:
        return await _told(turn, _failed(ref, begun, str(error)), claim, transient=isinstance(error, TransientError))
    except Exception as error:
        _logger.exception("the cycle of %s failed unexpectedly", ref)
        return await _told(turn, _failed(ref, begun, f"{type(error).__name__}: {error}"), claim)


async def _told(turn: Turn, report: Report, claim: Claim, *, transient: bool = False) -> _Done:
    """Keep the report of a failed cycle, so that the latest is not the success before it."""
    try:
        await turn.steps("report", save_report, turn.store, report, claim, turn.clock())
    except (FencedError, RecordError) as error:
        _logger.warning("the report of %s could not be kept: %s", report.key, error)
    return _Done(report, transient=transient)


async def _through(
    turn: Turn, view: ClusterView, claim: Claim, mode: Mode, occasion: Occasion, report: Report
) -> _Done:
    # What agents do not have is known as of before the looks: a request on its way may have arrived since.
    looked_at = turn.clock()
    polled = await turn.steps(
        "poll", poll_nodes, turn.agents, view, now=looked_at, occasion=occasion,
        only_with_actions=mode is Mode.ACT and not _may_begin(view),
    )  # fmt: skip
    looks = polled.looks
    stored: frozenset[str] = frozenset()
    if strangers(view, looks):
        stored = await turn.steps("load", load_strangers, turn.store, view, looks)
    settled = _judged(turn.steps, view, looks, looked_at, stored)
    events = 0
    if not settled.change.empty:
        events = await turn.steps("save", save, turn.store, settled, claim, turn.clock())
    dispatched, progressed, rolled, choice = Dispatched(), Progressed(), Rolled(settled.view), Choice()
    if mode is not Mode.OBSERVE:
        if settled.view.rollings or any(action.rolling_id for action in settled.view.actions.values()):
            rolled = await turn.steps("roll", roll_on, turn.store, settled.view, claim, looked_at, turn.clock)
        holders = await holders_beside(turn.store, rolled.view, turn.kinds)
        chosen = choose(rolled.view, turn.kinds, now=looked_at, holders=holders)
        choice = chosen.choice
        if chosen.actions:
            dispatched = await turn.steps(
                "dispatch", dispatch, turn.agents, turn.coordinator, turn.store, rolled.view, claim, chosen.actions, turn.clock
            )  # fmt: skip
        if chosen.start is not None or _progressing(rolled.view):
            world = Surroundings(
                turn.coordinator, turn.store, turn.outside, turn.clock, turn.handlers, turn.kinds, turn.step_s
            )
            progressed = await turn.steps("progress", progress, world, rolled.view, claim, chosen.start)
    actions = {
        **rolled.view.actions,
        **{action.action_id: action for action in (*dispatched.actions, *progressed.actions)},
    }
    after = replace(rolled.view, actions=actions)
    report = report.evolve(
        choice=choice,
        nodes_synced=settled.synced,
        nodes_failed=settled.failed,
        actions_sent=dispatched.sent,
        actions_send_failed=dispatched.failed,
        actions_lost=settled.lost,
        cluster_actions_progressed=len(progressed.actions),
        events=events,
        notes=(*polled.notes, *rolled.notes, *dispatched.notes, *progressed.notes),
        phases_ms={phase: round(ms, 2) for phase, ms in turn.steps.phases_ms.items()},
    )
    if events or rolled.changed or dispatched.actions or progressed.actions or turn.steps.watched:
        await turn.steps("report", save_report, turn.store, report, claim, turn.clock())
    return _Done(
        report,
        unchanged=(settled, claim) if settled.change.empty else None,
        follow_up=follow_up(after, now=turn.clock()),
    )


def _may_begin(view: ClusterView) -> bool:
    """Whether something may begin, or go on on the whole cluster: then gates judge all nodes, as they are now."""
    return bool(view.rollings) or any(
        action.state is ActionState.PENDING_SCHEDULE or (action.node_id is None and action.state.on_agent)
        for action in view.actions.values()
    )


def _progressing(view: ClusterView) -> bool:
    return any(action.node_id is None and action.state.on_agent for action in view.actions.values())


def _judged(
    steps: Steps, view: ClusterView, looks: Mapping[str, Look], now: datetime, stored: frozenset[str]
) -> Settled:
    begun = time.monotonic()
    settled = settle(view, looks, now=now, stored=stored)
    steps.phases_ms["decide"] = steps.phases_ms.get("decide", 0.0) + (time.monotonic() - begun) * 1_000
    return settled


def _failed(ref: ClusterRef, begun: datetime, why: str) -> Report:
    return Report(
        namespace=ref.namespace, cluster_id=ref.cluster_id, started_at=begun, outcome=CycleOutcome.FAILED, error=why
    )


def _skipped(ref: ClusterRef, begun: datetime, why: str) -> Report:
    return Report(
        namespace=ref.namespace, cluster_id=ref.cluster_id, started_at=begun, outcome=CycleOutcome.SKIPPED, notes=(why,)
    )
