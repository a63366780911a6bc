"""What somebody knows of a cluster who knew it once and has heard its events since: the inverse of `tasks.decide.diff`.

Told, and so known: nodes with their status and the facts of `FACTS`; ids and roles of shards; problems (code, place, severity,
since); health; what the source says; the spec as it was applied; unfinished actions. Not told, and so not known: offsets and
lag, when something was observed, what is pending, notes, the words of a status that stayed the same, evidence of a problem
that lasts, and counts. A problem's cause is told when it is raised; later, `tasks.decide.folding` gives it again.

A type that is not known here, or is of no consequence, changes nothing. What is changed without having been told of first
(the history is kept for a while only) begins with the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from blocks.models.action import ActionState
from blocks.models.base import Json
from blocks.models.cluster import Health
from blocks.models.event import EventType
from blocks.models.view import ClusterView
from tasks.decide.diff import FACTS, plain, plain_time
from tasks.decide.discovery import told_discovery

E = EventType
Facts = dict[str, Any]
STORED = ("source", "display_name", "labels", "nodes")


class Told(Protocol):
    """An event, or its draft."""

    @property
    def type(self) -> str:
        """Which fact changed."""

    @property
    def data(self) -> dict[str, Json]:
        """How."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a cluster. Values are as events tell them: plain JSON."""

    nodes: dict[str, Facts] = field(default_factory=dict)
    """By node id: `status`, and the facts of `FACTS`."""
    shards: dict[tuple[str, str], Facts] = field(default_factory=dict)
    """By node id and shard id: `role_value` and `role_text`."""
    problems: dict[tuple[str, str, str], Facts] = field(default_factory=dict)
    """By identity: `severity` and `since`."""
    health: str = Health.UNKNOWN.value
    discovery: Facts | None = None
    """What its source says of it: `source`, `display_name`, `labels`, `nodes`."""
    missing: bool = False
    """Whether its source no longer tells of it."""
    spec: Facts | None = None
    """What is wanted of it, as applied; `{"synthetic": true}` where nobody has said."""
    actions: dict[str, Facts] = field(default_factory=dict)
    """By action id, of those that are not finished: `node_id`, `kind`, `state`."""


def known_of(view: ClusterView) -> Known:
    """What of a view events tell."""
    state = view.state
    return Known(
        nodes={
            node_id: {"status": node.status.value, **{name: plain(getattr(node, name)) for name in FACTS}}
            for node_id, node in view.nodes.items()
        },
        shards={
            (node_id, shard.shard_id): {"role_value": shard.role.value, "role_text": shard.role_text}
            for node_id, node in view.nodes.items()
            for shard in node.shards
        },
        problems={
            problem.identity: {"severity": problem.severity.value, "since": plain_time(problem.since)}
            for problem in (state.problems if state is not None else ())
        },
        health=state.health.value if state is not None else Health.UNKNOWN.value,
        discovery=_discovery(view),
        missing=view.discovery is not None and view.discovery.missing_since is not None,
        spec={"synthetic": True} if view.spec.synthetic else _spec(view),
        actions={
            action.action_id: {"node_id": action.node_id, "kind": action.kind, "state": action.state.value}
            for action in view.actions.values()
            if not action.state.final
        },
    )


def applied(known: Known, event: Told) -> Known:
    """What is known after one more event."""
    return replayed(known, (event,))


def replayed(known: Known, events: Iterable[Told]) -> Known:
    """What is known after events, in their order; costs as much as they are many, however much is known."""
    now = replace(
        known,
        nodes={node_id: dict(facts) for node_id, facts in known.nodes.items()},
        shards=dict(known.shards),
        problems=dict(known.problems),
        actions=dict(known.actions),
    )
    for event in events:
        now = _after(now, str(event.type), event.data)
    return now


def _after(known: Known, type_: str, data: Mapping[str, Any]) -> Known:
    """Changes the mappings of `known`, which are ours; gives back what it is then."""
    match type_:
        case E.NODE_ADDED | E.NODE_CHANGED | E.NODE_STATUS_CHANGED | E.NODE_REMOVED:
            _node(known, type_, data)
        case E.SHARD_ADDED | E.SHARD_CHANGED | E.SHARD_REMOVED:
            _shard(known, type_, data)
        case E.PROBLEM_RAISED:
            known.problems[_identity(data)] = {"severity": data["severity"], "since": data.get("since")}
        case E.PROBLEM_CLEARED:
            known.problems.pop(_identity(data), None)
        case E.ACTION_CREATED | E.ACTION_CHANGED | E.ACTION_FINISHED:
            _action(known, data)
        case _:
            return _whole(known, type_, data)
    return known


def _whole(known: Known, type_: str, data: Mapping[str, Any]) -> Known:
    changes: Facts = {}
    match type_:
        case E.CLUSTER_HEALTH_CHANGED:
            changes = {"health": data["after"]}
        case E.CLUSTER_DISCOVERED:
            changes = {"discovery": {name: data.get(name) for name in STORED}, "missing": False}
        case E.CLUSTER_DISCOVERY_CHANGED:
            changes = {"discovery": data["after"], "missing": False}
        case E.CLUSTER_MISSING | E.CLUSTER_RETURNED:
            changes = {"missing": type_ == E.CLUSTER_MISSING}
        case E.CLUSTER_SPEC_APPLIED:
            changes = {"spec": data["after"]}
        case E.CLUSTER_SPEC_SYNTHESISED:
            changes = {"spec": {"synthetic": True}}
        case E.CLUSTER_DELETED:
            return Known()
        case _:
            return known
    return replace(known, **changes)


def _node(known: Known, type_: str, data: Mapping[str, Any]) -> None:
    node_id = data["node_id"]
    match type_:
        case E.NODE_ADDED:
            known.nodes[node_id] = {"status": data["status"], **{name: data.get(name) for name in FACTS}}
        case E.NODE_CHANGED:
            known.nodes.setdefault(node_id, {}).update(data["after"])
        case E.NODE_STATUS_CHANGED:
            known.nodes.setdefault(node_id, {})["status"] = data["after"]
        case _:
            known.nodes.pop(node_id, None)
            for place in [place for place in known.shards if place[0] == node_id]:
                del known.shards[place]


def _shard(known: Known, type_: str, data: Mapping[str, Any]) -> None:
    place = (data["node_id"], data["shard_id"])
    if type_ == E.SHARD_REMOVED:
        known.shards.pop(place, None)
    else:  # events from before `role_value` was told have the one word only
        known.shards[place] = {"role_value": data.get("role_value", data["role"]), "role_text": data.get("role_text")}


def _action(known: Known, data: Mapping[str, Any]) -> None:
    if ActionState(data["state"]).final:
        known.actions.pop(data["action_id"], None)
    else:
        known.actions[data["action_id"]] = {name: data[name] for name in ("node_id", "kind", "state")}


def _identity(data: Mapping[str, Any]) -> tuple[str, str, str]:
    return (data["code"], data.get("node_id") or "", data.get("shard_id") or "")


def _discovery(view: ClusterView) -> Facts | None:
    return None if view.discovery is None else told_discovery(view.discovery)


def _spec(view: ClusterView) -> Facts:
    shown = plain(view.spec)
    return shown if isinstance(shown, dict) else {}
