"""Have the timetable leave a cluster or a source alone for a while, and go on."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from blocks.errors import InvalidInputError, NotFoundError
from blocks.models.request import Request
from blocks.models.rolling import Rolling
from blocks.models.source import Source
from blocks.store.protocol import Store
from deployments.cli.options import Comment, need_reason
from deployments.cli.output import Answer, Column, Grid, say, show
from deployments.cli.resolve import known_cluster, known_source
from deployments.cli.session import Cli
from deployments.cli.turns import next_turn, turn_fields, until
from deployments.cli.world import Parts
from tasks.decide.pausing import Pausable, pause_end

UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d{1,9})([smhdw])")

COLUMNS = (
    Column("KIND", lambda row: row["kind"]),
    Column("NAME", lambda row: row["name"]),
    Column("PAUSED UNTIL", lambda row: until(row["paused_until"])),
    Column("BY", lambda row: row["paused_by"]),
    Column("WHY", lambda row: row["paused_why"]),
    Column("NEXT", next_turn, right=True),
)

What = Annotated[
    str,
    typer.Argument(
        metavar="CLUSTER|SOURCE|ROLLING",
        help="namespace/name, or the name alone where that leaves no doubt; or the id of a rolling action.",
    ),
]
KindOption = Annotated[
    str | None, typer.Option("--kind", "-k", metavar="KIND", help="cluster or source; needed where there are both.")
]


def pause(
    context: typer.Context,
    name: What,
    lasting: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="For how long: 30m, 2h, 1d; or --until.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Until when, RFC 3339; without a zone that is UTC.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; shown beside the pause.")] = "",
    kind: KindOption = None,
) -> None:
    """Have the timetable leave a cluster or source alone; orders by name are carried out all the same. Or let a rolling action
    (its id) begin nothing more until it is resumed.
    """
    cli = Cli.of(context)
    need_reason(reason)
    if is_id(name):
        if lasting is not None or end is not None:
            message = "a rolling action is paused until somebody resumes it: without --for and --until"
            raise typer.BadParameter(message)
        halt(cli, "pause", name, reason)
        return
    for_s, stop = seconds(lasting), moment(end)
    try:
        pause_end(stop, for_s, now=cli.world.clock())
    except InvalidInputError as error:
        message = f"{error} (--for 2h, or --until 2026-01-31T12:00:00Z)"
        raise typer.BadParameter(message) from error
    with cli.keeping_refusals("pause", name, reason=reason):
        which, full = _known(cli, name, kind)
    cli.need_prefect()
    item: Request = cli.run_flow(
        "pause", kind=which, name=full, reason=reason, for_s=for_s, until=stop, by=cli.world.user
    )
    _show(cli, which, full, item)


def resume(context: typer.Context, name: What, reason: Comment = "", kind: KindOption = None) -> None:
    """Go on with a cluster or source that was paused: its next turn comes within one interval. Or with a rolling action."""
    cli = Cli.of(context)
    if is_id(name):
        halt(cli, "resume", name, reason)
        return
    with cli.keeping_refusals("resume", name, reason=reason):
        which, full = _known(cli, name, kind)

    async def paused(parts: Parts) -> bool:
        keys = await (await parts.store()).paused(cli.world.clock())
        return f"{which.work}:{await _subject(await parts.store(), which, full)}" in keys

    if not cli.run(paused):
        say(f"note: {which} {full} is not paused")
    cli.need_prefect()
    item: Request = cli.run_flow("resume", kind=which, name=full, reason=reason, by=cli.world.user)
    _show(cli, which, full, item)


def halt(cli: Cli, verb: str, rolling_id: str, reason: str) -> None:
    """Pause or resume a rolling action."""
    cli.need_prefect()
    found: Rolling = cli.run_flow(verb, kind="rolling", name=rolling_id, reason=reason, by=cli.world.user)
    row = {"rolling_id": found.rolling_id, "cluster": str(found.cluster), "kind": found.plan.kind, "state": found.state}
    columns = [Column(name.upper(), lambda row, name=name: row[name]) for name in row]  # type: ignore[misc]
    show(Answer(row, (Grid(columns, [row]),)), cli.form)


def is_id(text: str) -> bool:
    """Whether this is an id, and no name."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _show(cli: Cli, kind: Pausable, name: str, item: Request) -> None:
    row: dict[str, Any] = {"kind": kind, "name": name, **turn_fields(item, cli.world.clock())}
    show(Answer(row, (Grid(COLUMNS, [row]),)), cli.form)


def _known(cli: Cli, text: str, kind: str | None) -> tuple[Pausable, str]:
    """What is meant, and its full name.

    Raises:
        typer.BadParameter: that is no kind of thing that can be paused.
        NotFoundError: there is nothing of that name.
        InvalidInputError: there are several.
    """
    try:
        wanted = Pausable(kind) if kind is not None else None
    except ValueError:
        message = f"{kind!r} cannot be paused; a cluster or a source can"
        raise typer.BadParameter(message) from None

    async def look(parts: Parts) -> tuple[Pausable, str]:
        store = await parts.store()
        if wanted is not None:
            return wanted, await _named(store, wanted, text, cli.namespace)
        found = []
        for one in Pausable:
            try:
                found.append((one, await _named(store, one, text, cli.namespace)))
            except NotFoundError:
                continue
            except typer.BadParameter:
                if one is Pausable.CLUSTER:
                    raise
        if not found:
            message = f"there is neither a cluster nor a source {text}"
            raise NotFoundError(message)
        if len(found) > 1:
            message = f"there is a cluster and a source {text}: say which with --kind"
            raise InvalidInputError(message)
        return found[0]

    return cli.run(look)


async def _named(store: Store, kind: Pausable, text: str, namespace: str | None) -> str:
    if kind is Pausable.CLUSTER:
        return str(await known_cluster(store, text, namespace))
    ref = await known_source(store, text, namespace)
    if await store.get(Source, ref.key) is None:
        message = f"there is no source {ref}; `replictl sources` lists those that are known"
        raise NotFoundError(message)
    return str(ref)


async def _subject(store: Store, kind: Pausable, name: str) -> str:
    return (await known_cluster(store, name, None)).key if kind is Pausable.CLUSTER else name


def seconds(text: str | None) -> float | None:
    """A duration as people write it, in seconds.

    Raises:
        typer.BadParameter: it is none.
    """
    match = _DURATION.fullmatch(text.strip()) if text is not None else None
    if text is not None and match is None:
        message = f"{text!r} is no duration such as 90s, 30m, 2h, 1d"
        raise typer.BadParameter(message)
    return float(int(match[1]) * UNITS_S[match[2]]) if match is not None else None


def moment(text: str | None) -> datetime | None:
    """A moment as people write it; without a zone it is UTC.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        found = datetime.fromisoformat(text.strip()) if text is not None else None
    except ValueError:
        message = f"{text!r} is no time such as 2026-01-31T12:00:00Z"
        raise typer.BadParameter(message) from None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
