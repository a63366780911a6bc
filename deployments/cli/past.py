"""`--at`: what was known at a moment, of one cluster or of all, read within bounds."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Annotated, Any

import typer
from rich.text import Text

from blocks.errors import NotFoundError
from blocks.models.action import Action
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.event import Event, EventType
from blocks.models.ids import ClusterRef
from blocks.models.node import Node
from blocks.models.request import WorkKind
from blocks.store.protocol import EventQuery, Store, Where
from deployments.cli.events import parse_since
from deployments.cli.output import Answer
from deployments.cli.resolve import remembered_cluster
from deployments.cli.select import READ_MAX, Note, found
from deployments.cli.turns import turns_of, until
from deployments.cli.words import age, plural, seconds_since
from deployments.cli.world import Parts
from tasks.decide.history import Past, rebuild
from tasks.decide.moves import ROLE, Key
from tasks.decide.past import Records, facts_of, records_at, unfinished
from tasks.known import UNFINISHED

ONE_EVENTS_MAX = 100_000
"""So many of the newest events of one cluster are read at most."""
EACH_EVENTS_MAX = 1_000
"""The same of each cluster, when there are many."""
ALL_EVENTS_MAX = 200_000
"""When so many events have been read in all, the other clusters are left out."""
PARALLEL = 8
DELETED_MAX = 1_000
TICK = timedelta(milliseconds=1)
_SHARDS = frozenset({EventType.SHARD_ADDED, EventType.SHARD_CHANGED, EventType.SHARD_REMOVED})
_QUIET = frozenset({EventType.CLUSTER_REPORT, EventType.ACTION_REFUSED, *_SHARDS})
WITHOUT_SHARDS = tuple(type_.value for type_ in EventType if type_ not in _QUIET)
"""What is read of each cluster, when there are many: a Kafka tells of thousands of shards."""

At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="TIME|AGO",
        help="As it was known then: 2026-01-31T02:13:00Z, 02:13 (when clocks here last said so), or -2h.",
    ),
]
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
_AGO = re.compile(r"-?\d{1,9}[smhdw]")


@dataclass(frozen=True, slots=True)
class Then:
    """One cluster at a moment."""

    past: Past
    records: Records


def parse_at(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """A moment that has passed, as people write it: RFC 3339 (without a zone it is UTC), `02:13` or `02:13:20` (the last time
    at which clocks in `zone` said so; None means the zone of this machine), or how long ago (`-2h`, `90s`).

    Raises:
        typer.BadParameter: it is none of these, or has not come yet.
    """
    said = text.strip()
    try:
        if _CLOCK.fullmatch(said):
            return _last(time.fromisoformat(said.zfill(5) if len(said) < 6 else said.zfill(8)), now, zone)  # noqa: PLR2004
        moment = parse_since(said.removeprefix("-") if _AGO.fullmatch(said) else said, now)
    except (ValueError, OverflowError, typer.BadParameter) as error:
        message = f"{text!r} is no moment: write 2026-01-31T02:13:00Z, 02:13, or how long ago: -2h"
        raise typer.BadParameter(message) from error
    if moment > now:
        message = f"{text!r} has not come yet: nothing is known of it"
        raise typer.BadParameter(message)
    return moment.astimezone(UTC)


def _last(clock: time, now: datetime, zone: tzinfo | None) -> datetime:
    """The last moment at which a clock said that."""
    day = now.astimezone(zone).date()
    today, yesterday = (_on(one, clock, zone) for one in (day, day - timedelta(days=1)))
    return today if today <= now else yesterday


def _on(day: date, clock: time, zone: tzinfo | None) -> datetime:
    local = datetime.combine(day, clock)  # without a zone it is taken for one of this machine
    return (local if zone is None else local.replace(tzinfo=zone)).astimezone(UTC)


def moment_of(at: str | None, clock: Callable[[], datetime], watch_s: float | None) -> datetime | None:
    """What `--at` says.

    Raises:
        typer.BadParameter: it is no moment, or what never changes again is to be watched.
    """
    if at is None:
        return None
    if watch_s is not None:
        message = "what was known at a moment does not change: leave out --watch or --at"
        raise typer.BadParameter(message)
    return parse_at(at, clock())


def title(at: datetime, now: datetime) -> Text:
    """What stands over answers of the past."""
    said = f"as known at {until(at)} ({age(seconds_since(at, now))} ago), from events: they do not tell of lag and staleness"
    return Text(said, style="dim")


def headed(line: Text, answer: Answer) -> Answer:
    """An answer under a line."""
    return Answer(answer.value, (line, *answer.blocks), answer.code)


# -- reading ---------------------------------------------------------------------------------------------------------------


async def then_of(parts: Parts, name: str, namespace: str | None, at: datetime, now: datetime) -> Then:
    """One cluster at a moment.

    Raises:
        NotFoundError: there is no such cluster, it was not known then, or nothing of that time is kept.
        InvalidInputError: there are several of that id.
        typer.BadParameter: this is no cluster's name.
    """
    store = await parts.store()
    ref = await remembered_cluster(store, name, namespace)
    past = await past_of(store, ref, at, horizon(parts, now))
    if past.lost:
        message = f"what was known of {ref} at {until(at)} is not kept any more: {await _begins(store, ref)}"
        raise NotFoundError(message)
    if not past.facts:
        message = f"nothing was known of {ref} at {until(at)}; `replictl history {ref}` tells when it came"
        raise NotFoundError(message)
    return Then(past, records_at(past, ref))


def horizon(parts: Parts, now: datetime) -> datetime:
    """Since when all events are kept."""
    return now - timedelta(days=parts.events_keep_days)


async def past_of(store: Store, ref: ClusterRef, at: datetime, kept_from: datetime) -> Past:
    """What was known of a cluster at a moment. Nothing but `unknown` where nothing of that time is kept."""
    where = Where(namespace=ref.namespace, cluster_id=ref.cluster_id)
    present = await _present(store, where, _unsaid)
    past, _ = await _past(store, present.get(ref.key, Records(ref)), at, kept_from, ONE_EVENTS_MAX, None)
    return past


async def fleet_then(
    parts: Parts, namespace: str | None, at: datetime, now: datetime, note: Note, *, events_max: int = ALL_EVENTS_MAX
) -> list[tuple[ClusterRef, Then]]:
    """All clusters that were known at a moment, or of which nothing of that time is kept; without their shards. When
    `events_max` events have been read, the other clusters are left out, and `note` is told.
    """
    store, kept_from = await parts.store(), horizon(parts, now)
    present = await _present(store, Where(namespace=namespace), note)
    for ref in await _deleted(store, namespace, at, note):
        present.setdefault(ref.key, Records(ref))
    turns = await turns_of(store, WorkKind.ORCHESTRATE, note)
    keys, found_, read = sorted(present), [], 0
    for first in range(0, len(keys), PARALLEL):
        if read >= events_max:
            left_out = plural(len(keys) - first, "cluster")
            note(
                f"note: {read} events were read, {left_out} left out from {keys[first]} on: name a namespace or a cluster"
            )
            break
        some = [replace(present[key], item=turns.get(key)) for key in keys[first : first + PARALLEL]]
        pasts = await asyncio.gather(
            *(_past(store, one, at, kept_from, EACH_EVENTS_MAX, WITHOUT_SHARDS) for one in some)
        )
        read += sum(count for _, count in pasts)
        found_ += [(one.ref, Then(past, records_at(past, one.ref))) for one, (past, _) in zip(some, pasts, strict=True)]
    lost = [str(ref) for ref, then in found_ if then.past.lost]
    if lost:
        shown = ", ".join(lost[:5]) + (" ..." if len(lost) > 5 else "")  # noqa: PLR2004 - enough to see which
        note(f"note: nothing of that time can be told of {plural(len(lost), 'cluster')}: {shown}")
    return [(ref, then) for ref, then in found_ if then.past.facts or then.past.lost]


def _unsaid(_: str) -> None:
    """Of one cluster there is never too much."""


async def _present(store: Store, where: Where, note: Note) -> dict[str, Records]:
    """By key, what is known now of the clusters there; read before their events are."""
    records: dict[str, dict[str, Any]] = {}

    def of(ref: ClusterRef) -> dict[str, Any]:
        return records.setdefault(ref.key, {"ref": ref})

    for spec in await found(store, ClusterSpec, where, note):
        of(spec.ref)["spec"] = spec
    for discovery in await found(store, Discovery, where, note):
        of(discovery.ref)["discovery"] = discovery
    for state in await found(store, ClusterState, where, note):
        of(state.ref)["state"] = state
    for node in await found(store, Node, where, note):
        of(node.cluster).setdefault("nodes", {})[node.node_id] = node
    for action in await store.find(Action, where.evolve(action_states=UNFINISHED), limit=READ_MAX):
        of(action.cluster)["running"] = (*of(action.cluster).get("running", ()), unfinished(action))
    return {key: Records(**parts) for key, parts in records.items()}


async def _deleted(store: Store, namespace: str | None, at: datetime, note: Note) -> list[ClusterRef]:
    """The clusters that were deleted since."""
    query = EventQuery(since=at + TICK, types=(EventType.CLUSTER_DELETED.value,), newest=DELETED_MAX)
    refs = [ClusterRef.from_key(event.stream) for event in await store.events(query)]
    if len(refs) == DELETED_MAX:
        note(f"note: of the clusters that were deleted since, only the last {DELETED_MAX} are told")
    return [ref for ref in refs if namespace in {None, ref.namespace}]


async def _past(
    store: Store, present: Records, at: datetime, kept_from: datetime, limit: int, types: tuple[str, ...] | None
) -> tuple[Past, int]:
    """What was known of a cluster, and how many events were read for it."""
    events = await store.events(EventQuery(stream=present.ref.key, types=types, newest=limit))
    earlier, later = [one for one in events if one.time <= at], [one for one in events if one.time > at]
    whole = len(events) < limit or bool(earlier)
    count = len(events)
    if not whole:
        earlier = await store.events(EventQuery(stream=present.ref.key, types=types, until=at + TICK, newest=limit))
        count += len(earlier)
    whole = whole and (at >= kept_from or _from_its_beginning(events))
    known = {key: fact for key, fact in facts_of(present).items() if types is None or not _is_role(key)}
    return rebuild(at, earlier, later if whole else None, known), count


def _from_its_beginning(events: Sequence[Event]) -> bool:
    return bool(events) and events[0].sequence == 1


def _is_role(key: Key) -> bool:
    return key[2:3] == (ROLE,)


async def _begins(store: Store, ref: ClusterRef) -> str:
    """Since when there is history of a cluster."""
    kept = await store.events(EventQuery(stream=ref.key, newest=ONE_EVENTS_MAX))
    return f"its history is kept from {until(kept[0].time)} on" if kept else "none of its events is"
