"""What happened to a cluster, one change a line, and what differs between two moments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from blocks.errors import NotFoundError
from blocks.models.event import Event
from blocks.models.ids import ClusterRef
from blocks.store.protocol import EventQuery, Store
from deployments.cli.options import TheCluster
from deployments.cli.output import Answer, Column, Format, Grid, Row, clean, console, dump, say
from deployments.cli.past import horizon, parse_at, past_of
from deployments.cli.resolve import remembered_cluster
from deployments.cli.session import Cli
from deployments.cli.turns import until as to_the_second
from deployments.cli.words import BAD, FAINT, GOOD, MIDDLING, coloured, plural
from deployments.cli.world import Parts
from tasks.decide.history import Past
from tasks.decide.moves import Gap, Value
from tasks.decide.timeline import Difference, Entry, Line, Way, differences, entries, folded

SHOWN = 200
LINES_MAX = 50
"""So many lines of one entry are shown to people."""
VALUE_CHARS_MAX = 80
UNKNOWN = "?"
_STYLES = {Way.ADDED: GOOD, Way.REMOVED: BAD, Way.CHANGED: MIDDLING, Way.UNKNOWN: FAINT}
_SIGNS = {Way.ADDED: "+", Way.REMOVED: "-", Way.CHANGED: "~", Way.UNKNOWN: "?"}

Moment = Annotated[
    str | None, typer.Option(metavar="TIME|AGO", help="2026-01-31T02:13:00Z, 02:13 (the last one), or -2h.")
]


def history(
    context: typer.Context,
    cluster: TheCluster,
    since: Moment = None,
    until: Moment = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many changes, the newest.")] = SHOWN,
) -> None:
    """What changed in a cluster, oldest first: when, what, from, to, who and why. What one cycle saw is one entry."""
    cli = Cli.of(context)
    now = cli.world.clock()
    begin, end = (parse_at(text, now) if text is not None else None for text in (since, until))

    async def read(parts: Parts) -> Answer:
        store = await parts.store()
        ref = await remembered_cluster(store, cluster, cli.namespace)
        events = await store.events(EventQuery(stream=ref.key, since=begin, until=end, newest=limit + 1))
        if len(events) > limit:
            say(f"note: these are the newest {limit} of more changes; --limit shows more")
            events = events[1:]
        elif begin is None and events and events[0].sequence > 1:
            say(f"note: what happened before {to_the_second(events[0].time)} is not kept any more")
        return _timeline(ref, events)

    cli.answer(read)


def _timeline(ref: ClusterRef, events: Sequence[Event]) -> Answer:
    told = entries(events)
    rows = [row for entry in told for row in _shown(entry)]
    empty = f"nothing is known to have happened to {clean(ref)} in that time"
    return Answer([_entry(entry) for entry in told], (Grid(COLUMNS, rows, empty),))


def _entry(entry: Entry) -> dict[str, Any]:
    """An entry for machines, with every line."""
    return {
        "time": entry.at,
        "first": entry.first,
        "last": entry.last,
        "cycle": entry.cycle,
        "changes": [
            {
                "type": line.type,
                "what": line.what,
                "from": _value(line.before),
                "to": _value(line.after),
                "not_known": [
                    name for name, value in (("from", line.before), ("to", line.after)) if value is Gap.UNKNOWN
                ],
                "node": line.node_id,
                "shard": line.shard_id,
                "who": line.who,
                "why": line.why,
            }
            for line in entry.lines
        ],
    }


def _shown(entry: Entry) -> list[dict[str, Any]]:
    """An entry for people: its lines, many alike as one, at most so many. On a terminal the time stands once."""
    lines = folded(entry.lines)
    rows = [{"time": entry.at, "line": line} for line in lines[:LINES_MAX]]
    if len(lines) > LINES_MAX:
        more = Line(
            "", f"and {plural(len(lines) - LINES_MAX, 'more change')}: `-o json` has them", Gap.ABSENT, Gap.ABSENT
        )
        rows.append({"time": entry.at, "line": more})
    if console().is_terminal:
        rows = [{**row, "time": to_the_second(entry.at) if number == 0 else None} for number, row in enumerate(rows)]
    return rows


def _value(value: Value) -> Any:
    return None if isinstance(value, Gap) else value


def _cell(value: Value) -> Text:
    """A value for people: of an action its state, of a problem its severity."""
    if value is Gap.UNKNOWN:
        return Text(UNKNOWN, style=FAINT)
    if isinstance(value, Gap):
        return Text("-", style=FAINT)
    if isinstance(value, dict) and (word := value.get("state", value.get("severity"))) is not None:
        return coloured(word)
    if isinstance(value, dict | list):
        text = dump(value, Format.JSON, compact=True)
        return Text(text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 3] + "...")
    return coloured(value)


COLUMNS = (
    Column("TIME", lambda row: clean(row["time"]) if row["time"] is not None else Text("")),
    Column("WHAT", lambda row: row["line"].what),
    Column("FROM", lambda row: _cell(row["line"].before)),
    Column("TO", lambda row: _cell(row["line"].after)),
    Column("WHO", lambda row: row["line"].who),
    Column("WHY", lambda row: row["line"].why),
)


# -- two moments -----------------------------------------------------------------------------------------------------------


def diff(
    context: typer.Context,
    cluster: TheCluster,
    start: Annotated[str, typer.Option("--from", metavar="TIME|AGO", help="The first moment; see `history`.")],
    end: Annotated[str | None, typer.Option("--to", metavar="TIME|AGO", help="The second one; now.")] = None,
) -> None:
    """What differs between what was known of a cluster at two moments. Lag, offsets and staleness are not compared."""
    cli = Cli.of(context)
    now = cli.world.clock()
    first, second = parse_at(start, now), parse_at(end, now) if end is not None else now
    if first > second:
        message = f"--from {start} is later than --to {end}"
        raise typer.BadParameter(message)

    async def read(parts: Parts) -> Answer:
        store = await parts.store()
        ref = await remembered_cluster(store, cluster, cli.namespace)
        before, after = [await _past(store, ref, at, horizon(parts, now)) for at in (first, second)]
        return _difference(ref, before, after)

    cli.answer(read)


async def _past(store: Store, ref: ClusterRef, at: datetime, kept_from: datetime) -> Past:
    past = await past_of(store, ref, at, kept_from)
    if past.lost:
        message = f"what was known of {ref} at {to_the_second(at)} is not kept any more; `replictl history {ref}` says since when"
        raise NotFoundError(message)
    return past


def _difference(ref: ClusterRef, before: Past, after: Past) -> Answer:
    found = differences(before, after)
    rows = [
        {
            "way": one.way,
            "what": one.what,
            "before": _value(one.before),
            "after": _value(one.after),
            "difference": one,
        }
        for one in found
    ]
    title = f"{ref} from {to_the_second(before.at)} to {to_the_second(after.at)}: {plural(len(found), 'difference')}"
    value = {
        "namespace": ref.namespace,
        "cluster": ref.cluster_id,
        "from": before.at,
        "to": after.at,
        "differences": [{name: part for name, part in row.items() if name != "difference"} for row in rows],
        "not_known": sorted({" ".join(key) or "anything else" for key in (*before.unknown, *after.unknown)}),
    }
    return Answer(
        value, (Text(clean(title), style="dim"), Grid(DIFF_COLUMNS, rows, "no difference that events tell of"))
    )


def _sign(row: Row) -> Text:
    one: Difference = row["difference"]
    return Text(_SIGNS[one.way], style=_STYLES[one.way])


DIFF_COLUMNS = (
    Column("", _sign),
    Column("WHAT", lambda row: row["what"]),
    Column("FROM", lambda row: _cell(row["difference"].before)),
    Column("TO", lambda row: _cell(row["difference"].after)),
)
