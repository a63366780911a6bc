"""Between records and facts: what is known now as facts, and what was known at a moment as records that listings can show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from blocks.models.action import Action, ActionState
from blocks.models.base import Fact, Json
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery, Health
from blocks.models.ids import ClusterRef
from blocks.models.node import Node, NodeStatus, Shard, ShardRole
from blocks.models.problem import Problem, Severity
from blocks.models.request import Request
from blocks.models.view import ClusterView
from tasks.decide.diff import FACTS, plain
from tasks.decide.discovery import told_discovery
from tasks.decide.folding import folded
from tasks.decide.history import Known, Past
from tasks.decide.moves import ROLE, STATUS, Gap, Key, Value, action_value, health_value, spec_value
from tasks.decide.rules.table import RULES

NOT_TOLD: Final = "not known any more"
NOT_TOLD_ROLE: Final = "?"
_ROLES: Final = frozenset(role.value for role in ShardRole)
_RULES: Final = {rule.code: rule for rule in RULES}

F = TypeVar("F", bound=Fact)


@dataclass(frozen=True, slots=True)
class Running:
    """An unfinished action, as far as events tell of it."""

    action_id: str
    kind: str
    node_id: str | None
    state: ActionState | str
    at: datetime | None
    """Since when it is in that state."""


@dataclass(frozen=True, slots=True)
class Records:
    """What is known of one cluster."""

    ref: ClusterRef
    spec: ClusterSpec | None = None
    discovery: Discovery | None = None
    state: ClusterState | None = None
    nodes: Mapping[str, Node] = field(default_factory=dict)
    """By node id."""
    running: tuple[Running, ...] = ()
    item: Request | None = None
    """Its place on the timetable."""

    @classmethod
    def of(cls, view: ClusterView, item: Request | None = None) -> Records:
        """Those of a view."""
        running = tuple(unfinished(action) for action in view.actions.values() if not action.state.final)
        return cls(view.ref, view.spec, view.discovery, view.state, view.nodes, running, item)


def unfinished(action: Action) -> Running:
    """An action as events tell of it."""
    at = action.history[-1].at if action.history else action.created_at
    return Running(action.action_id, action.kind, action.node_id, action.state, at)


# -- the present as facts --------------------------------------------------------------------------------------------------


def facts_of(records: Records) -> dict[Key, Known]:
    """What events would have told of what is known now."""
    return {key: known for key, known in _facts(records) if known.value is not Gap.ABSENT}


def _facts(records: Records) -> Iterator[tuple[Key, Known]]:
    spec, told, state = records.spec, records.discovery, records.state
    if spec is not None:
        yield ("spec",), Known(spec_value(plain(spec)))
    if told is not None:
        yield ("discovery",), Known(told_discovery(told))
        if told.missing_since is not None:
            yield ("missing",), Known(value=True, at=told.missing_since)
    if state is not None:
        yield ("health",), Known(health_value(state.health.value), state.health_since)
        for problem in state.problems:
            value: Json = {"severity": problem.severity.value, "description": problem.description}
            yield ("problem", *problem.identity), Known(value, problem.since, why=problem.evidence or None)
    for node in records.nodes.values():
        yield from _node_facts(node)
    for one in records.running:
        yield ("action", one.action_id), Known(action_value(one.kind, one.node_id, str(one.state)), one.at)
    item = records.item
    if item is not None and item.paused_until is not None:
        until = item.paused_until.isoformat().replace("+00:00", "Z")
        yield ("paused",), Known({"until": until, "who": item.paused_by, "why": item.paused_why})


def _node_facts(node: Node) -> Iterator[tuple[Key, Known]]:
    yield ("node", node.node_id, STATUS), Known(node.status.value, node.status_since, why=node.status_text)
    for name in FACTS:
        value = plain(getattr(node, name))
        yield ("node", node.node_id, name), Known(Gap.ABSENT if value is None else value)
    for shard in node.shards:
        yield ("node", node.node_id, ROLE, shard.shard_id), Known(shard.role_text or shard.role.value)


# -- the past as records ---------------------------------------------------------------------------------------------------


def records_at(past: Past, ref: ClusterRef) -> Records:
    """What was known at a moment, as records. What was not known is left out, or has a word that says so; times are those
    at which it was told. `status_since` of a node of which that is not known is the moment itself.
    """
    known = past.facts
    nodes = _nodes(past, ref)
    problems = tuple(_problem(key, fact, past.at) for key, fact in known.items() if key[0] == "problem")
    return Records(
        ref=ref,
        spec=_read(ClusterSpec, _value(known, ("spec",)), ref),
        discovery=_discovery(known, ref),
        state=_state(ref, known.get(("health",)), nodes, folded(problems)),
        nodes=nodes,
        running=tuple(_running(key[1], fact) for key, fact in known.items() if key[0] == "action"),
        item=None,
    )


def paused_at(past: Past) -> dict[str, Any]:
    """The pause that was in force: `until`, `who`, `why`; empty where there was none, or none is known."""
    value = _value(past.facts, ("paused",))
    try:
        end = datetime.fromisoformat(str(value["until"])) if isinstance(value, dict) else None
    except (KeyError, ValueError):
        return {}
    if not isinstance(value, dict) or end is None or end.tzinfo is None or end <= past.at:
        return {}
    return {"until": end, "who": value.get("who"), "why": value.get("why")}


def _value(known: Mapping[Key, Known], key: Key) -> Value:
    fact = known.get(key)
    return fact.value if fact is not None else Gap.ABSENT


def _read(type_: type[F], value: Value, ref: ClusterRef, **more: Any) -> F | None:
    """A fact as the record it was; None where it is none, or none that this version can read."""
    if not isinstance(value, dict):
        return None
    try:
        return type_.model_validate({**value, "namespace": ref.namespace, "cluster_id": ref.cluster_id, **more})
    except ValidationError:
        return None


def _discovery(known: Mapping[Key, Known], ref: ClusterRef) -> Discovery | None:
    missing = known.get(("missing",))
    return _read(
        Discovery, _value(known, ("discovery",)), ref, missing_since=missing.at if missing is not None else None
    )


def _nodes(past: Past, ref: ClusterRef) -> dict[str, Node]:
    facts: dict[str, dict[str, Known]] = {}
    shards: dict[str, list[Shard]] = {}
    for key, fact in past.facts.items():
        if key[0] != "node":
            continue
        if key[2] == ROLE:
            shards.setdefault(key[1], []).append(_shard(key[3], fact.value))
        else:
            facts.setdefault(key[1], {})[key[2]] = fact
    nodes = {
        node_id: _node(ref, node_id, facts[node_id], tuple(shards.get(node_id, ())), past.at)
        for node_id in sorted(facts)
        if STATUS in facts[node_id]
    }
    return {node_id: node for node_id, node in nodes.items() if node is not None}


def _node(
    ref: ClusterRef, node_id: str, facts: Mapping[str, Known], shards: tuple[Shard, ...], at: datetime
) -> Node | None:
    status = facts[STATUS]
    told = {name: fact.value for name, fact in facts.items() if name != STATUS and not isinstance(fact.value, Gap)}
    word = str(status.value) if not isinstance(status.value, Gap) else NOT_TOLD
    known = word in set(NodeStatus)
    basics: dict[str, Any] = {
        "agent_address": "",
        "node_id": node_id,
        "status": word if known else NodeStatus.UNKNOWN,
        "status_text": status.why if known else word,
        "status_since": status.at or at,
    }
    node = _read(Node, {**told, **basics, "agent_address": told.get("agent_address", "")}, ref, shards=shards)
    return node if node is not None else _read(Node, basics, ref)


def _shard(shard_id: str, role: Value) -> Shard:
    word = NOT_TOLD_ROLE if isinstance(role, Gap) else str(role)
    if word in _ROLES:
        return Shard(shard_id=shard_id, role=ShardRole(word))
    return Shard(shard_id=shard_id, role=ShardRole.OTHER, role_text=word)


def _problem(key: Key, fact: Known, at: datetime) -> Problem:
    code, node_id, shard_id = key[1], key[2], key[3]
    rule = _RULES.get(code)
    told = fact.value if isinstance(fact.value, dict) else {}
    severity = str(told.get("severity") or (rule.severity.value if rule is not None else Severity.WARNING.value))
    return Problem(
        code=code,
        severity=Severity(severity) if severity in set(Severity) else Severity.WARNING,
        node_id=node_id or None,
        shard_id=shard_id or None,
        description=str(told.get("description") or (rule.description if rule is not None else NOT_TOLD)),
        evidence=fact.why or "",
        remedy=rule.remedy if rule is not None else "",
        since=fact.at or at,
    )


def _state(
    ref: ClusterRef, health: Known | None, nodes: Mapping[str, Node], problems: tuple[Problem, ...]
) -> ClusterState:
    word = str(health.value) if health is not None and not isinstance(health.value, Gap) else Health.UNKNOWN.value
    order = list(Severity)
    shards = [shard for node in nodes.values() for shard in node.shards]
    stores = {f"{node.store_id} {node.store_version or ''}".strip() for node in nodes.values() if node.store_id}
    return ClusterState(
        namespace=ref.namespace,
        cluster_id=ref.cluster_id,
        health=Health(word) if word in set(Health) else Health.UNKNOWN,
        health_since=health.at if health is not None else None,
        problems=tuple(sorted(problems, key=lambda one: (-order.index(one.severity), *one.identity))),
        nodes_total=len(nodes),
        nodes_by_status=dict(sorted(Counter(node.status.value for node in nodes.values()).items())),
        shards=len({shard.shard_id for shard in shards}),
        primaries=sum(shard.role is ShardRole.PRIMARY for shard in shards),
        stores=tuple(sorted(stores)),
    )


def _running(action_id: str, fact: Known) -> Running:
    value = fact.value if isinstance(fact.value, dict) else {}
    node_id, state = value.get("node_id"), str(value.get("state") or NOT_TOLD)
    return Running(
        action_id=action_id,
        kind=str(value.get("kind") or NOT_TOLD),
        node_id=node_id if isinstance(node_id, str) else None,
        state=ActionState(state) if state in set(ActionState) else state,
        at=fact.at,
    )
