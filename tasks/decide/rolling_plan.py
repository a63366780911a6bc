"""Plans of rolling actions: which nodes, in which order, and whether a plan still fits its cluster. Pure.

The order is a rank of nodes: secondaries before primaries; or, with a label, all nodes of one value before those of the next, the
value with a primary last, and primaries last within it. A plan fits as long as ranks only grow along what is left of it and no
batch mixes two of them, so that an election that changes nothing for it does not undo an approval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from pydantic import ValidationError

from blocks.errors import InvalidInputError
from blocks.models.base import Json
from blocks.models.cluster import Health
from blocks.models.node import Node, NodeStatus, ShardRole
from blocks.models.problem import Problem, Severity
from blocks.models.rolling import UNWELL_MAX, Hindrance, Pace, Prospect, Rolling, RollingPlan
from blocks.models.view import ClusterView
from tasks.decide.choose import acted_on
from tasks.decide.cluster_kinds import Catalogue
from tasks.decide.conditions import parse_conditions
from tasks.decide.gates import blocks, disturbed_nodes
from tasks.decide.manifest_size import bounded
from tasks.decide.rolling import actions_of
from tasks.decide.search import labels_of_cluster, labels_of_nodes
from tasks.decide.select import parse_selectors
from tasks.decide.shape import NODE_FIELDS, node_row

NAMES_MAX = 5
Rank = tuple[bool, str, bool]


def selected(
    view: ClusterView,
    now: datetime,
    *,
    nodes: Sequence[str] | None = None,
    selectors: Sequence[str] = (),
    where: Sequence[str] = (),
) -> tuple[str, ...]:
    """The nodes of a cluster that are meant: all conditions hold for them; without any, all nodes.

    Args:
        view: the cluster.
        now: the present, for conditions on ages.
        nodes: only these, by id; each must be there.
        selectors: label selectors, as `replictl nodes -l` has them.
        where: conditions on the fields of `replictl nodes -o json`.

    Raises:
        InvalidInputError: a node is not there, a condition is none, or no node is meant.
    """
    there = members_of(view)
    unknown = sorted(set(nodes or ()) - set(there))
    if unknown:
        message = (
            f"cluster {view.ref} has no node {', '.join(unknown[:NAMES_MAX])}; `replictl nodes {view.ref}` lists them"
        )
        raise InvalidInputError(message)
    selector, conditions = parse_selectors(selectors), parse_conditions(where, NODE_FIELDS)
    labels, of_cluster = labels_of_nodes(view.spec, view.discovery), labels_of_cluster(view.spec, view.discovery)
    observed_at = view.state.observed_at if view.state is not None else None

    def meant(node_id: str) -> bool:
        tags, node = labels.get(node_id, of_cluster), view.nodes.get(node_id)
        if nodes is not None and node_id not in nodes:
            return False
        row: Mapping[str, Any] = node_row(node, now, tags, observed_at) if node is not None and conditions else {}
        return selector.matches(tags) and all(bool(row) and condition.holds(row) for condition in conditions)

    found = tuple(node_id for node_id in there if meant(node_id))
    if not found:
        message = f"no node of cluster {view.ref} is meant"
        raise InvalidInputError(message)
    return found


def planned(
    view: ClusterView,
    kind: str,
    args: Json,
    nodes: Sequence[str],
    pace: Pace,
    kinds: Catalogue,
    *,
    tolerating: bool = False,
) -> RollingPlan:
    """The plan: every node in its batch.

    Args:
        view: the cluster as it is known now.
        kind: what is done to each node.
        args: with which arguments.
        nodes: which nodes.
        pace: order, batches and what must be between them.
        kinds: kinds of actions on clusters, which are none of nodes.
        tolerating: the problems that there are now shall not count as ill health.

    Raises:
        InvalidInputError: kind or arguments cannot be.
    """
    if kind in kinds:
        message = f"{kind} is an action on clusters: a rolling action does something to nodes"
        raise InvalidInputError(message)
    ranks = _ranks(view, nodes, pace)
    wanted = sorted(nodes, key=lambda node_id: (ranks[node_id], node_id))
    batches: list[tuple[str, ...]] = []
    for _, group in groupby(wanted, key=lambda node_id: ranks[node_id]):
        same = list(group)
        batches += [tuple(same[start : start + pace.batch]) for start in range(0, len(same), pace.batch)]
    try:
        return RollingPlan(
            namespace=view.ref.namespace,
            cluster_id=view.ref.cluster_id,
            kind=kind,
            args=bounded(args),
            pace=pace,
            batches=tuple(batches),
            members=members_of(view),
            tolerated=tuple(sorted(map(_named, _problems(view)))) if tolerating else (),
        )
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        message = f"{where}: {fault['msg']}".removeprefix(": ")
        raise InvalidInputError(message) from None


def members_of(view: ClusterView) -> tuple[str, ...]:
    """The nodes that the source of a cluster tells of, sorted."""
    return tuple(sorted(node.node_id for node in view.discovery.nodes)) if view.discovery is not None else ()


def other_members(view: ClusterView, plan: RollingPlan) -> str | None:
    """Why a plan no longer fits the members of its cluster; None: it does."""
    there, then = set(members_of(view)), set(plan.members)
    if there == then:
        return None
    words = [
        f"{_some(there - then)} came" if there - then else "",
        f"{_some(then - there)} went" if then - there else "",
    ]
    return f"the cluster is not the one that the plan was made for: {' and '.join(filter(None, words))}"


def disorderly(view: ClusterView, rolling: Rolling) -> str | None:
    """Why roles or labels ask for another order of what is left of a plan; None: they do not."""
    left = rolling.plan.batches[rolling.batch :]
    ranks = _ranks(view, [node_id for batch in left for node_id in batch], rolling.plan.pace)
    before: Rank | None = None
    for batch in left:
        of_batch = {ranks[node_id] for node_id in batch}
        if len(of_batch) > 1 or (before is not None and min(of_batch) < before):
            return f"roles or labels of the nodes ask for another order than the plan's, from {_some(set(batch))} on"
        before = max(of_batch)
    return None


def unwell(view: ClusterView, plan: RollingPlan | None = None) -> tuple[str, ...]:
    """Why a cluster is not fit for a (next) batch; empty: it is.

    Every node that counts must be HEALTHY, and there must be no problem, nor anything that will be one if it lasts, such as a shard
    that has no primary right now. What the plan tolerates, does not count.
    """
    tolerated = set(plan.tolerated) if plan is not None else set()
    excused = {problem.node_id for problem in _problems(view) if _named(problem) in tolerated}
    found = []
    if view.state is None or view.discovery is None:
        return ("it was not looked at yet",)
    for node_id in members_of(view):
        node = view.nodes.get(node_id)
        if node_id in view.spec.not_counted or (node_id in excused and node is not None):
            continue
        if node is None or node.foreign_id is not None or node.seen_status is not NodeStatus.HEALTHY:
            found.append(f"node {node_id} {_how(node)}")
    told = [problem for problem in _problems(view) if _named(problem) not in tolerated]
    found += [f"{_named(problem)}: {problem.description}" for problem in told if problem.root]
    pending = {
        f"{one.code} {one.node_id}" if one.node_id else one.code for one in view.state.pending if one.until is not None
    }
    found += [f"{name}, if it lasts" for name in sorted(pending - tolerated)]
    if not view.nodes or view.state.health is Health.UNKNOWN:
        found.append(f"its health is {view.state.health}")
    return tuple(found[:UNWELL_MAX])


def prospect(view: ClusterView, plan: RollingPlan, forced: str | None, now: datetime) -> Prospect:
    """A plan, and what speaks against it now."""
    return Prospect(
        plan=plan,
        digest=plan.digest,
        health=view.state.health if view.state is not None else Health.UNKNOWN,
        unwell=unwell(view),
        hindrances=tuple(_hindrances(view, plan, forced, now)),
    )


def _hindrances(view: ClusterView, plan: RollingPlan, forced: str | None, now: datetime) -> list[Hindrance]:
    found = []
    for number in range(len(plan.batches)):
        disturbed = acted_on(view, now)
        for action in actions_of(imagined(plan, number, forced, now), now=now):
            free = action.evolve(rolling_id=None)
            hindrances = blocks(view, free, disturbed, now)
            found += [Hindrance(node_id=str(action.node_id), block=block) for block in hindrances]
            if not hindrances:
                disturbed |= disturbed_nodes(view, [free])
    return found


def imagined(plan: RollingPlan, batch: int, forced: str | None, now: datetime) -> Rolling:
    """A rolling action of a plan that nobody has ordered, at one of its batches."""
    return Rolling.model_validate(
        {"rolling_id": "0" * 32, "plan": plan, "state": "RUNNING", "created_at": now, "created_by": "nobody", "forced": forced,
         "batch": batch}
    )  # fmt: skip


def _ranks(view: ClusterView, nodes: Sequence[str], pace: Pace) -> dict[str, Rank]:
    labels, of_cluster = labels_of_nodes(view.spec, view.discovery), labels_of_cluster(view.spec, view.discovery)
    values = {
        node_id: labels.get(node_id, of_cluster).get(pace.by, "") if pace.by is not None else "" for node_id in nodes
    }
    leads = {node_id: pace.primaries_last and is_primary(view.nodes.get(node_id)) for node_id in nodes}
    last = {values[node_id] for node_id in nodes if leads[node_id]} if pace.by is not None else set()
    return {node_id: (values[node_id] in last, values[node_id], leads[node_id]) for node_id in nodes}


def is_primary(node: Node | None) -> bool:
    """Whether a node is primary of something, as far as is known."""
    return node is not None and any(shard.role is ShardRole.PRIMARY for shard in node.shards)


def _problems(view: ClusterView) -> list[Problem]:
    told = view.state.problems if view.state is not None else ()
    return [problem for problem in told if problem.severity is not Severity.INFO]


def _named(problem: Problem) -> str:
    return " ".join(part for part in (problem.code, problem.node_id, problem.shard_id) if part)


def _how(node: Node | None) -> str:
    if node is None:
        return "was not looked at yet"
    if node.foreign_id is not None:
        return f"belongs to cluster {node.foreign_id}"
    return f"is {node.seen_status}{f': {node.status_text}' if node.status_text and node.pending_status is None else ''}"


def _some(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:NAMES_MAX])
    return f"{shown} and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else shown
