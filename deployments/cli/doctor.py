"""What is wrong, and what to do about it: one list, the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import Any

import typer

from blocks.errors import ReplicoreError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterState, Health
from blocks.models.gate import Gate, GateKind
from blocks.models.report import CycleOutcome, Report
from blocks.models.request import WorkState
from blocks.models.source import SourceReport
from blocks.store.protocol import Store, Where
from deployments.cli.checks import WIPED, WITHIN_S, Check, check_all, degraded
from deployments.cli.options import Watch
from deployments.cli.output import Answer, Column, listing
from deployments.cli.session import Cli
from deployments.cli.words import BAD, MIDDLING, age, coloured, plural
from deployments.cli.world import Parts

LOOKED_MAX = 10_000
NAMED_MAX = 5
LATE_S = 60.0


class Grade(IntEnum):
    """How bad something is."""

    BROKEN = 0
    """The product does not do its work."""
    WRONG = 1
    """Something is not as it should be."""
    NOTE = 2
    """Somebody wanted it so; it may be forgotten."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    grade: Grade
    what: str
    do: str

    @property
    def row(self) -> dict[str, Any]:
        """For machines."""
        return {"grade": self.grade.name, "what": self.what, "do": self.do}


COLUMNS = (
    Column("GRADE", lambda row: coloured(row["grade"], {"BROKEN": BAD, "WRONG": MIDDLING}.get(row["grade"], ""))),
    Column("WHAT", lambda row: row["what"]),
    Column("DO", lambda row: row["do"]),
)

_COMPONENTS: Mapping[str, str] = {
    "zookeeper": "bring ZooKeeper back: until then nothing is acted on; looking goes on",
    "mongodb": "bring MongoDB back: until then nothing is known, told or done",
    "kafka": "bring Kafka back: until then work goes by MongoDB, more slowly, and events wait in the outbox",
    "prefect": "bring Prefect back: until then no new shift begins; those that run go on",
}
_DEGRADED: Mapping[str, str] = {
    "COORDINATOR_WIPED": "make sure that no worker talks to another ZooKeeper, then `replictl admin coordinator-reset "
    "--reason ...` (docs/backup.md)",
    "NO_WORKER": "start a worker: `python -m deployments.serve`, or `prefect worker start`",
    "NO_QUEUE": "a worker does not reach Kafka: look at that host's network",
    "NO_COORDINATOR": "a worker does not reach ZooKeeper: look at that host's network",
    "NO_STORE": "a worker does not reach MongoDB: look at that host's network",
    "NO_PREFECT": "a worker does not reach Prefect: look at that host's network",
}


def doctor(context: typer.Context, watch: Watch = None) -> None:
    """What is wrong with the product and the work it has, the worst first, and what to do. Exit code 1: something is."""
    cli = Cli.of(context)
    within_s = WITHIN_S if cli.timeout_s is None else cli.timeout_s

    async def read(parts: Parts) -> Answer:
        checks = await check_all(cli.world, cli.fleet, within_s)
        found = list(of_components(checks))
        if checks["mongodb"].ok:
            try:
                found += await of_work(await parts.store(), cli.world.clock())
            except ReplicoreError as error:
                what = f"what is stored cannot be read: {error}"
                found.append(Finding(Grade.BROKEN, what, "`replictl admin validate`"))
        rows = [finding.row for finding in sorted(found, key=lambda finding: finding.grade)]
        answer = listing(rows, COLUMNS, "nothing is wrong")
        return replace(answer, code=1) if any(finding.grade is not Grade.NOTE for finding in found) else answer

    cli.answer(read, watch)


def of_components(checks: Mapping[str, Check]) -> Iterator[Finding]:
    """What the components say of themselves."""
    down = {name for name, check in checks.items() if not check.ok}
    for name in sorted(down):
        yield Finding(Grade.BROKEN, f"{name} is down: {checks[name].detail}", _COMPONENTS[name])
    for mode in degraded(checks):
        if mode == "DEAD_WORK" or (mode in _DEGRADED and down and mode not in {"NO_WORKER", WIPED}):
            continue
        if mode.startswith("NO_DUTY_"):
            yield Finding(
                Grade.BROKEN, f"nobody does the duty {mode[8:].lower()}", "is a worker running? `replictl status`"
            )
        else:
            yield Finding(Grade.BROKEN, mode, _DEGRADED.get(mode, "`replictl status`"))


async def of_work(store: Store, now: datetime) -> list[Finding]:
    """What the store tells of the work."""
    found: list[Finding] = []
    items = await store.list_work(limit=LOOKED_MAX)
    dead = [item.key for item in items if item.state is WorkState.DEAD]
    if dead:
        do = "read the error in `replictl work --state dead`, mend it, `replictl work retry`; or `work drop`"
        found.append(Finding(Grade.WRONG, f"{plural(len(dead), 'work item')} failed too often: {_named(dead)}", do))
    late = [item for item in items if item.state is WorkState.QUEUED and _late_s(item.wanted_at, now) > LATE_S]
    if late:
        oldest = max(_late_s(item.wanted_at, now) for item in late)
        found.append(
            Finding(
                Grade.WRONG,
                f"{plural(len(late), 'work item')} waits for a worker, the longest for {age(oldest)}",
                "add seats or workers; `replictl work` shows what, `replictl locks` who holds what",
            )
        )
    paused = [item.key for item in items if item.paused_until is not None and item.paused_until > now]
    if paused:
        do = "`replictl resume` when the work by hand is done"
        found.append(Finding(Grade.NOTE, f"{plural(len(paused), 'item')} paused: {_named(paused)}", do))
    waiting, oldest_at = await store.outbox_size()
    if waiting and _late_s(oldest_at, now) > LATE_S:
        what = f"{plural(waiting, 'event')} not on the bus yet, the oldest for {age(_late_s(oldest_at, now))}"
        found.append(Finding(Grade.WRONG, what, "Kafka, or whoever has the duty relay: `replictl status`"))
    found += await _of_records(store, now)
    return found


async def _of_records(store: Store, now: datetime) -> list[Finding]:
    found: list[Finding] = []
    for type_, name in (
        (SourceReport, "source reports"),
        (ClusterState, "clusters"),
        (Report, "reports"),
        (Gate, "gates"),
    ):
        records: list[Any]
        records, broken = await store.readable(type_, limit=LOOKED_MAX)
        if broken:
            do = "`replictl admin validate` says why; the next cycle writes it anew, or delete it"
            found.append(Finding(Grade.WRONG, f"{len(broken)} {name} cannot be read: {_named(broken)}", do))
        found += _of_type(type_, records, now)
    where = Where(action_states=(ActionState.PENDING_APPROVE,))
    waiting = await store.find(Action, where, limit=LOOKED_MAX)
    if waiting:
        what = f"{plural(len(waiting), 'action')} waits for approval"
        found.append(Finding(Grade.NOTE, what, "`replictl actions --where state=PENDING_APPROVE`, `replictl approve`"))
    return found


def _of_type(type_: type[Any], records: list[Any], now: datetime) -> Iterator[Finding]:
    if type_ is SourceReport:
        for report in [one for one in records if one.error is not None][:NAMED_MAX]:
            do = f"`replictl describe source {report.key}`; nothing was changed by it"
            yield Finding(Grade.WRONG, f"source {report.key} gives no good answer: {report.error}", do)
    elif type_ is ClusterState:
        bad = [state.ref.key for state in records if state.health is Health.CRITICAL]
        if bad:
            yield Finding(Grade.WRONG, f"{plural(len(bad), 'cluster')} CRITICAL: {_named(bad)}", "`replictl problems`")
    elif type_ is Report:
        failed = [report.key for report in records if report.outcome is CycleOutcome.FAILED]
        if failed:
            what = f"the last cycle of {plural(len(failed), 'cluster')} failed: {_named(failed)}"
            yield Finding(Grade.WRONG, what, "`replictl cluster NAME` shows the error")
    else:
        frozen = [gate.where for gate in records if gate.kind is GateKind.FREEZE and not gate.expired(now)]
        if frozen:
            what = f"frozen: {_named(frozen)}"
            yield Finding(Grade.NOTE, what, "`replictl unfreeze` when that is over: no action begins until then")


def _late_s(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else (now - since).total_seconds()


def _named(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:NAMED_MAX]) + (f" and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else "")
