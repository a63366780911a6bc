"""What events tell of a cluster, as moves of facts: what was before and what is after, so that they can be done and undone.

Keys: `("health",)`, `("spec",)`, `("discovery",)`, `("missing",)`, `("paused",)`, `("node", id, FACT)`,
`("node", id, "role", shard)`, `("problem", code, node or "", shard or "")`, `("action", id)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final

from blocks.models.action import ActionState
from blocks.models.base import Json
from blocks.models.cluster import ClusterSpec, Health
from blocks.models.event import Event, EventType
from blocks.models.ids import ClusterRef
from blocks.models.request import WorkKind, work_key
from tasks.decide.diff import FACTS, plain

Key = tuple[str, ...]
STATUS, ROLE = "status", "role"


class Gap(Enum):
    """Instead of a value."""

    ABSENT = "absent"
    """It was not there."""
    UNKNOWN = "unknown"
    """It was there, and what it was is not known any more."""


Value = Json | Gap


@dataclass(frozen=True, slots=True)
class Move:
    """One fact that changed."""

    key: Key
    before: Value
    after: Value
    at: datetime | None = None
    """Since when it is so, where the event says that; None means since it was told."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Everything under a key came, with what is told behind it, or went, with what is told before it."""

    under: Key
    appears: bool


Step = Move | Edge


def steps(event: Event) -> tuple[Step, ...]:
    """The facts that an event moves; none for a type that says nothing of them, or that this version does not know."""
    tell = _TELLERS.get(event.type)
    told = tuple(step for step in tell(event) if _names(step)) if tell is not None else ()
    return (Edge((), appears=True), *told) if event.sequence == 1 else told


def _names(step: Step) -> bool:
    """Whether it says what it is about."""
    key = step.under if isinstance(step, Edge) else step.key
    return "" not in (key[1:2] if key[:1] == ("problem",) else key)


def who_of(event: Event) -> str | None:
    """Who did it, where the event says so."""
    return _text(event.data, "who")


def why_of(event: Event) -> str | None:
    """Why, in the event's words."""
    said = (_text(event.data, name) for name in ("reason", "why", "error", "evidence"))
    return next(filter(None, said), None)


def spec_value(spec: Json) -> Json:
    """A manifest as a fact: its version in the store says nothing about the cluster."""
    return {name: part for name, part in spec.items() if name != "version"} if isinstance(spec, dict) else spec


def _text(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    return value if isinstance(value, str) and value else None


def _moment(data: Mapping[str, Any], name: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(_text(data, name) or "")
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _or_absent(value: Json) -> Value:
    return Gap.ABSENT if value is None else value


def _node_added(event: Event) -> Iterator[Step]:
    node = _text(event.data, "node_id") or ""
    yield Edge(("node", node), appears=True)
    yield Move(("node", node, STATUS), Gap.ABSENT, _or_absent(event.data.get("status")))
    for name in FACTS:
        yield Move(("node", node, name), Gap.ABSENT, _or_absent(event.data.get(name)))


def _node_changed(event: Event) -> Iterator[Step]:
    node, before, after = _text(event.data, "node_id") or "", event.data.get("before"), event.data.get("after")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}):
            yield Move(("node", node, name), _or_absent(before.get(name)), _or_absent(after.get(name)))


def _node_status(event: Event) -> Iterator[Step]:
    key = ("node", _text(event.data, "node_id") or "", STATUS)
    yield Move(key, _or_absent(event.data.get("before")), _or_absent(event.data.get("after")))


def _node_removed(event: Event) -> Iterator[Step]:
    node = _text(event.data, "node_id") or ""
    yield Move(("node", node, STATUS), event.data.get("status") or Gap.UNKNOWN, Gap.ABSENT)
    yield Edge(("node", node), appears=False)


def _shard(event: Event) -> Iterator[Step]:
    key = ("node", _text(event.data, "node_id") or "", ROLE, _text(event.data, "shard_id") or "")
    role = event.data.get("role")
    match event.type:
        case EventType.SHARD_ADDED:
            yield Move(key, Gap.ABSENT, role or Gap.UNKNOWN)
        case EventType.SHARD_REMOVED:
            yield Move(key, role or Gap.UNKNOWN, Gap.ABSENT)
        case _:
            yield Move(key, event.data.get("role_before") or Gap.UNKNOWN, role or Gap.UNKNOWN)


def _problem(event: Event) -> Iterator[Step]:
    data = event.data
    key = ("problem", *(_text(data, name) or "" for name in ("code", "node_id", "shard_id")))
    if event.type == EventType.PROBLEM_RAISED:
        value: Value = {"severity": data.get("severity"), "description": data.get("description")}
        yield Move(key, Gap.ABSENT, value, _moment(data, "since"))
    else:
        yield Move(key, Gap.UNKNOWN, Gap.ABSENT)


def _health(event: Event) -> Iterator[Step]:
    yield Move(("health",), health_value(event.data.get("before")), health_value(event.data.get("after")))


def health_value(word: Json) -> Value:
    """UNKNOWN is what a cluster's health is before anything is told of it."""
    return Gap.ABSENT if word is None or word == Health.UNKNOWN.value else word


def _spec(event: Event) -> Iterator[Step]:
    if event.type == EventType.CLUSTER_SPEC_APPLIED:
        before, after = (_or_absent(spec_value(event.data.get(name))) for name in ("before", "after"))
    else:
        ref = ClusterRef.from_key(event.stream)
        made = ClusterSpec(namespace=ref.namespace, cluster_id=ref.cluster_id, synthetic=True)
        before, after = Gap.ABSENT, spec_value(plain(made))
    yield Move(("spec",), before, after)


def _discovery(event: Event) -> Iterator[Step]:
    if event.type == EventType.CLUSTER_DISCOVERED:
        yield Move(("discovery",), Gap.ABSENT, dict(event.data))
    else:
        before, after = (_or_absent(event.data.get(name)) for name in ("before", "after"))
        yield Move(("discovery",), before, after)


def _missing(event: Event) -> Iterator[Step]:
    missing = event.type == EventType.CLUSTER_MISSING
    yield Move(("missing",), Gap.ABSENT if missing else True, True if missing else Gap.ABSENT)


def _deleted(_: Event) -> Iterator[Step]:
    yield Edge((), appears=False)


def _action(event: Event) -> Iterator[Step]:
    data = event.data
    before, after = (_unfinished(data, name) for name in ("state_before", "state"))
    yield Move(("action", _text(data, "action_id") or ""), before, after)


def _unfinished(data: Mapping[str, Any], name: str) -> Value:
    """An action as a fact: finished ones are none any more."""
    state = _text(data, name)
    if state is None or (state in set(ActionState) and ActionState(state).final):
        return Gap.ABSENT
    return action_value(_text(data, "kind"), _text(data, "node_id"), state)


def action_value(kind: str | None, node_id: str | None, state: str) -> Json:
    """An unfinished action as a fact."""
    return {"kind": kind, "node_id": node_id, "state": state}


def _paused(event: Event) -> Iterator[Step]:
    """A pause that is set may have followed another one, and one that is ended is told without its end."""
    if event.subject == work_key(WorkKind.ORCHESTRATE, event.stream):
        begins = event.type == EventType.WORK_PAUSED
        until: Json = {name: event.data.get(name) for name in ("until", "who", "why")}
        yield Move(("paused",), Gap.UNKNOWN, until if begins else Gap.ABSENT)


_E = EventType
_TELLERS: Final[Mapping[str, Callable[[Event], Iterator[Step]]]] = {
    _E.NODE_ADDED: _node_added,
    _E.NODE_CHANGED: _node_changed,
    _E.NODE_STATUS_CHANGED: _node_status,
    _E.NODE_REMOVED: _node_removed,
    **dict.fromkeys((_E.SHARD_ADDED, _E.SHARD_CHANGED, _E.SHARD_REMOVED), _shard),
    **dict.fromkeys((_E.PROBLEM_RAISED, _E.PROBLEM_CLEARED), _problem),
    _E.CLUSTER_HEALTH_CHANGED: _health,
    **dict.fromkeys((_E.CLUSTER_SPEC_APPLIED, _E.CLUSTER_SPEC_SYNTHESISED), _spec),
    **dict.fromkeys((_E.CLUSTER_DISCOVERED, _E.CLUSTER_DISCOVERY_CHANGED), _discovery),
    **dict.fromkeys((_E.CLUSTER_MISSING, _E.CLUSTER_RETURNED), _missing),
    _E.CLUSTER_DELETED: _deleted,
    **dict.fromkeys((_E.ACTION_CREATED, _E.ACTION_CHANGED, _E.ACTION_FINISHED), _action),
    **dict.fromkeys((_E.WORK_PAUSED, _E.WORK_RESUMED), _paused),
}
