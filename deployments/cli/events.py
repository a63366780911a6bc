"""Events: the history from the store, and what comes from now on from the bus, as CloudEvents for machines."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.text import Text

from blocks.errors import DependencyUnavailableError
from blocks.models.event import SOURCE, Event
from blocks.store.protocol import EventQuery, Store
from deployments.cli.options import ClusterOption
from deployments.cli.output import Answer, Column, Format, Row, clean, console, dump, listing, say
from deployments.cli.resolve import known_cluster
from deployments.cli.session import Cli
from deployments.cli.world import Parts

SHOWN = 100
SHOWN_BEFORE_FOLLOWING = 10
OVERLAP = timedelta(seconds=60)
"""The bus is read from so long ago: an event may reach it late, and its copies are known by their ids."""
REMEMBERED_MAX = 10_000
POLL_S = 1.0

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d{1,9})([smhdw])")
_SHORT_TYPE = re.compile(r"^io\.replicante\.|\.v\d+$")


def parse_since(text: str, now: datetime) -> datetime:
    """A moment as people write it: how long ago (`90s`, `10m`, `2h`, `1d`), or RFC 3339.

    Raises:
        typer.BadParameter: it is neither.
    """
    match = _DURATION.fullmatch(text.strip())
    try:
        if match is not None:
            return now - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError) as error:
        message = f"{text!r} is neither a duration such as 90s, 10m, 2h, 1d nor a time such as 2026-01-31T12:00:00Z"
        raise typer.BadParameter(message) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def cloud_event(event: Event) -> dict[str, Any]:
    """An event as CloudEvents 1.0 in JSON; `sequence` is a text, as the sequence extension has it."""
    return {
        "specversion": "1.0",
        "id": event.event_id,
        "source": SOURCE,
        "type": event.type,
        **({"subject": event.subject} if event.subject else {}),
        "time": event.time,
        "datacontenttype": "application/json",
        "sequence": str(event.sequence),
        "sequencetype": "Integer",
        "stream": event.stream,
        "data": event.data,
    }


def short_type(type_: str) -> str:
    """An event's type for people."""
    return _SHORT_TYPE.sub("", type_)


def gist(data: Row) -> str:
    """What an event says, in a line."""
    told = dict(data)
    words = []
    before, after = told.pop("before", told.pop("state_before", None)), told.pop("after", told.pop("state", None))
    if isinstance(after, str):
        words.append(f"{before} -> {after}" if isinstance(before, str) else after)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        words.append(f"changed {', '.join(changed)}")
    if isinstance(report := told.get("report"), Mapping):
        words.append(str(report.get("outcome", "")))
    for name in ("code", "kind", "role", "description", "evidence", "reason", "error", "who", "why", "mode", "detail"):
        value = told.get(name)
        if isinstance(value, str) and value:
            words.append(f"{name}={value}" if name in {"who", "kind", "role", "code", "mode"} else value)
    return " ".join(words) or ", ".join(
        f"{name}={value}" for name, value in told.items() if isinstance(value, str | int)
    )


COLUMNS = (
    Column("TIME", lambda row: row["time"]),
    Column("EVENT", lambda row: short_type(row["type"])),
    Column("ABOUT", lambda row: row.get("subject", row["stream"])),
    Column("WHAT", lambda row: gist(row["data"])),
)


async def following(
    parts: Parts, stream: str | None, types: tuple[str, ...] | None, since: datetime | None, limit: int, now: datetime
) -> AsyncGenerator[Event, None]:
    """The last events, then those that come, each once, until closed."""
    store = await parts.store()
    recent = await store.events(EventQuery(stream=stream, since=now - OVERLAP, newest=REMEMBERED_MAX))
    shown = await store.events(EventQuery(stream=stream, since=since, types=types, newest=limit))
    known = dict.fromkeys(event.event_id for event in (*recent, *shown))
    for event in shown:
        yield event
    async with aclosing(_coming(parts, store, stream, now - OVERLAP)) as coming:
        async for event in coming:
            if (
                event.event_id in known
                or stream not in {None, event.stream}
                or not (types is None or event.type in types)
            ):
                continue
            known[event.event_id] = None
            if len(known) > REMEMBERED_MAX:
                del known[next(iter(known))]
            yield event


async def _coming(parts: Parts, store: Store, stream: str | None, since: datetime) -> AsyncGenerator[Event, None]:
    """From the bus, or from the store where there is no bus."""
    bus = await parts.event_bus()
    try:
        await bus.ready()
    except DependencyUnavailableError as error:
        say(f"warning: {error} Until you try again, events come from the store, every {POLL_S:g} s.")
        async for event in _polled(store, stream, since):
            yield event
        return
    async with aclosing(bus.follow(since)) as events:
        async for event in events:
            yield event


async def _polled(store: Store, stream: str | None, since: datetime) -> AsyncIterator[Event]:
    """New events of the store again and again, with copies. A store that is away is asked again."""
    while True:
        try:
            events = await store.events(EventQuery(stream=stream, since=since, newest=REMEMBERED_MAX))
        except DependencyUnavailableError:
            events = []
        for event in events:
            yield event
        since = max([since, *(event.time - OVERLAP for event in events)])
        await asyncio.sleep(POLL_S)


def _print(event: Event, form: Format) -> None:
    row = cloud_event(event)
    if form is Format.JSON:
        print(dump(row, form, compact=True), flush=True)  # noqa: T201 - one line as soon as it comes
    elif form is Format.YAML:
        print("---\n" + dump(row, form), flush=True)  # noqa: T201 - the same
    else:
        line = Text.assemble(
            (f"{clean(event.time)}  ", "dim"), (f"{clean(short_type(event.type)):<26}  ", _style(event.type)),
            (clean(event.subject or event.stream), "bold"), f"  {clean(gist(event.data))}",
        )  # fmt: skip
        terminal = console()
        if terminal.is_terminal:
            terminal.print(line, soft_wrap=True)
        else:
            print(line.plain.rstrip(), flush=True)  # noqa: T201 - the same


def _style(type_: str) -> str:
    if any(word in type_ for word in (".raised", ".refused", ".dead", ".failed", "degraded.entered", ".missing")):
        return "red"
    return "cyan" if "action." in type_ else ""


def events(
    context: typer.Context,
    cluster: ClusterOption = None,
    since: Annotated[str | None, typer.Option(metavar="AGO|TIME", help="Not before: 10m, 2h, 1d, or RFC 3339.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="At most so many, the newest (100; 10 before following).")
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only of this type, such as node.status-changed; repeatable.")
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Then go on with those that come.")] = False,
) -> None:
    """What happened, oldest first. As JSON: CloudEvents; with --follow one a line."""
    cli = Cli.of(context)
    now = cli.world.clock()
    moment = parse_since(since, now) if since is not None else None
    wanted = tuple(_full_type(type_) for type_ in types) if types else None
    most = limit or (SHOWN_BEFORE_FOLLOWING if follow and since is None else SHOWN)

    async def stream_of(parts: Parts) -> str | None:
        return None if cluster is None else (await known_cluster(await parts.store(), cluster, cli.namespace)).key

    async def read(parts: Parts) -> Answer:
        store, stream = await parts.store(), await stream_of(parts)
        found = await store.events(EventQuery(stream=stream, since=moment, types=wanted, newest=most))
        return listing(_rows(found), COLUMNS, "no events")

    async def watch(parts: Parts) -> None:
        async with aclosing(following(parts, await stream_of(parts), wanted, moment, most, now)) as coming:
            async for event in coming:
                _print(event, cli.form)

    if follow:
        cli.run(watch)
    else:
        cli.answer(read)


def _rows(found: Sequence[Event]) -> list[dict[str, Any]]:
    return [cloud_event(event) for event in found]


def _full_type(text: str) -> str:
    full = text if text.startswith("io.") else f"io.replicante.{text}"
    return full if re.search(r"\.v\d+$", full) else f"{full}.v1"
