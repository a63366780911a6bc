"""Events: the history from the store, and what comes from now on from the bus, as CloudEvents for machines."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.text import Text

from blocks.errors import DependencyUnavailableError
from blocks.models.event import SOURCE, Event
from blocks.store.protocol import EventQuery, Store
from deployments.cli.options import ClusterOption, Conditions, Selectors
from deployments.cli.output import Answer, Column, Format, Row, clean, console, dump, listing, say
from deployments.cli.resolve import remembered_cluster
from deployments.cli.select import SIFTED_MAX, Filter, Note, Notes, Tags, cut
from deployments.cli.session import Cli
from deployments.cli.world import Parts
from tasks.decide.conditions import Fields
from tasks.decide.select import written

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


def cloud_event(event: Event, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """An event as CloudEvents 1.0 in JSON; `sequence` is a text, as the sequence extension has it, and so are `labels`
    (`env=prod,zone=a`, left out where there are none), because an extension is never an object.
    """
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
        **({"labels": written(labels)} if labels else {}),
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
FIELDS: Fields = {
    "specversion": str,
    "id": str,
    "source": str,
    "type": str,
    "subject": str,
    "time": datetime,
    "datacontenttype": str,
    "sequence": str,
    "sequencetype": str,
    "stream": str,
    "labels": dict,
    "data": dict,
}


class Picked:
    """Which events are wanted, and the labels of what they are about."""

    def __init__(self, wanted: Filter, tags: Tags | None = None) -> None:
        """Take the filter, and the labels as far as they are wanted."""
        self.wanted = wanted
        self._tags = tags

    @classmethod
    async def load(cls, store: Store, wanted: Filter, note: Note, *, labels: bool) -> Picked:
        """With the labels of everything, where they are wanted."""
        return cls(wanted, await Tags.load(store, None, note, sources=True) if labels or wanted.needs_labels else None)

    def labels(self, event: Event) -> dict[str, str]:
        """Of what an event is about."""
        return {} if self._tags is None else self._tags.of_event(event)

    def keeps(self, event: Event) -> bool:
        """Whether an event is wanted."""
        return not self.wanted.narrows or self.wanted.keeps({**cloud_event(event), "labels": self.labels(event)})

    async def learn(self, store: Store, event: Event) -> None:
        """Take note of labels that an event may have changed; those that cannot be read now stay as they were."""
        if self._tags is not None:
            with suppress(DependencyUnavailableError):
                await self._tags.learn(store, event)


async def history(store: Store, query: EventQuery, picked: Picked, note: Note) -> list[Event]:
    """The newest wanted events, at most as many as asked for; with a filter the newest `SIFTED_MAX` are looked through."""
    limit, narrows = query.newest, picked.wanted.narrows
    most = SIFTED_MAX if narrows else limit
    newest_first = list(reversed(await store.events(query.evolve(newest=most + 1))))
    if narrows:
        newest_first = cut(newest_first, most, note, f"only the newest {most} events were looked through")
    wanted = [event for event in newest_first if picked.keeps(event)]
    more = f"these are the newest {limit} of more events; --limit shows more"
    return list(reversed(cut(wanted, limit, note, more)))


async def following(
    parts: Parts,
    stream: str | None,
    types: tuple[str, ...] | None,
    since: datetime | None,
    limit: int,
    now: datetime,
    picked: Picked,
    namespace: str | None = None,
) -> AsyncGenerator[Event, None]:
    """The last wanted events, then those that come, each once, until closed."""
    store = await parts.store()
    recent = await store.events(
        EventQuery(stream=stream, namespace=namespace, since=now - OVERLAP, newest=REMEMBERED_MAX)
    )
    query = EventQuery(stream=stream, namespace=namespace, since=since, types=types, newest=limit)
    shown = await history(store, query, picked, _unsaid if since is None else say)
    known = dict.fromkeys(event.event_id for event in (*recent, *shown))
    for event in shown:
        yield event
    async with aclosing(_coming(parts, store, stream, now - OVERLAP)) as coming:
        async for event in coming:
            if event.event_id in known:
                continue
            await picked.learn(store, event)
            of_place = namespace in {None, event.stream.partition("/")[0]}
            if (
                of_place
                and stream in {None, event.stream}
                and (types is None or event.type in types)
                and picked.keeps(event)
            ):
                known[event.event_id] = None
                if len(known) > REMEMBERED_MAX:
                    del known[next(iter(known))]
                yield event


def _unsaid(_: str) -> None:
    """Who follows asks for what comes: that there was more before is no news."""


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


def _print(event: Event, form: Format, labels: Mapping[str, str]) -> None:
    row = cloud_event(event, labels)
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
    selector: Selectors = None,
    where: Conditions = None,
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
    sift, note = Filter.of(selector, where, FIELDS), Notes()
    labels = cli.form is not Format.TABLE
    now = cli.world.clock()
    moment = parse_since(since, now) if since is not None else None
    wanted = tuple(_full_type(type_) for type_ in types) if types else None
    most = limit or (SHOWN_BEFORE_FOLLOWING if follow and since is None else SHOWN)

    async def stream_of(parts: Parts) -> str | None:
        return None if cluster is None else (await remembered_cluster(await parts.store(), cluster, cli.namespace)).key

    async def read(parts: Parts) -> Answer:
        store, stream = await parts.store(), await stream_of(parts)
        picked = await Picked.load(store, sift, note, labels=labels)
        query = EventQuery(stream=stream, namespace=cli.namespace, since=moment, types=wanted, newest=most)
        found = await history(store, query, picked, note)
        rows = [cloud_event(event, picked.labels(event)) for event in found]
        return listing(rows, COLUMNS, sift.empty("no events", "event"))

    async def watch(parts: Parts) -> None:
        picked = await Picked.load(await parts.store(), sift, note, labels=labels)
        async with aclosing(
            following(parts, await stream_of(parts), wanted, moment, most, now, picked, cli.namespace)
        ) as coming:
            async for event in coming:
                _print(event, cli.form, picked.labels(event))

    if follow:
        cli.run(watch)
    else:
        cli.answer(read)


def _full_type(text: str) -> str:
    full = text if text.startswith("io.") else f"io.replicante.{text}"
    return full if re.search(r"\.v\d+$", full) else f"{full}.v1"
