"""What changed, for people: the events of a stream as entries of lines, and the difference between two moments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from blocks.models.base import Json
from blocks.models.event import Event, EventType
from blocks.models.report import CycleOutcome
from tasks.decide.history import Past
from tasks.decide.moves import ROLE, STATUS, Gap, Key, Move, Value, steps, who_of, why_of
from tasks.decide.words import plural

FOLDED_FROM: Final = 4
"""So many shards of a node that moved alike are one line for people."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that changed."""

    type: str
    """The type of the event that told of it."""
    what: str
    before: Value
    after: Value
    who: str | None = None
    why: str | None = None
    node_id: str | None = None
    shard_id: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What changed at one moment: all that one cycle saw, or one order of a person."""

    at: datetime
    first: int
    """The place of its first event in the stream."""
    last: int
    lines: tuple[Line, ...]
    cycle: str | None = None
    """How the cycle ended that this is of, where that was told."""


class Way(StrEnum):
    """How a fact differs between two moments."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    UNKNOWN = "unknown"
    """It is known at one of them only."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that differs between two moments."""

    way: Way
    what: str
    before: Value
    after: Value


# -- entries ---------------------------------------------------------------------------------------------------------------


def entries(events: Iterable[Event]) -> tuple[Entry, ...]:
    """The events of one stream, oldest first, as what happened. Events of one moment are one entry, and a cycle's report
    belongs to what the cycle saw. A report of a good cycle that saw no change is nothing that happened.
    """
    groups: list[list[Event]] = []
    for event in events:
        if groups and (event.time == groups[-1][0].time or _reports_on(event, groups[-1][0].time)):
            groups[-1].append(event)
        else:
            groups.append([event])
    return tuple(entry for entry in map(_entry, groups) if entry.lines)


def _entry(group: Sequence[Event]) -> Entry:
    lines = tuple(line for event in group for line in lines_of(event))
    cycle = next(filter(None, map(_outcome, reversed(group))), None)
    return Entry(group[0].time, group[0].sequence, group[-1].sequence, lines, cycle)


def _reports_on(event: Event, moment: datetime) -> bool:
    """Whether this is the report of a cycle that was under way at a moment."""
    try:
        return datetime.fromisoformat(str(_report(event)["started_at"])) <= moment <= event.time
    except (KeyError, ValueError, TypeError):
        return False


def _report(event: Event) -> Mapping[str, Any]:
    report = event.data.get("report") if event.type == EventType.CLUSTER_REPORT else None
    return report if isinstance(report, Mapping) else {}


def _outcome(event: Event) -> str | None:
    outcome = _report(event).get("outcome")
    return outcome if isinstance(outcome, str) else None


def lines_of(event: Event) -> tuple[Line, ...]:
    """What an event says, line by line."""
    return tuple(_lines(event))


def _lines(event: Event) -> Iterator[Line]:
    data, who, why = event.data, who_of(event), why_of(event)
    node, shard = (value if isinstance(value := data.get(n), str) else None for n in ("node_id", "shard_id"))
    base = Line(event.type, "", Gap.ABSENT, Gap.ABSENT, who, why, node, shard)
    match event.type:
        case EventType.NODE_ADDED:
            status = data.get("status")
            yield replace(base, what=f"node {node}", after=status, why=f"at {data.get('agent_address')}")
        case EventType.NODE_REMOVED:
            yield replace(base, what=f"node {node}", before=data.get("status") or Gap.UNKNOWN)
        case EventType.CLUSTER_DELETED:
            yield replace(base, what="cluster", before="known")
        case EventType.CLUSTER_REPORT:
            yield from _bad_cycle(base, event)
        case EventType.ACTION_CREATED | EventType.ACTION_CHANGED | EventType.ACTION_FINISHED:
            before, after = (_or_absent(data.get(name)) for name in ("state_before", "state"))
            yield replace(base, what=_action(data), before=before, after=after, why=_all(data, "why", "error"))
        case EventType.ACTION_REFUSED:
            yield replace(base, what=_action(data), before=data.get("state"), after=data.get("state"))
        case EventType.ROLLING_CHANGED:
            yield _rolling(base, data)
        case EventType.PROBLEM_RAISED:
            why = ": ".join(filter(None, (_all(data, "description"), _all(data, "evidence"))))
            yield replace(base, what=_named_problem(data), after=data.get("severity"), why=why or None)
        case EventType.PROBLEM_CLEARED | EventType.PROBLEM_ACKNOWLEDGED:
            after = "cleared" if event.type == EventType.PROBLEM_CLEARED else "acknowledged"
            yield replace(base, what=_named_problem(data), before="raised", after=after)
        case _:
            moved = [line for step in steps(event) if isinstance(step, Move) for line in _of_move(base, step)]
            yield from moved or [replace(base, what=short_type(event.type))]


def _of_move(base: Line, move: Move) -> Iterator[Line]:
    for what, before, after in _parts(named(move.key), move.before, move.after):
        yield replace(base, what=what, before=before, after=after)


def _bad_cycle(base: Line, event: Event) -> Iterator[Line]:
    if _outcome(event) != CycleOutcome.SUCCESS:
        yield replace(base, what="cycle", after=_outcome(event), why=_trouble(event))


def _rolling(base: Line, data: Mapping[str, Any]) -> Line:
    before, after = (_or_absent(data.get(name)) for name in ("state_before", "state"))
    batches = f"{data.get('batch')} of {data.get('batches')} batches done"
    why = batches if before == after else _all(data, "why", "error")
    what = f"rolling {data.get('kind')} ({data.get('rolling_id')})"
    return replace(base, what=what, before=before, after=after, why=why)


def _action(data: Mapping[str, Any]) -> str:
    on = f" on {data['node_id']}" if data.get("node_id") else ""
    return f"action {data.get('kind') or data.get('action_id')}{on}"


def _named_problem(data: Mapping[str, Any]) -> str:
    return named(("problem", *(str(data.get(name) or "") for name in ("code", "node_id", "shard_id"))))


def _all(data: Mapping[str, Any], *names: str) -> str | None:
    return ", ".join(value for name in names if isinstance(value := data.get(name), str) and value) or None


def _trouble(event: Event) -> str | None:
    report = _report(event)
    notes = report.get("notes")
    said = [report.get("error"), *(notes if isinstance(notes, Sequence) and not isinstance(notes, str) else ())]
    return ", ".join(str(one) for one in said if one) or None


def _or_absent(value: Json) -> Value:
    return Gap.ABSENT if value is None else value


def short_type(type_: str) -> str:
    """An event's type without what all types have."""
    return type_.removeprefix("io.replicante.").rpartition(".v")[0] or type_


def folded(lines: Sequence[Line]) -> tuple[Line, ...]:
    """The same lines for people: many shards of a node that moved alike are one line, where the first of them stood."""
    alike: dict[tuple[object, ...], int] = {}
    for line in lines:
        if line.shard_id is not None:
            alike[_likeness(line)] = alike.get(_likeness(line), 0) + 1
    told: list[Line] = []
    for line in lines:
        count = alike.get(_likeness(line), 0) if line.shard_id is not None else 1
        if count < FOLDED_FROM:
            told += [line] * (count > 0)
        else:
            alike[_likeness(line)] = 0
            told.append(replace(line, what=f"{plural(count, 'shard')} on {line.node_id}", shard_id=None))
    return tuple(told)


def _likeness(line: Line) -> tuple[object, ...]:
    return line.type, line.node_id, str(line.before), str(line.after)


# -- differences -----------------------------------------------------------------------------------------------------------


def differences(before: Past, after: Past) -> tuple[Difference, ...]:
    """What differs between two moments, in the order of the facts' names. What is known at neither is left out."""
    found = [
        Difference(_way(was, now), what, was, now)
        for key in sorted(before.facts.keys() | after.facts.keys())
        for what, was, now in _parts(named(key), before.value(key), after.value(key))
    ]
    return tuple(found)


def _way(before: Value, after: Value) -> Way:
    if Gap.UNKNOWN in {id_of(before), id_of(after)}:
        return Way.UNKNOWN
    if before is Gap.ABSENT:
        return Way.ADDED
    return Way.REMOVED if after is Gap.ABSENT else Way.CHANGED


def id_of(value: Value) -> Gap | None:
    """Which gap a value is; None where it is a value."""
    return value if isinstance(value, Gap) else None


def named(key: Key) -> str:
    """A fact's name for people."""
    match key:
        case ("node", node_id, name):
            return f"node {node_id}" if name == STATUS else f"node {node_id} {name}"
        case ("node", node_id, name, shard_id) if name == ROLE:
            return f"shard {shard_id} on {node_id}"
        case ("problem", code, node_id, shard_id):
            on = "/".join(filter(None, (node_id, shard_id)))
            return f"problem {code} on {on}" if on else f"problem {code}"
        case ("missing",):
            return "missing from its source"
        case _:
            return " ".join(key)


def _parts(name: str, before: Value, after: Value) -> Iterator[tuple[str, Value, Value]]:
    """A change of one value as changes of its parts, where both are mappings; nothing where they are equal."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        old, new = dict(_flat(before, name)), dict(_flat(after, name))
        for path in sorted(old.keys() | new.keys()):
            was, now = old.get(path, Gap.ABSENT), new.get(path, Gap.ABSENT)
            if was != now:
                yield path, was, now
    elif before != after:
        yield name, before, after


def _flat(value: Json, path: str) -> Iterator[tuple[str, Value]]:
    """Leaves of mappings, and of lists of nodes by the nodes' ids; what is null is absent."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{path} {name}")
    elif isinstance(value, list) and value and all(isinstance(one, Mapping) and "node_id" in one for one in value):
        for one in value:
            if isinstance(one, Mapping):
                inside = {name: inner for name, inner in one.items() if name != "node_id"}
                yield from _flat(inside, f"{path} {one['node_id']}")
    elif value is not None:
        yield path, value
