"""The audit: which commands people gave, from where, and what came of them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

import typer

from blocks.models.command import Outcome
from blocks.models.event import SYSTEM_STREAM, Event, EventType
from blocks.store.protocol import EventQuery
from deployments.cli.events import parse_since
from deployments.cli.options import Conditions, Watch
from deployments.cli.output import Answer, Column, listing
from deployments.cli.select import SIFTED_MAX, Filter, Notes, cut
from deployments.cli.session import Cli
from deployments.cli.words import BAD, coloured
from deployments.cli.world import Parts
from tasks.decide.conditions import Fields

SHOWN = 100

COLUMNS = (
    Column("TIME", lambda row: row["time"]),
    Column("WHO", lambda row: row["who"]),
    Column("COMMAND", lambda row: row["command"]),
    Column("ABOUT", lambda row: row["subject"]),
    Column("WITH", lambda row: ", ".join(f"{name}={_short(value)}" for name, value in row["arguments"].items())),
    Column("OUTCOME", lambda row: coloured(row["outcome"], "" if row["outcome"] == Outcome.DONE.value else BAD)),
    Column("WHY", lambda row: row["reason"]),
    Column("FROM", lambda row: row["origin"]),
)
FIELDS: Fields = {
    "time": datetime,
    "who": str,
    "command": str,
    "subject": str,
    "arguments": dict,
    "outcome": Outcome,
    "reason": str,
    "origin": str,
    "flow_run": str,
}


def audit(
    context: typer.Context,
    where: Conditions = None,
    since: Annotated[str | None, typer.Option(metavar="AGO|TIME", help="Not before: 10m, 2h, 1d, or RFC 3339.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the newest.")] = SHOWN,
    watch: Watch = None,
) -> None:
    """Commands that people gave, oldest first: who, what, when, from where, and whether they were refused."""
    cli = Cli.of(context)
    sift, note = Filter.of(None, where, FIELDS), Notes()
    moment = parse_since(since, cli.world.clock()) if since is not None else None

    async def read(parts: Parts) -> Answer:
        most = SIFTED_MAX if sift.narrows else limit
        query = EventQuery(stream=SYSTEM_STREAM, since=moment, types=(EventType.COMMAND_GIVEN.value,), newest=most + 1)
        newest_first = list(reversed(await (await parts.store()).events(query)))
        if sift.narrows:
            newest_first = cut(newest_first, most, note, f"only the newest {most} commands were looked through")
        rows = sift.kept([_row(event) for event in newest_first])
        rows = cut(rows, limit, note, f"these are the newest {limit} of more commands; --limit shows more")
        return listing(list(reversed(rows)), COLUMNS, sift.empty("no commands", "command"))

    cli.answer(read, watch)


def _row(event: Event) -> dict[str, Any]:
    told = {name: event.data.get(name) for name in FIELDS if name != "time"}
    return {"time": event.time, **told, "arguments": event.data.get("arguments") or {}}


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
