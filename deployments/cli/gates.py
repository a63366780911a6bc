"""Freezes, blackouts and maintenance windows: what keeps all actions of a place from beginning."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from blocks.errors import InvalidInputError
from blocks.models.gate import Gate, GateKind, Weekly
from blocks.store.protocol import Store
from deployments.cli.options import Comment, Conditions, Selectors, Watch, need_reason
from deployments.cli.output import Answer, Column, Grid, Row, listing, show
from deployments.cli.schedule import moment, seconds
from deployments.cli.select import Filter
from deployments.cli.session import Cli
from deployments.cli.turns import until
from deployments.cli.words import coloured
from deployments.cli.world import Parts
from tasks.decide.conditions import Fields
from tasks.decide.gating import EVERYTHING, GATES_MAX

TIMES = "days@HH:MM+MINUTESm@ZONE, such as sat,sun@02:00+240m@Europe/Rome"


def _times(row: Row) -> str:
    weekly = row["weekly"]
    return f"{','.join(weekly['days'])} {weekly['at']} {weekly['minutes']}m {weekly['zone']}" if weekly else "always"


COLUMNS = (
    Column("NAME", lambda row: row["name"]),
    Column("KIND", lambda row: row["kind"]),
    Column("WHERE", lambda row: row["where"]),
    Column("NOW", lambda row: coloured(row["now"])),
    Column("CHANGES", lambda row: until(row["changes_at"])),
    Column("TIMES", _times),
    Column("EXPIRES", lambda row: until(row["expires_at"])),
    Column("OWNER", lambda row: row["owner"]),
    Column("REASON", lambda row: row["reason"]),
)
FIELDS: Fields = {
    "name": str,
    "kind": GateKind,
    "where": str,
    "namespace": str,
    "cluster_id": str,
    "labels": dict,
    "now": str,
    "changes_at": datetime,
    "starts_at": datetime,
    "expires_at": datetime,
    "owner": str,
    "reason": str,
    "created_at": datetime,
    "created_by": str,
    "weekly": dict,
}
Target = Annotated[str, typer.Argument(metavar="[TARGET]", help="`everything`, a namespace, or namespace/cluster.")]
window_app = typer.Typer(no_args_is_help=True, help="Declare and remove maintenance windows and blackouts.")


def gate_row(gate: Gate, now: datetime) -> dict[str, Any]:
    """A gate, and whether it is open."""
    is_open, changes_at = gate.open_at(now)
    return {
        **gate.model_dump(mode="python", exclude={"version"}),
        "kind": gate.kind,
        "where": gate.where,
        "now": "expired" if gate.expired(now) else "open" if is_open else "closed",
        "changes_at": changes_at,
    }


async def gate_rows(store: Store, namespace: str | None, now: datetime, *, every: bool) -> list[dict[str, Any]]:
    """One row per gate; those that have ended only when asked for."""
    gates = await store.find(Gate, limit=GATES_MAX)
    return [
        gate_row(gate, now)
        for gate in gates
        if (every or not gate.expired(now)) and (namespace is None or gate.namespace in {None, namespace})
    ]


def windows(
    context: typer.Context,
    selector: Selectors = None,
    where: Conditions = None,
    watch: Watch = None,
    *,
    every: Annotated[bool, typer.Option("--all", "-a", help="Also those that have ended.")] = False,
) -> None:
    """Freezes, blackouts and maintenance windows, and whether they are open now."""
    cli = Cli.of(context)
    wanted = Filter.of(selector, where, FIELDS)

    async def read(parts: Parts) -> Answer:
        rows = await gate_rows(await parts.store(), cli.namespace, cli.world.clock(), every=every)
        empty = wanted.empty("nothing is frozen, and there are no windows", "window")
        return listing(wanted.kept(rows), COLUMNS, empty)

    cli.answer(read, watch)


def freeze(
    context: typer.Context,
    target: Target = EVERYTHING,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; shown to everybody whose action waits.")] = "",
    lasting: Annotated[str | None, typer.Option("--for", metavar="DURATION", help="For how long: 30m, 2h, 1d.")] = None,
    end: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Until when, RFC 3339.")] = None,
) -> None:
    """Let no action begin any more, on a cluster, in a namespace or anywhere, whoever ordered it. The kill switch."""
    cli = Cli.of(context)
    need_reason(reason)
    cli.need_prefect()
    gate = cli.run_flow("freeze", target=target, reason=reason, until=_end(cli, lasting, end), by=cli.world.user)
    _show(cli, gate)


def unfreeze(
    context: typer.Context,
    target: Target = EVERYTHING,
    reason: Annotated[str, typer.Option("--comment", "-m", help="Why; kept in the event.")] = "",
) -> None:
    """Lift the freeze of a cluster, of a namespace or of everything."""
    cli = Cli.of(context)

    async def named(parts: Parts) -> str:
        rows = await gate_rows(await parts.store(), None, cli.world.clock(), every=True)
        found = [row["name"] for row in rows if row["kind"] is GateKind.FREEZE and row["where"] == target]
        if not found:
            message = f"{target} is not frozen; `replictl windows` lists what is"
            raise InvalidInputError(message)
        return str(found[0])

    with cli.keeping_refusals("lift", target, reason=reason):
        name = cli.run(named)
    cli.need_prefect()
    _show(cli, cli.run_flow("lift", name=name, reason=reason, by=cli.world.user))


@window_app.command("set")
def set_window(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is called.")],
    kind: Annotated[GateKind, typer.Option("--kind", "-k", metavar="KIND", help="maintenance or blackout.")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why.")],
    expires: Annotated[str, typer.Option("--expires", metavar="TIME", help="When it ends for good, RFC 3339.")],
    owner: Annotated[str | None, typer.Option(help="Who answers for it; you, if not given.")] = None,
    target: Annotated[str, typer.Option(help="`everything`, a namespace, or namespace/cluster.")] = EVERYTHING,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="KEY=VALUE; only clusters that have all.")
    ] = None,
    starts: Annotated[str | None, typer.Option("--starts", metavar="TIME", help="Not before this.")] = None,
    weekly: Annotated[str | None, typer.Option("--weekly", metavar="TIMES", help=TIMES)] = None,
) -> None:
    """Declare a window, or change the one of that name."""
    cli = Cli.of(context)
    if kind is GateKind.FREEZE:
        message = "a freeze has a command of its own: `replictl freeze`"
        raise typer.BadParameter(message)
    parameters = {
        "name": name, "kind": kind.value, "reason": reason, "owner": owner or cli.world.user, "expires_at": moment(expires),
        "target": target, "labels": _labels(label or []), "starts_at": moment(starts), "weekly": weekly_of(weekly),
        "by": cli.world.user,
    }  # fmt: skip
    cli.need_prefect()
    _show(cli, cli.run_flow("window", **parameters))


@window_app.command("remove")
def remove_window(context: typer.Context, name: str, reason: Comment = "") -> None:
    """Remove a window, or a freeze by its name."""
    cli = Cli.of(context)
    cli.need_prefect()
    _show(cli, cli.run_flow("lift", name=name, reason=reason, by=cli.world.user))


def weekly_of(text: str | None) -> Weekly | None:
    """Times as people write them.

    Raises:
        typer.BadParameter: they are none.
    """
    if text is None:
        return None
    try:
        days, times, *zone = text.split("@")
        at, _, minutes = times.partition("+")
        return Weekly(
            days=tuple(days.split(",")), at=at, minutes=int(minutes.removesuffix("m")), zone=zone[0] if zone else "UTC"
        )
    except (ValueError, IndexError) as error:
        message = f"give {TIMES}"
        raise typer.BadParameter(message) from error


def _labels(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if not all(sign for _, sign, _ in pairs):
        message = "a label is KEY=VALUE"
        raise typer.BadParameter(message)
    return {key: value for key, _, value in pairs}


def _end(cli: Cli, lasting: str | None, end: str | None) -> datetime | None:
    if lasting is not None and end is not None:
        message = "give --for or --until, not both"
        raise typer.BadParameter(message)
    for_s = seconds(lasting)
    return moment(end) if for_s is None else cli.world.clock() + timedelta(seconds=for_s)


def _show(cli: Cli, gate: Gate) -> None:
    row = gate_row(gate, cli.world.clock())
    show(Answer(row, (Grid(COLUMNS, [row]),)), cli.form)
