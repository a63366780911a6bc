"""Who holds what: clusters and sources that are worked on, seats, duties, workers. And taking it away from them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from blocks.coordinator.protocol import ClaimKind, Coordinator
from blocks.errors import DependencyUnavailableError, NotFoundError
from deployments.cli.options import Conditions, Selectors, Watch, need_reason
from deployments.cli.output import Answer, Column, Format, listing
from deployments.cli.select import Filter, Note, Notes, Tags
from deployments.cli.session import Cli
from deployments.cli.words import age, coloured, seconds_since
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

Kind = Annotated[
    ClaimKind,
    typer.Option("--kind", help="What it is: locks, seats, standby, duties or workers.", case_sensitive=False),
]
LockName = Annotated[str, typer.Argument(metavar="NAME", help="As `replictl locks --all` shows it.")]

locks_app = typer.Typer(invoke_without_command=True)


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


@locks_app.callback()
def locks(
    context: typer.Context,
    selector: Selectors = None,
    where: Conditions = None,
    watch: Watch = None,
    *,
    every: Annotated[bool, typer.Option("--all", "-a", help="Seats, duties and workers too.")] = False,
) -> None:
    """Clusters and sources that are being worked on: by whom, for what, for how long."""
    if context.invoked_subcommand is not None:
        return
    cli = Cli.of(context)
    kinds = list(ClaimKind) if every else [ClaimKind.LOCK]
    wanted, note = Filter.of(selector, where, LOCK_FIELDS), Notes()

    async def read(parts: Parts) -> Answer:
        tags = (
            await _tags_of_locks(parts, wanted, note) if wanted.needs_labels or cli.form is not Format.TABLE else Tags()
        )
        held = await lock_rows(await parts.coordinator(), kinds, tags, cli.world.clock())
        rows = wanted.kept([row for row in held if _in(row["name"], cli.namespace)])
        return listing(rows, LOCK_COLUMNS, wanted.empty("nothing is held" if every else "no locks are held", "lock"))

    cli.answer(read, watch)


def _in(name: str, namespace: str | None) -> bool:
    """Whether a lock is of a cluster or source of a namespace; seats, duties and workers are of none."""
    return namespace is None or name.removeprefix("source:").startswith(f"{namespace}/")


async def _tags_of_locks(parts: Parts, wanted: Filter, note: Note) -> Tags:
    """Labels from the store. Locks are looked at when something is down: who does not ask for labels is not kept waiting."""
    try:
        return await Tags.load(await parts.store(), None, note, sources=True)
    except DependencyUnavailableError as error:
        if wanted.needs_labels:
            raise
        note(f"warning: the labels are not known: {error}")
        return Tags()


@locks_app.command("inspect")
def inspect(context: typer.Context, name: LockName, kind: Kind = ClaimKind.LOCK) -> None:
    """Everything about one lock: who holds it, since when, for what, and whether that worker is still there."""
    cli = Cli.of(context)

    async def read(parts: Parts) -> Answer:
        coordinator, now = await parts.coordinator(), cli.world.clock()
        row = await _held(coordinator, kind, name, now)
        workers = {holder.owner for holder in await coordinator.holders(ClaimKind.WORKER)}
        row["present"] = row["owner"] in workers
        width = max(map(len, row))
        lines = [Text.assemble((f"{field:<{width}}  ", "bold"), coloured(value)) for field, value in row.items()]
        return Answer(row, (Text("\n").join(lines),))

    cli.answer(read)


@locks_app.command("release")
def release(
    context: typer.Context,
    name: LockName,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; kept in the audit.")] = "",
    kind: Kind = ClaimKind.LOCK,
) -> None:
    """Take a lock away from its holder. Whatever that still writes is refused: its fencing token is old from the next
    taking on. Rarely needed: the lock of a process that is gone goes by itself within the session timeout.
    """
    need_reason(reason)
    cli = Cli.of(context)

    async def change(parts: Parts) -> Answer:
        from flows.audit import audited  # noqa: PLC0415 - imports Prefect

        coordinator = await parts.coordinator()
        command = Command("locks release", f"{kind} {name}", cli.world.user, {"reason": reason})
        async with audited(await parts.store(), command, cli.world.clock):
            row = await _held(coordinator, kind, name, cli.world.clock())
            if not await coordinator.force_release(kind, name):
                raise _nobody(kind, name)
        return Answer(row, (Text(f"{name} was taken away from {row['owner']} (pid {row['pid']} on {row['host']})"),))

    cli.answer(change)


async def _held(coordinator: Coordinator, kind: ClaimKind, name: str, now: datetime) -> dict[str, Any]:
    found = [row for row in await lock_rows(coordinator, [kind], Tags(), now) if row["name"] == name]
    if not found:
        raise _nobody(kind, name)
    return {field: value for field, value in found[0].items() if field != "labels"}


def _nobody(kind: ClaimKind, name: str) -> NotFoundError:
    return NotFoundError(f"nobody holds {name} ({kind}); `replictl locks --all` lists what is held")
