"""A cluster's shape as a tree for people: bounded, however many nodes and shards there are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from blocks.models.base import clean_text
from blocks.models.node import NodeStatus, Offset, ShardRole
from tasks.decide.select import written
from tasks.decide.shape import naturally
from tasks.decide.tree import BAD, BOLD, DIM, WARN, WORD, Branch, Label, Piece, aligned, label
from tasks.decide.words import age, last_known, milliseconds, plural

SHARDS_DRAWN_MAX = 50
"""More shards than this are counted by group (of a Kafka: by topic), unless each is asked for."""
EVERY_SHARD_MAX = 1_000
"""So many are drawn when each is asked for."""
GROUPS_DRAWN_MAX = 30
NODES_DRAWN_MAX = 100
NAMES_MAX = 5
_CHARS_MAX = 4_000
_MOMENTS_MS = range(10**11, 10**14)
"""Milliseconds since 1970 that are moments of our time: 1973 to 5138."""
_NUMBERED = re.compile(r"(.+)[/-]\d+")
_SERVING = frozenset({ShardRole.PRIMARY.value, ShardRole.SECONDARY.value})

Row = Mapping[str, Any]


def tree_of(shape: Row, *, every_shard: bool = False) -> Branch:
    """The tree of a cluster, of what `shape_of` says."""
    root = Branch(_root(shape))
    root.branches += [_problem(problem) for problem in shape["problems"]]
    root.branches += [_action(action) for action in shape["actions"]]
    shards = shape["shards"]
    if every_shard or len(shards) <= SHARDS_DRAWN_MAX:
        root.branches += _each_shard(shards)
    else:
        root.branches.append(_counted(shards, "topic" if _is_kafka(shape) else "group"))
    root.branches += _nodes(shape["nodes"])
    return root


def _clean(value: object) -> str:
    return clean_text(value, _CHARS_MAX)


def _root(shape: Row) -> Label:
    seen = "not observed yet" if shape["age_s"] is None else f"seen {age(shape['age_s'])} ago"
    health_for = f" for {age(shape['health_age_s'])}" if shape["health_age_s"] is not None else ""
    lag = _worst(shape)
    parts = [
        label(Piece(_clean(f"{shape['namespace']}/{shape['cluster']}"), BOLD)),
        label(Piece(_clean(shape["health"]), WORD), health_for),
        label(shape.get("told") or seen),
        label(lag),
        label(", ".join(_clean(store) for store in shape["stores"])),
        label(Piece(_clean(written(shape["labels"])) if shape["labels"] else "", DIM)),
    ]
    return _joined(parts)


def _worst(shape: Row) -> str:
    """The largest lag: in time, or else in the units that the store counts in."""
    if shape["lag_worst_ms"] is not None:
        return f"lag {milliseconds(shape['lag_worst_ms'])}"
    counted = [f"{value} {_clean(unit)}" for unit, value in list(shape["lag_worst"].items())[:NAMES_MAX]]
    return f"lag {', '.join(counted)}" if counted else ""


def _joined(parts: Iterable[Label]) -> Label:
    whole: Label = ()
    for part in parts:
        if part:
            whole = label(whole, "  ", part) if whole else part
    return whole


def _problem(problem: Row) -> Branch:
    text = ": ".join(_clean(part) for part in (problem["description"], problem["evidence"]) if part)
    cause = f", symptom of {_clean(problem['cause'])}" if problem.get("cause") else ""
    word = problem.get("acknowledged")
    seen = f", acknowledged by {_clean(word['who'])} ({_clean(word['why'])})" if word else ""
    said = f" {_clean(problem['code'])} for {age(problem['age_s'])}{cause}{seen}: {text}"
    remedy = [Branch(label(f"to do: {_clean(problem['remedy'])}"))] if problem["remedy"] else []
    return Branch(label(Piece(_clean(problem["severity"]), WORD), said), remedy)


def _action(action: Row) -> Branch:
    since = f" for {age(action['age_s'])}  "
    what = (
        f"action {_clean(action['kind'])} ",
        Piece(_clean(action["state"]), WORD),
        since,
        Piece(_clean(action["action_id"]), DIM),
    )
    return Branch(label(*what))


# -- shards ----------------------------------------------------------------------------------------------------------------


def _each_shard(shards: Sequence[Row]) -> list[Branch]:
    shown = shards
    if len(shards) > EVERY_SHARD_MAX:  # those with trouble first
        shown = sorted(shards, key=lambda shard: -_trouble([shard]))
    branches = [_shard(shard) for shard in shown[:EVERY_SHARD_MAX]]
    if len(shards) > EVERY_SHARD_MAX:
        branches.append(
            Branch(label(f"and {plural(len(shards) - EVERY_SHARD_MAX, 'more shard')}: `-o json` has them all"))
        )
    return branches


def _shard(shard: Row) -> Branch:
    title = label("shard ", Piece(_clean(shard["shard"]), BOLD))
    if _orphan(shard):
        was = any(_is_primary(copy) for copy in shard["nodes"])
        title = label(title, Piece("  primary only as last known", WARN) if was else Piece("  no primary", BAD))
    copies = aligned([_copy(copy) for copy in shard["nodes"]])
    if len(copies) == 1:
        return Branch(label(title, "  ", copies[0]))
    return Branch(title, [Branch(copy) for copy in copies])


def _copy(copy: Row) -> list[Label]:
    was = "was " if copy["stale"] else ""
    about = "~" if copy["lag_computed"] else ""
    lag = f"lag {was}{about}{_distance(copy['lag'], copy['lag_unit'])}" if copy["lag"] is not None else ""
    at = f"{was}at {_position(copy['offset'], copy['offset_unit'])}" if copy["offset"] is not None else ""
    role = label(Piece(_clean(copy["role"]), WORD))
    return [label(_clean(copy["node"])), role, label(lag), label(at), _seen(copy, "last known")]


def _seen(row: Row, word: str) -> Label:
    """How old a row is; in yellow where it could not be read again since."""
    if row["stale"]:
        return label(Piece(f"{word} {age(row['age_s'])} ago", WARN))
    return label(Piece(f"seen {age(row['age_s'])} ago" if row["age_s"] is not None else "", DIM))


def _distance(value: int, unit: str) -> str:
    ms = Offset(unit=unit, value=value).milliseconds
    return milliseconds(ms) if ms is not None else f"{value} {_clean(unit)}"


def _position(value: int, unit: str) -> str:
    """An offset; one that is a moment (a replica set's operation time) as a time."""
    ms = Offset(unit=unit, value=value).milliseconds
    if ms is not None and ms in _MOMENTS_MS:
        moment = datetime.fromtimestamp(ms / 1_000, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{value} {_clean(unit)}"


def _is_primary(copy: Row) -> bool:
    return bool(copy["role_value"] == ShardRole.PRIMARY.value)


def _orphan(shard: Row) -> bool:
    """Whether none of its copies is known to be primary now."""
    return not any(_is_primary(copy) and not copy["stale"] for copy in shard["nodes"])


def _behind(shard: Row) -> int:
    return sum(copy["role_value"] not in _SERVING for copy in shard["nodes"])


def _is_kafka(shape: Row) -> bool:
    return any(str(node["store"]).lower().startswith("kafka") for node in shape["nodes"])


def _counted(shards: Sequence[Row], word: str) -> Branch:
    """Too many shards to draw: how many by group, the groups with trouble first, and names of those without a primary."""
    groups: dict[str, list[Row]] = {}
    for shard in shards:
        match = _NUMBERED.fullmatch(shard["shard"])
        groups.setdefault(match[1] if match is not None else "", []).append(shard)
    named = len([name for name in groups if name])
    inside = f" in {plural(named, word)}" if named else ""
    branch = Branch(label(f"{plural(len(shards), 'shard')}{inside}, {_copies(shards)} (each one: --shards)"))
    orphans = [_clean(shard["shard"]) for shard in shards if _orphan(shard)]
    if orphans:
        shown = ", ".join(orphans[:NAMES_MAX]) + (" ..." if len(orphans) > NAMES_MAX else "")
        branch.branches.append(Branch(label(Piece(f"{plural(len(orphans), 'shard')} without a primary: {shown}", BAD))))
    if named:
        order = sorted(groups.items(), key=lambda item: (-_trouble(item[1]), naturally(item[0])))
        rows = [_group(name, inside) for name, inside in order[:GROUPS_DRAWN_MAX]]
        branch.branches += [Branch(row) for row in aligned(rows)]
        branch.branches += _rest(order[GROUPS_DRAWN_MAX:], word)
    return branch


def _trouble(shards: Sequence[Row]) -> int:
    return sum(_orphan(shard) for shard in shards) * 1_000_000 + sum(_behind(shard) for shard in shards)


def _copies(shards: Sequence[Row]) -> str:
    count = sum(len(shard["nodes"]) for shard in shards)
    return f"{count} copies" if count != 1 else "1 copy"


def _group(name: str, shards: Sequence[Row]) -> list[Label]:
    orphans, behind = sum(_orphan(shard) for shard in shards), sum(_behind(shard) for shard in shards)
    return [
        label(Piece(_clean(name) if name else "(others)", BOLD)),
        label(plural(len(shards), "shard")),
        label(_copies(shards)),
        label(Piece(f"{orphans} without a primary", BAD) if orphans else ""),
        label(Piece(f"{behind} not in sync", WARN) if behind else ""),
        _oldest(shards),
    ]


def _oldest(shards: Sequence[Row]) -> Label:
    """The age of the oldest of many copies, and how many could not be read again."""
    copies = [copy for shard in shards for copy in shard["nodes"]]
    stale = sum(copy["stale"] for copy in copies)
    oldest = max((copy["age_s"] for copy in copies if copy["age_s"] is not None), default=None)
    return _seen({"stale": stale, "age_s": oldest}, f"{stale} last known")


def _rest(groups: Sequence[tuple[str, Sequence[Row]]], word: str) -> list[Branch]:
    if not groups:
        return []
    shards = sum(len(inside) for _, inside in groups)
    return [
        Branch(
            label(f"and {plural(len(groups), f'more {word}')} with {plural(shards, 'shard')}: `-o json` has them all")
        )
    ]


# -- nodes -----------------------------------------------------------------------------------------------------------------


def _nodes(nodes: Sequence[Row]) -> list[Branch]:
    """At most so many; where there are more, those with trouble come first."""
    shown = nodes
    if len(nodes) > NODES_DRAWN_MAX:
        shown = sorted(nodes, key=lambda node: not _troubled(node))[:NODES_DRAWN_MAX]
    labels = aligned([_node(node) for node in shown])
    branches = [Branch(line, _of_node(node)) for node, line in zip(shown, labels, strict=True)]
    if len(nodes) > len(shown):
        hidden = len(nodes) - len(shown)
        branches.append(Branch(label(f"and {plural(hidden, 'more node')}: `replictl nodes CLUSTER` lists them all")))
    return branches


def _troubled(node: Row) -> bool:
    return node["status"] != NodeStatus.HEALTHY or bool(node["problems"] or node["actions"] or node["stale"])


def _node(node: Row) -> list[Label]:
    lasting = f" for {age(node['status_age_s'])}" if node["status_age_s"] is not None else ""
    lag = f"lag {milliseconds(node['lag_ms'])}" if node["lag_ms"] is not None else ""
    if node["lag_ms"] is None and node["lag_last_ms"] is not None:
        lag = f"lag was {last_known(milliseconds(node['lag_last_ms']), node['lag_age_s'])}"
    return [
        label("node ", Piece(_clean(node["node"]), BOLD)),
        label(Piece(_clean(node["status"]), WORD), lasting),
        _roles(node["roles"]),
        label(lag),
        label(" ".join(_clean(part) for part in (node["store"], node["version"]) if part)),
        label(f"agent {_clean(node['agent_version'])}" if node["agent_version"] else ""),
        label(Piece(f"stale {age(node['stale_age_s'])}", WARN)) if node["stale"] else _seen(node, ""),
        label(Piece(_clean(node["agent"]), DIM)),
    ]


def _roles(roles: Mapping[str, int]) -> Label:
    """Of one shard the role, of more how many of each."""
    if sum(roles.values()) == 1:
        return label(Piece(_clean(next(iter(roles))), WORD))
    words = [role.value for role in ShardRole]
    order = sorted(roles, key=lambda role: (words.index(role) if role in words else len(words), role))
    return label(" ".join(f"{_clean(role)}:{roles[role]}" for role in order))


def _of_node(node: Row) -> list[Branch]:
    text = node["status_text"]
    told = any(text in problem["evidence"] for problem in node["problems"]) if text else True
    branches = [] if told else [Branch(label(_clean(text)))]
    branches += [_problem(problem) for problem in node["problems"]]
    return branches + [_action(action) for action in node["actions"]]
