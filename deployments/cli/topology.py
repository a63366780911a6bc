"""One cluster as a tree: its shards and who has them, its nodes, what is wrong and what is running where."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterState, Health
from blocks.models.ids import ClusterRef
from blocks.models.node import Node, Offset, Shard
from blocks.models.problem import Problem
from blocks.store.protocol import Store, Where
from deployments.cli.nodes import node_row, role_of
from deployments.cli.options import TheCluster, Watch
from deployments.cli.output import Answer, Row, clean, console, say
from deployments.cli.resolve import known_cluster
from deployments.cli.select import Tags
from deployments.cli.session import Cli
from deployments.cli.words import BAD, age, coloured, milliseconds, plural, seconds_since
from deployments.cli.world import Parts
from tasks.decide.select import written

SHARDS_DRAWN_MAX = 50
"""More shards than this are drawn as numbers per node, unless asked for."""
_MOMENTS_MS = range(10**11, 10**14)
"""Milliseconds since 1970 that are moments of our time: 1973 to 5138."""
UNFINISHED = tuple(state for state in ActionState if not state.final)


async def topology_of(store: Store, ref: ClusterRef, now: datetime) -> dict[str, Any]:
    """Everything about a cluster's shape, as one object."""
    where = Where(namespace=ref.namespace, cluster_id=ref.cluster_id)
    state = await store.get(ClusterState, ref.key)
    nodes = await store.find(Node, where, limit=100_000)
    actions = await store.find(Action, where.evolve(action_states=UNFINISHED), limit=10_000)
    problems = state.problems if state else ()
    tags = await Tags.load(store, where, say)
    return {
        "namespace": ref.namespace,
        "cluster": ref.cluster_id,
        "labels": tags.of_cluster(ref.key),
        "health": state.health if state else Health.UNKNOWN,
        "health_since": state.health_since if state else None,
        "observed_at": state.observed_at if state else None,
        "age_s": seconds_since(state.observed_at, now) if state else None,
        "stores": state.stores if state else (),
        "problems": [_problem(problem, now) for problem in problems if problem.node_id is None],
        "actions": [_action(action, now) for action in reversed(actions) if action.node_id is None],
        "nodes": [
            {
                **node_row(node, now, tags.of_node(ref.key, node.node_id)),
                "problems": [_problem(problem, now) for problem in problems if problem.node_id == node.node_id],
                "actions": [_action(action, now) for action in reversed(actions) if action.node_id == node.node_id],
            }
            for node in nodes
        ],
        "shards": _shards(nodes),
    }


def _problem(problem: Problem, now: datetime) -> dict[str, Any]:
    return {**dict(problem), "age_s": seconds_since(problem.since, now)}


def _action(action: Action, now: datetime) -> dict[str, Any]:
    return {
        "action_id": action.action_id,
        "kind": action.kind,
        "state": action.state,
        "age_s": seconds_since(action.created_at, now),
    }


def _shards(nodes: Iterable[Node]) -> list[dict[str, Any]]:
    copies: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for node in nodes:
        for shard in node.shards:
            copies[shard.shard_id].append(_copy(node, shard))
    return [
        {"shard": shard_id, "nodes": sorted(found, key=lambda copy: (copy["role"] != "primary", copy["node"]))}
        for shard_id, found in sorted(copies.items(), key=lambda item: _naturally(item[0]))
    ]


def _naturally(text: str) -> list[tuple[int, str]]:
    """Sorts `topic/2` before `topic/10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", text)]


def _copy(node: Node, shard: Shard) -> dict[str, Any]:
    return {
        "node": node.node_id,
        "role": role_of(shard),
        "lag": shard.lag.value if shard.lag else None,
        "lag_unit": shard.lag.unit if shard.lag else None,
        "lag_ms": shard.lag.milliseconds if shard.lag else None,
        "offset": shard.commit_offset.value if shard.commit_offset else None,
        "offset_unit": shard.commit_offset.unit if shard.commit_offset else None,
    }


@dataclass(slots=True)
class Branch:
    """A line with what hangs from it."""

    label: Text
    branches: list[Branch] = field(default_factory=list)


def drawn_tree(root: Branch, *, ascii_only: bool) -> Text:
    """A tree as lines."""
    tee, last, bar = ("|- ", "`- ", "|  ") if ascii_only else ("├─ ", "└─ ", "│  ")
    lines: list[Text] = [root.label]

    def grow(branches: Sequence[Branch], before: str) -> None:
        for at, branch in enumerate(branches, start=1):
            end = at == len(branches)
            lines.append(Text.assemble((before + (last if end else tee), "dim"), branch.label))
            grow(branch.branches, before + ("   " if end else bar))

    grow(root.branches, "")
    return Text("\n").join(lines)


def tree_of(topology: Row, *, every_shard: bool) -> Branch:
    """The tree of a cluster."""
    seen = "not observed yet" if topology["age_s"] is None else f"seen {age(topology['age_s'])} ago"
    stores = ", ".join(clean(store) for store in topology["stores"])
    labels = clean(written(topology["labels"])) if topology["labels"] else ""
    name = (clean(f"{topology['namespace']}/{topology['cluster']}"), "bold")
    root = Branch(
        Text.assemble(
            name,
            "  ",
            coloured(topology["health"]),
            f"  {seen}",
            f"  {stores}" if stores else "",
            (f"  {labels}" if labels else "", "dim"),
        )
    )
    root.branches += [_problem_branch(problem) for problem in topology["problems"]]
    root.branches += [_action_branch(action) for action in topology["actions"]]
    shards = topology["shards"]
    if every_shard or len(shards) <= SHARDS_DRAWN_MAX:
        root.branches += [_shard_branch(shard) for shard in shards]
    else:
        root.branches.append(_shards_branch(shards))
    root.branches += [_node_branch(node) for node in topology["nodes"]]
    return root


def _problem_branch(problem: Row) -> Branch:
    text = ": ".join(clean(part) for part in (problem["description"], problem["evidence"]) if part)
    label = Text.assemble(
        coloured(problem["severity"]), f" {clean(problem['code'])} for {age(problem['age_s'])}: {text}"
    )
    return Branch(label, [Branch(Text(f"to do: {clean(problem['remedy'])}"))] if problem["remedy"] else [])


def _action_branch(action: Row) -> Branch:
    since = f" for {age(action['age_s'])}  {clean(action['action_id'])}"
    return Branch(Text.assemble(f"action {clean(action['kind'])} ", coloured(action["state"]), since))


def _shard_branch(shard: Row) -> Branch:
    label = Text.assemble("shard ", (clean(shard["shard"]), "bold"))
    if not any(copy["role"] == "primary" for copy in shard["nodes"]):
        label.append("  no primary", style=BAD)
    copies = [_copy_label(copy) for copy in shard["nodes"]]
    if len(copies) == 1:
        return Branch(Text("  ").join([label, *copies]))
    return Branch(label, [Branch(copy) for copy in copies])


def _copy_label(copy: Row) -> Text:
    label = Text.assemble(clean(copy["node"]), "  ", coloured(copy["role"]))
    if copy["lag"] is not None:
        label.append(f"  lag {_distance(copy['lag'], copy['lag_unit'])}")
    if copy["offset"] is not None:
        label.append(f"  at {_position(copy['offset'], copy['offset_unit'])}")
    return label


def _distance(value: int, unit: str) -> str:
    ms = Offset(unit=unit, value=value).milliseconds
    return milliseconds(ms) if ms is not None else f"{value} {clean(unit)}"


def _position(value: int, unit: str) -> str:
    """An offset; one that is a moment (a replica set's operation time) as a time."""
    ms = Offset(unit=unit, value=value).milliseconds
    if ms is not None and ms in _MOMENTS_MS:
        return clean(datetime.fromtimestamp(ms / 1_000, UTC))
    return f"{value} {clean(unit)}"


def _shards_branch(shards: Sequence[Row]) -> Branch:
    """Too many shards to list: how many, and those without a primary."""
    orphans = [clean(shard["shard"]) for shard in shards if all(copy["role"] != "primary" for copy in shard["nodes"])]
    branch = Branch(Text(f"{plural(len(shards), 'shard')} (each one: --shards)"))
    if orphans:
        shown = ", ".join(orphans[:10]) + (" ..." if len(orphans) > 10 else "")  # noqa: PLR2004 - enough to see which
        branch.branches.append(Branch(Text(f"{plural(len(orphans), 'shard')} without a primary: {shown}", style=BAD)))
    roles: dict[str, Counter[str]] = defaultdict(Counter)
    for shard in shards:
        for copy in shard["nodes"]:
            roles[copy["node"]][copy["role"]] += 1
    for node, counts in sorted(roles.items()):
        told = ", ".join(f"{count} {clean(role)}" for role, count in sorted(counts.items()))
        branch.branches.append(Branch(Text(f"{clean(node)}  {told}")))
    return branch


def _node_branch(node: Row) -> Branch:
    store = " ".join(clean(part) for part in (node["store"], node["version"]) if part)
    agent = f"  agent {clean(node['agent_version'])}" if node["agent_version"] else ""
    label = Text.assemble(
        "node ", (clean(node["node"]), "bold"), "  ", coloured(node["status"]), f" for {age(node['status_age_s'])}",
        f"  {store}" if store else "", agent, f"  {clean(node['agent'])}",
    )  # fmt: skip
    if node["stale"]:
        label.append("  (facts are stale)", style="yellow")
    branches = [Branch(Text(clean(node["status_text"])))] if node["status_text"] else []
    branches += [_problem_branch(problem) for problem in node["problems"]]
    branches += [_action_branch(action) for action in node["actions"]]
    return Branch(label, branches)


def topology(
    context: typer.Context,
    cluster: TheCluster,
    watch: Watch = None,
    *,
    shards: Annotated[bool, typer.Option("--shards", help="Draw every shard, however many there are.")] = False,
) -> None:
    """A cluster as a tree: shards, nodes, problems, running actions."""
    cli = Cli.of(context)

    async def read(parts: Parts) -> Answer:
        store = await parts.store()
        ref = await known_cluster(store, cluster, cli.namespace)
        value = await topology_of(store, ref, cli.world.clock())
        tree = drawn_tree(tree_of(value, every_shard=shards), ascii_only=not console().is_terminal)
        return Answer(value, (tree,))

    cli.answer(read, watch)
