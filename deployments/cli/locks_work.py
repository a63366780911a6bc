"""Who holds what, and what work stands where."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from blocks.coordinator.protocol import ClaimKind, Coordinator
from blocks.errors import NotFoundError
from blocks.models.request import Request, WorkState
from blocks.store.protocol import Store
from deployments.cli.options import Watch
from deployments.cli.output import Answer, Column, listing
from deployments.cli.session import Cli
from deployments.cli.words import age, coloured, plural, seconds_since
from deployments.cli.world import Parts

LOCK_COLUMNS = (
    Column("KIND", lambda row: row["kind"]),
    Column("NAME", lambda row: row["name"]),
    Column("FOR", lambda row: age(row["age_s"]), right=True),
    Column("PURPOSE", lambda row: row["purpose"]),
    Column("HOLDER", lambda row: row["owner"]),
    Column("HOST", lambda row: row["host"]),
    Column("PID", lambda row: row["pid"], right=True),
    Column("FLOW RUN", lambda row: row["flow_run"]),
    Column("TOKEN", lambda row: row["token"], right=True),
)
WORK_COLUMNS = (
    Column("KEY", lambda row: row["key"]),
    Column("STATE", lambda row: coloured(row["state"])),
    Column("PRIORITY", lambda row: row["priority"]),
    Column("EVERY", lambda row: age(row["interval_s"]), right=True),
    Column("DUE IN", lambda row: _due(row["due_in_s"]), right=True),
    Column("LATE", lambda row: age(row["late_s"]), right=True),
    Column("FAILURES", lambda row: row["attempts"], right=True),
    Column("OWNER", lambda row: row["owner"]),
    Column("ERROR", lambda row: row["error"]),
)

work_app = typer.Typer(invoke_without_command=True)


async def lock_rows(coordinator: Coordinator, kinds: Sequence[ClaimKind], now: datetime) -> list[dict[str, Any]]:
    """One row per claim of these kinds."""
    return [
        {
            "kind": kind.name.lower(),
            "name": holder.name,
            "owner": holder.owner,
            "purpose": holder.purpose,
            "flow_run": holder.flow_run,
            "host": holder.host,
            "pid": holder.pid,
            "since": holder.since,
            "age_s": seconds_since(holder.since, now),
            "token": holder.token,
        }
        for kind in kinds
        for holder in await coordinator.holders(kind)
    ]


async def work_rows(
    store: Store, states: Sequence[WorkState] | None, limit: int, now: datetime
) -> list[dict[str, Any]]:
    """One row per work item, the most overdue first."""
    return [_work_row(item, now) for item in await store.list_work(states, limit=limit)]


def _work_row(item: Request, now: datetime) -> dict[str, Any]:
    waits_for = [moment for moment in (item.wanted_at or item.next_at, item.not_before) if moment is not None]
    due = max(waits_for) if waits_for and item.state in {WorkState.IDLE, WorkState.QUEUED} else None
    return {
        "key": item.key,
        "kind": item.kind,
        "subject": item.subject,
        "state": item.state,
        "priority": item.priority.name.lower(),
        "active": item.active,
        "interval_s": item.interval,
        "next_at": item.next_at,
        "wanted_at": item.wanted_at,
        "not_before": item.not_before,
        "due_in_s": None if due is None else round((due - now).total_seconds(), 1),
        "claimed_at": item.claimed_at,
        "owner": item.owner,
        "attempts": item.attempts,
        "error": item.error,
        "finished_at": item.finished_at,
        "late_s": item.late_s,
    }


def _due(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return age(seconds) if seconds >= 0 else f"-{age(-seconds)}"


def locks(
    context: typer.Context,
    watch: Watch = None,
    *,
    every: Annotated[bool, typer.Option("--all", "-a", help="Seats, duties and workers too.")] = False,
) -> None:
    """Clusters and sources that are being worked on: by whom, for what, for how long."""
    cli = Cli.of(context)
    kinds = list(ClaimKind) if every else [ClaimKind.LOCK]

    async def read(parts: Parts) -> Answer:
        rows = await lock_rows(await parts.coordinator(), kinds, cli.world.clock())
        return listing(rows, LOCK_COLUMNS, "nothing is held" if every else "no locks are held")

    cli.answer(read, watch)


@work_app.callback()
def work(
    context: typer.Context,
    state: Annotated[
        list[WorkState] | None, typer.Option(help="Only in this state; repeatable.", case_sensitive=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the most overdue.")] = 1_000,
    watch: Watch = None,
) -> None:
    """The timetable and the queue: every work item, the most overdue first."""
    if context.invoked_subcommand is not None:
        return
    cli = Cli.of(context)

    async def read(parts: Parts) -> Answer:
        rows = await work_rows(await parts.store(), state, limit, cli.world.clock())
        return listing(rows, WORK_COLUMNS, "no work")

    cli.answer(read, watch)


@work_app.command("retry")
def retry(
    context: typer.Context,
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEY...", help="Keys as `replictl work` shows them.")
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", "-a", help="Every dead item.")] = False,
) -> None:
    """Queue dead work again, with a clean slate."""
    if bool(keys) == every:
        message = "give keys of dead work, or --all"
        raise typer.BadParameter(message)
    cli = Cli.of(context)

    async def change(parts: Parts) -> Answer:
        return await retried(await parts.store(), keys, cli.world.clock())

    cli.answer(change)


async def retried(store: Store, keys: Sequence[str] | None, now: datetime) -> Answer:
    """Queue dead items again: these, or all.

    Raises:
        NotFoundError: some are not dead or not there; nothing was queued.
    """
    dead = {item.key for item in await store.list_work([WorkState.DEAD], limit=100_000)}
    wanted = sorted(dead) if keys is None else list(dict.fromkeys(keys))
    others = [key for key in wanted if key not in dead]
    if others:
        message = (
            f"{', '.join(others)}: no dead work of that key; `replictl work --state dead` lists it. Nothing was queued"
        )
        raise NotFoundError(message)
    count = await store.retry_work(wanted, now)
    rows = [{"key": key, "state": WorkState.QUEUED} for key in wanted]
    return listing(rows, (WORK_COLUMNS[0], WORK_COLUMNS[1]), f"{plural(count, 'item')} queued")
