"""Who holds what, and what work stands where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from blocks.coordinator.protocol import ClaimKind, Coordinator
from blocks.errors import DependencyUnavailableError, NotFoundError
from blocks.models.request import Request, WorkState
from blocks.store.protocol import Store
from deployments.cli.options import Conditions, Selectors, Watch
from deployments.cli.output import Answer, Column, Format, listing, say
from deployments.cli.select import READ_MAX, Filter, Note, Notes, Tags, cut
from deployments.cli.session import Cli
from deployments.cli.turns import TURN_FIELDS, turn_fields
from deployments.cli.words import age, coloured, plural, seconds_since
from deployments.cli.world import Parts
from tasks.decide.audit import Command
from tasks.decide.conditions import Fields

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

LOCK_FIELDS: Fields = {
    "kind": str,
    "name": str,
    "labels": dict,
    "owner": str,
    "purpose": str,
    "flow_run": str,
    "host": str,
    "pid": int,
    "since": datetime,
    "age_s": float,
    "token": int,
}
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


async def lock_rows(
    coordinator: Coordinator, kinds: Sequence[ClaimKind], tags: Tags, now: datetime
) -> list[dict[str, Any]]:
    """One row per claim of these kinds, with the labels of the cluster or source that is locked."""
    return [
        {
            "kind": kind.name.lower(),
            "name": holder.name,
            "labels": tags.of_lock(holder.name) if kind is ClaimKind.LOCK else {},
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
    store: Store,
    states: Sequence[WorkState] | None,
    wanted: Filter,
    now: datetime,
    *,
    labels: bool = True,
    limit: int = 1_000,
    note: Note = say,
) -> list[dict[str, Any]]:
    """One row per wanted work item, the most overdue first, at most `limit`; a filter looks through `READ_MAX` items."""
    most = READ_MAX if wanted.narrows else limit
    items = await store.list_work(states, limit=most + 1)
    if wanted.narrows:
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


def locks(
    context: typer.Context,
    selector: Selectors = None,
    where: Conditions = None,
    watch: Watch = None,
    *,
    every: Annotated[bool, typer.Option("--all", "-a", help="Seats, duties and workers too.")] = False,
) -> None:
    """Clusters and sources that are being worked on: by whom, for what, for how long."""
    cli = Cli.of(context)
    kinds = list(ClaimKind) if every else [ClaimKind.LOCK]
    wanted, note = Filter.of(selector, where, LOCK_FIELDS), Notes()

    async def read(parts: Parts) -> Answer:
        tags = (
            await _tags_of_locks(parts, wanted, note) if wanted.needs_labels or cli.form is not Format.TABLE else Tags()
        )
        rows = wanted.kept(await lock_rows(await parts.coordinator(), kinds, tags, cli.world.clock()))
        return listing(rows, LOCK_COLUMNS, wanted.empty("nothing is held" if every else "no locks are held", "lock"))

    cli.answer(read, watch)


async def _tags_of_locks(parts: Parts, wanted: Filter, note: Note) -> Tags:
    """Labels from the store. Locks are looked at when something is down: who does not ask for labels is not kept waiting."""
    try:
        return await Tags.load(await parts.store(), None, note, sources=True)
    except DependencyUnavailableError as error:
        if wanted.needs_labels:
            raise
        note(f"warning: the labels are not known: {error}")
        return Tags()


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
        rows = await work_rows(store, state, wanted, now, labels=labels, limit=limit, note=note)
        return listing(rows, WORK_COLUMNS, wanted.empty("no work", "work"))

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
        from flows.audit import audited  # noqa: PLC0415 - imports Prefect

        store = await parts.store()
        command = Command("work retry", ", ".join(keys or ["--all"]), cli.world.user)
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
    others = [key for key in wanted if key not in dead]
    if others:
        message = (
            f"{', '.join(others)}: no dead work of that key; `replictl work --state dead` lists it. Nothing was queued"
        )
        raise NotFoundError(message)
    count = await store.retry_work(wanted, now)
    rows = [{"key": key, "state": WorkState.QUEUED} for key in wanted]
    return listing(rows, (WORK_COLUMNS[0], WORK_COLUMNS[1]), f"{plural(count, 'item')} queued")
