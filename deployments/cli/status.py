"""How the product itself is: its dependencies, who works, what waits, what is degraded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import typer
from rich.text import Text

from blocks.errors import RecordError
from deployments.cli.checks import DUTIES, WITHIN_S, Check, Claims, Work, check_all, degraded, holder_row, stack_rows
from deployments.cli.options import Watch
from deployments.cli.output import Answer, Block, Column, Grid, Row, clean
from deployments.cli.session import Cli
from deployments.cli.words import BAD, GOOD, age, coloured, milliseconds, plural, seconds_since
from deployments.cli.world import Parts

COMPONENT_COLUMNS = (
    Column("COMPONENT", lambda row: row["name"]),
    Column("STATE", lambda row: coloured("ok", GOOD) if row["ok"] else coloured("DOWN", BAD)),
    Column("TOOK", lambda row: milliseconds(row["ms"]), right=True),
    Column("DETAIL", lambda row: row["detail"]),
)
WORKER_COLUMNS = (
    Column("WORKER", lambda row: row["owner"]),
    Column("FOR", lambda row: age(row["age_s"]), right=True),
    Column("HOST", lambda row: row["host"]),
    Column("PID", lambda row: row["pid"], right=True),
    Column("FLOW RUN", lambda row: row["flow_run"]),
)
DUTY_COLUMNS = (
    Column("DUTY", lambda row: row["duty"]),
    Column("WORKER", lambda row: row["owner"] or coloured("nobody", BAD)),
    Column("FOR", lambda row: age(row["age_s"]), right=True),
)
STACK_COLUMNS = (
    Column("PROCESS", lambda row: row["name"]),
    Column("STATE", lambda row: coloured(row["state"])),
    Column("PID", lambda row: row["pid"], right=True),
    Column("RESTARTS", lambda row: row["restarts"], right=True),
    Column("SINCE", lambda row: row["since"]),
    Column("ERROR", lambda row: row["error"]),
)


def status_of(checks: Mapping[str, Check], stack: Sequence[Row] | None, now: datetime) -> dict[str, Any]:
    """Everything as one object. What a component that is down would tell is null."""
    value: dict[str, Any] = {"components": {name: check.row for name, check in checks.items()}}
    claims: Claims | None = checks["zookeeper"].told
    value["workers"] = None if claims is None else [holder_row(holder, now) for holder in claims.workers]
    value["duties"] = (
        None if claims is None else [{"duty": holder.name, **holder_row(holder, now)} for holder in claims.duties]
    )
    value["standby"] = None if claims is None else [holder_row(holder, now) for holder in claims.standby]
    work: Work | None = checks["mongodb"].told
    queue = checks["kafka"].told
    value["queue"] = {
        "backlog": queue.backlog if queue is not None else None,
        "members": queue.members if queue is not None else None,
        **{name: getattr(work.counts, name) if work is not None else None for name in WORK},
    }
    oldest = seconds_since(work.oldest, now) if work is not None else None
    value["outbox"] = {"size": work.waiting if work is not None else None, "oldest_age_s": oldest}
    value["sources"] = {
        "total": work.sources if work is not None else None,
        "failing": work.failing if work is not None else None,
    }
    value["degraded"] = degraded(checks)
    if stack is not None:
        value["stack"] = stack
    return value


WORK = ("idle", "queued", "claimed", "retrying", "dead", "late_worst_s")


def _page(value: Mapping[str, Any]) -> list[Block]:
    names = value["degraded"]
    failing = value["sources"]["failing"]
    well = "all is well"
    if failing:
        well = f"{plural(failing, 'source')} of {value['sources']['total']} in trouble: `replictl sources`; else all is well"
    blocks: list[Block] = [
        Text(well, style=BAD if failing else GOOD) if not names else Text(f"degraded: {', '.join(names)}", style=BAD),
        Text(""),
        Grid(COMPONENT_COLUMNS, [{"name": name, **row} for name, row in value["components"].items()]),
    ]
    if value["workers"] is not None:
        blocks += [Text(""), Grid(WORKER_COLUMNS, value["workers"], "no workers")]
        done = {row["duty"] for row in value["duties"]}
        nobody = [{"duty": duty, "owner": None, "age_s": None} for duty in DUTIES if duty not in done]
        blocks += [Text(""), Grid(DUTY_COLUMNS, [*value["duties"], *nobody])]
        waits = ", ".join(clean(row["owner"]) for row in value["standby"])
        blocks.append(Text(f"standby: {waits or 'nobody'}"))
    blocks += [Text(""), _work_line(value["queue"], value["outbox"])]
    if value.get("stack") is not None:
        blocks += [Text(""), Grid(STACK_COLUMNS, value["stack"], "the local stack has no processes")]
    return blocks


def _work_line(queue: Row, outbox: Row) -> Text:
    work = ", ".join(f"{queue[name]} {name}" for name in WORK[:-1]) if queue["idle"] is not None else "not known"
    late = f", latest {age(queue['late_worst_s'])} late" if queue["late_worst_s"] else ""
    sent = "not known" if queue["backlog"] is None else f"{queue['backlog']} waiting, {queue['members']} taking"
    events = "not known" if outbox["size"] is None else f"{outbox['size']} waiting"
    oldest = f", oldest {age(outbox['oldest_age_s'])}" if outbox["oldest_age_s"] is not None else ""
    return Text(f"work: {work}{late}\nqueue: {sent}\noutbox: {events}{oldest}")


def status(context: typer.Context, watch: Watch = None) -> None:
    """How the product is. Exit code 0 when all is well, 1 when something is degraded."""
    cli = Cli.of(context)
    within_s = WITHIN_S if cli.timeout_s is None else min(WITHIN_S, cli.timeout_s)

    async def read(_: Parts) -> Answer:
        checks = await check_all(cli.world, cli.fleet, within_s)
        try:
            stack = stack_rows(cli.world.environ)
        except RecordError as error:
            stack = [
                {"name": "stack", "state": "unreadable", "pid": None, "restarts": 0, "since": None, "error": str(error)}
            ]
        value = status_of(checks, stack, cli.world.clock())
        value["degraded"] += [
            f"PROCESS_{row['name']}" for row in stack or () if row["state"] not in {"ready", "stopped", "unreadable"}
        ]
        return Answer(value, _page(value), code=1 if value["degraded"] else 0)

    cli.answer(read, watch)
