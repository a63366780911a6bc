"""What work stands where."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from blocks.errors import NotFoundError, RefusedError
from blocks.models.request import Request, WorkState
from blocks.store.protocol import Store
from deployments.cli.options import Conditions, Selectors, Watch, need_reason
from deployments.cli.output import Answer, Column, Format, listing, say
from deployments.cli.select import READ_MAX, Filter, Note, Notes, Tags, cut
from deployments.cli.session import Cli
from deployments.cli.turns import TURN_FIELDS, turn_fields
from deployments.cli.words import age, coloured, plural
from deployments.cli.world import Parts
from tasks.decide.audit import Command
from tasks.decide.conditions import Fields

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

WORK_FIELDS: Fields = {
    "key": str,
    "kind": str,
    "subject": str,
    "labels": dict,
    "state": WorkState,
    "priority": str,
    "active": bool,
    "interval_s": float,
    **{name: type_ for name, type_ in TURN_FIELDS.items() if name != "work_state"},
    "wanted_at": datetime,
    "not_before": datetime,
    "claimed_at": datetime,
    "owner": str,
    "attempts": int,
    "error": str,
    "finished_at": datetime,
}

work_app = typer.Typer(invoke_without_command=True)


async def work_rows(
    store: Store,
    states: Sequence[WorkState] | None,
    wanted: Filter,
    now: datetime,
    *,
    namespace: str | None = None,
    labels: bool = True,
    limit: int = 1_000,
    note: Note = say,
) -> list[dict[str, Any]]:
    """One row per wanted work item, the most overdue first, at most `limit`; a filter, or a namespace, looks through
    `READ_MAX` items.
    """
    narrows = wanted.narrows or namespace is not None
    most = READ_MAX if narrows else limit
    items = await store.list_work(states, limit=most + 1)
    if namespace is not None:
        items = [item for item in items if item.subject.startswith(f"{namespace}/")]
    if narrows:
        items = cut(items, most, note, f"only the most overdue {most} items were looked through")
    tags = await Tags.load(store, None, note, sources=True) if labels else Tags()
    rows = wanted.kept([_work_row(item, tags.of_work(item.kind, item.subject), now) for item in items])
    return cut(rows, limit, note, f"these are the most overdue {limit} of more items; --limit shows more")


def _work_row(item: Request, labels: Mapping[str, str], now: datetime) -> dict[str, Any]:
    turn = turn_fields(item, now)
    del turn["work_state"]
    return {
        "key": item.key,
        "kind": item.kind,
        "subject": item.subject,
        "labels": labels,
        "state": item.state,
        "priority": item.priority.name.lower(),
        "active": item.active,
        "interval_s": item.interval,
        **turn,
        "wanted_at": item.wanted_at,
        "not_before": item.not_before,
        "claimed_at": item.claimed_at,
        "owner": item.owner,
        "attempts": item.attempts,
        "error": item.error,
        "finished_at": item.finished_at,
    }


def _due(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return age(seconds) if seconds >= 0 else f"-{age(-seconds)}"


@work_app.callback()
def work(
    context: typer.Context,
    state: Annotated[
        list[WorkState] | None, typer.Option(help="Only in this state; repeatable.", case_sensitive=False)
    ] = None,
    selector: Selectors = None,
    where: Conditions = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the most overdue.")] = 1_000,
    watch: Watch = None,
) -> None:
    """The timetable and the queue: every work item, the most overdue first."""
    if context.invoked_subcommand is not None:
        return
    cli = Cli.of(context)

    wanted, note = Filter.of(selector, where, WORK_FIELDS), Notes()
    labels = wanted.needs_labels or cli.form is not Format.TABLE

    async def read(parts: Parts) -> Answer:
        store, now = await parts.store(), cli.world.clock()
        rows = await work_rows(
            store, state, wanted, now, namespace=cli.namespace, labels=labels, limit=limit, note=note
        )
        return listing(rows, WORK_COLUMNS, wanted.empty("no work", "work"))

    cli.answer(read, watch)


@work_app.command("retry")
def retry(
    context: typer.Context,
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEY...", help="Keys as `replictl work` shows them.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; kept in the audit.")] = "",
    *,
    every: Annotated[bool, typer.Option("--all", "-a", help="Every dead item.")] = False,
) -> None:
    """Queue dead work again, with a clean slate."""
    if bool(keys) == every:
        message = "give keys of dead work, or --all"
        raise typer.BadParameter(message)
    cli = Cli.of(context)

    async def change(parts: Parts) -> Answer:
        from flows.audit import audited  # noqa: PLC0415 - imports Prefect

        store = await parts.store()
        command = Command("work retry", ", ".join(keys or ["--all"]), cli.world.user, {"reason": reason})
        async with audited(store, command, cli.world.clock):
            return await retried(store, keys, cli.world.clock())

    cli.answer(change)


async def retried(store: Store, keys: Sequence[str] | None, now: datetime) -> Answer:
    """Queue dead items again: these, or all.

    Raises:
        NotFoundError: some are not dead or not there; nothing was queued.
    """
    dead = {item.key for item in await store.list_work([WorkState.DEAD], limit=100_000)}
    wanted = sorted(dead) if keys is None else list(dict.fromkeys(keys))
    _all_dead(wanted, dead, "queued")
    count = await store.retry_work(wanted, now)
    rows = [{"key": key, "state": WorkState.QUEUED} for key in wanted]
    return listing(rows, (WORK_COLUMNS[0], WORK_COLUMNS[1]), f"{plural(count, 'item')} queued")


@work_app.command("drop")
def drop(
    context: typer.Context,
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY...", help="Keys of dead work, as `replictl work` shows them.")
    ],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; kept in the audit.")] = "",
) -> None:
    """Give dead work up for good. What is on the timetable comes back: pause or delete its cluster or source instead."""
    need_reason(reason)
    cli = Cli.of(context)

    async def change(parts: Parts) -> Answer:
        from flows.audit import audited  # noqa: PLC0415 - imports Prefect

        store = await parts.store()
        command = Command("work drop", ", ".join(keys), cli.world.user, {"reason": reason})
        async with audited(store, command, cli.world.clock):
            return await dropped(store, keys)

    cli.answer(change)


async def dropped(store: Store, keys: Sequence[str]) -> Answer:
    """Take dead items away.

    Raises:
        NotFoundError: some are not dead or not there; nothing was dropped.
        RefusedError: some are on the timetable; nothing was dropped.
    """
    dead = {item.key: item for item in await store.list_work([WorkState.DEAD], limit=100_000)}
    wanted = list(dict.fromkeys(keys))
    _all_dead(wanted, dead, "dropped")
    if timed := [key for key in wanted if dead[key].interval is not None]:
        message = (
            f"{', '.join(timed)}: on the timetable, so it would come back; pause or delete its cluster or source, or retry it. "
            "Nothing was dropped"
        )
        raise RefusedError(message)
    count = await store.drop_work(wanted, spare_claimed=True)
    rows = [{"key": key, "state": "dropped"} for key in wanted]
    return listing(rows, (WORK_COLUMNS[0], WORK_COLUMNS[1]), f"{plural(count, 'item')} dropped")


def _all_dead(keys: Sequence[str], dead: Collection[str], done: str) -> None:
    if others := [key for key in keys if key not in dead]:
        message = (
            f"{', '.join(others)}: no dead work of that key; `replictl work --state dead` lists it. Nothing was {done}"
        )
        raise NotFoundError(message)
