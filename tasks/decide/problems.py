"""What can be wrong with a cluster: one table of rules. A rule is a code, a severity, words, and a pure match."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from blocks.models.action import Action, ActionState
from blocks.models.node import Node, NodeStatus, ShardRole
from blocks.models.problem import Pending, Problem, Severity
from blocks.models.view import ClusterView

EXAMPLES_MAX = 5
MAJORITY_FROM = 3
"""Clusters smaller than this have no majority to lose."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One match of a rule: which node (None: the cluster) and the evidence."""

    evidence: str
    node_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that can be wrong."""

    code: str
    severity: Severity
    description: str
    remedy: str
    match: Callable[[ClusterView], Iterable[Finding]]
    grace_s: Callable[[ClusterView], float] | None = None
    """For how many seconds it must last before it is said; None says it at once. Such a rule is about the cluster."""


def _with_status(*statuses: NodeStatus) -> Callable[[ClusterView], Iterator[Finding]]:
    def match(view: ClusterView) -> Iterator[Finding]:
        for node in view.nodes.values():
            if node.status in statuses:
                yield Finding(evidence=node.status_text or f"the agent says {node.status}", node_id=node.node_id)

    return match


def fresh(view: ClusterView) -> Iterator[Node]:
    """The nodes whose shards were read in the last cycle."""
    return (node for node in view.nodes.values() if node.shards_stale_since is None and node.info_stale_since is None)


def _primaries(view: ClusterView) -> dict[str, int]:
    count: dict[str, int] = defaultdict(int)
    for node in fresh(view):
        for shard in node.shards:
            count[shard.shard_id] += shard.role is ShardRole.PRIMARY
    return count


def _examples(ids: list[str], what: str) -> Iterator[Finding]:
    if ids:
        more = f" and {len(ids) - EXAMPLES_MAX} more" if len(ids) > EXAMPLES_MAX else ""
        yield Finding(evidence=f"{what}: {', '.join(sorted(ids)[:EXAMPLES_MAX])}{more}")


def _without_primary(view: ClusterView) -> dict[str, list[str]]:
    """By shard that no fresh node is primary for, the nodes that were when they last told, and may still be."""
    silent: dict[str, list[str]] = defaultdict(list)
    known = {node.node_id for node in fresh(view)}
    for node in view.nodes.values():
        if node.node_id in known or node.status in {NodeStatus.UNAVAILABLE, NodeStatus.NOT_IN_CLUSTER}:
            continue
        for shard in node.shards:
            if shard.role is ShardRole.PRIMARY:
                silent[shard.shard_id].append(node.node_id)
    return {shard: silent.get(shard, []) for shard, primaries in _primaries(view).items() if primaries == 0}


def _no_primary(view: ClusterView) -> Iterator[Finding]:
    return _examples([shard for shard, silent in _without_primary(view).items() if not silent], "no primary for")


def _primary_unknown(view: ClusterView) -> Iterator[Finding]:
    unknown = {shard: silent for shard, silent in _without_primary(view).items() if silent}
    return _examples([f"{shard} (last {', '.join(silent[:2])})" for shard, silent in unknown.items()], "unknown for")


def _primary_grace_s(view: ClusterView) -> float:
    return view.namespace.settings.primary_grace


def _many_primaries(view: ClusterView) -> Iterator[Finding]:
    return _examples([shard for shard, primaries in _primaries(view).items() if primaries > 1], "several primaries for")


def _serving(view: ClusterView) -> int:
    return sum(node.status in {NodeStatus.HEALTHY, NodeStatus.INCOMPLETE} for node in view.nodes.values())


def _not_serving(view: ClusterView) -> Iterator[Finding]:
    total = len(view.nodes)
    if total and _serving(view) == 0:
        yield Finding(evidence=f"none of {total} nodes serves: {_status_counts(view)}")


def _majority_lost(view: ClusterView) -> Iterator[Finding]:
    total, serving = len(view.nodes), _serving(view)
    if total >= MAJORITY_FROM and 0 < serving <= total // 2:
        yield Finding(evidence=f"{serving} of {total} nodes serve: {_status_counts(view)}")


def _majority_at_risk(view: ClusterView) -> Iterator[Finding]:
    total, serving = len(view.nodes), _serving(view)
    if total >= MAJORITY_FROM and serving == total // 2 + 1:
        yield Finding(evidence=f"{serving} of {total} nodes serve")


def _status_counts(view: ClusterView) -> str:
    counts = Counter(node.status.value for node in view.nodes.values())
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


def _lag(view: ClusterView) -> Iterator[Finding]:
    limit_ms = view.spec.lag_limit_s * 1_000
    for node in fresh(view):
        worst = max((lag for shard in node.shards if (lag := shard.lag and shard.lag.milliseconds)), default=0)
        if worst > limit_ms:
            yield Finding(evidence=f"over {view.spec.lag_limit_s:g} s behind its primary", node_id=node.node_id)


def _identity(view: ClusterView) -> Iterator[Finding]:
    for node in view.nodes.values():
        named = node.node_id != node.agent_address  # a source that has no names for nodes calls them by their address
        if named and node.reported_node_id is not None and node.reported_node_id != node.node_id:
            yield Finding(evidence=f"its agent calls itself {node.reported_node_id!r}", node_id=node.node_id)
        if node.reported_cluster_id is not None and node.reported_cluster_id != view.spec.cluster_id:
            yield Finding(evidence=f"its store says cluster {node.reported_cluster_id!r}", node_id=node.node_id)


def _duplicates(view: ClusterView) -> Iterator[Finding]:
    """Of agents that call themselves the same, the first that the source tells of keeps the name."""
    order = [node.node_id for node in view.discovery.nodes] if view.discovery is not None else sorted(view.nodes)
    owners: dict[str, str] = {}
    for node in (view.nodes[node_id] for node_id in order if node_id in view.nodes):
        if node.reported_node_id is None:
            continue
        owner = owners.setdefault(node.reported_node_id, node.node_id)
        if owner != node.node_id:
            evidence = f"its agent calls itself {node.reported_node_id!r}, as that of {owner} does"
            yield Finding(evidence, node_id=node.node_id)


def _rewound(view: ClusterView) -> Iterator[Finding]:
    for node in view.nodes.values():
        if node.rewinds:
            last = node.rewinds[-1]
            evidence = f"{last.shard_id} went from {last.before.value} back to {last.after.value} {last.after.unit} at {last.at:%Y-%m-%dT%H:%M:%SZ}"
            yield Finding(evidence, node_id=node.node_id)


def _versions(view: ClusterView) -> Iterator[Finding]:
    found = {f"{node.store_id} {node.store_version}" for node in view.nodes.values() if node.store_version is not None}
    if len(found) > 1:
        yield Finding(evidence=", ".join(sorted(found)))


def _missing(view: ClusterView) -> Iterator[Finding]:
    if view.discovery is not None and view.discovery.missing_since is not None:
        yield Finding(
            evidence=f"{view.discovery.source} has not told of it since {view.discovery.missing_since:%Y-%m-%dT%H:%M:%SZ}"
        )


RULES: tuple[Rule, ...] = (
    Rule("CLUSTER_NOT_SERVING", Severity.CRITICAL, "no node of the cluster serves", "look at its nodes, worst first", _not_serving),
    Rule("MAJORITY_LOST", Severity.CRITICAL, "the majority of the nodes is gone", "bring nodes back before anything else", _majority_lost),
    Rule("NO_PRIMARY", Severity.CRITICAL, "a shard has no primary", "look at the nodes that hold it", _no_primary, _primary_grace_s),
    Rule("PRIMARY_UNKNOWN", Severity.WARNING, "a shard's last primary cannot be asked, and no other node is primary", "check that node: the shard may be served by it, or by none", _primary_unknown, _primary_grace_s),
    Rule("SEVERAL_PRIMARIES", Severity.CRITICAL, "a shard has more than one primary", "suspect a partition; stop writes to the older one", _many_primaries, _primary_grace_s),
    Rule("NODE_UNREACHABLE", Severity.WARNING, "the agent of a node does not answer", "check the machine, the agent and the network between", _with_status(NodeStatus.UNREACHABLE)),
    Rule("STORE_UNAVAILABLE", Severity.WARNING, "the agent answers, its store does not", "check the store's process and its log", _with_status(NodeStatus.UNAVAILABLE)),
    Rule("NODE_NOT_IN_CLUSTER", Severity.WARNING, "a node is not a member of its cluster", "initialise the cluster (cluster.init) or add the node (cluster.add)", _with_status(NodeStatus.NOT_IN_CLUSTER)),
    Rule("NODE_UNHEALTHY", Severity.WARNING, "a node says that it is not well", "see the evidence and the store's log", _with_status(NodeStatus.UNHEALTHY, NodeStatus.UNKNOWN)),
    Rule("NODE_INCOMPLETE", Severity.WARNING, "a node is well and could not tell all of it", "see the evidence; facts marked stale are the last good ones", _with_status(NodeStatus.INCOMPLETE)),
    Rule("NODE_IN_TRANSIT", Severity.INFO, "a node is joining or leaving", "wait; it ends by itself", _with_status(NodeStatus.JOINING_CLUSTER, NodeStatus.LEAVING_CLUSTER)),
    Rule("MAJORITY_AT_RISK", Severity.WARNING, "one more loss takes the majority", "bring the lost nodes back", _majority_at_risk),
    Rule("LAG_ABOVE_LIMIT", Severity.WARNING, "a secondary is far behind", "check its load, disk and network", _lag),
    Rule("IDENTITY_MISMATCH", Severity.WARNING, "a node is not who discovery says it is", "check the discovery record and the agent's settings", _identity),
    Rule("DUPLICATE_NODE_ID", Severity.WARNING, "two agents say that they are the same node", "give each agent its own node id, or mend the discovery record", _duplicates),
    Rule("OFFSET_WENT_BACK", Severity.WARNING, "a primary's log is shorter than it was", "writes may be lost: was it restored, truncated or made anew?", _rewound),
    Rule("CLUSTER_MISSING", Severity.WARNING, "the source no longer tells of the cluster", "delete it if it is gone, or mend the source", _missing),
    Rule("VERSION_SKEW", Severity.INFO, "the nodes run different versions", "finish the upgrade", _versions),
)  # fmt: skip


def find_problems(view: ClusterView, *, now: datetime) -> tuple[tuple[Problem, ...], tuple[Pending, ...]]:
    """All problems of a cluster, worst first, and what is not said yet because it must last for a while first.

    One that was there before keeps its `since`; one that had to last has the moment when it was first seen.
    """
    state = view.state
    said = {problem.identity: problem.since for problem in (state.problems if state is not None else ())}
    seen = {pending.code: pending.since for pending in (state.pending if state is not None else ())}
    problems: dict[tuple[str, str, str], Problem] = {}
    pending = []
    for rule in (*RULES, _stuck(now)):
        for finding in rule.match(view):
            identity = (rule.code, finding.node_id or "", "")
            since = said.get(identity, seen.get(rule.code, now))
            if (
                identity not in said
                and rule.grace_s is not None
                and now - since < timedelta(seconds=rule.grace_s(view))
            ):
                pending.append(Pending(code=rule.code, since=since))
            else:
                problems[identity] = _problem(rule, finding, since)
    order = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}
    worst_first = sorted(problems.values(), key=lambda problem: (order[problem.severity], *problem.identity))
    return tuple(worst_first), tuple(pending)


def _problem(rule: Rule, finding: Finding, since: datetime) -> Problem:
    return Problem(
        code=rule.code,
        severity=rule.severity,
        node_id=finding.node_id,
        description=rule.description,
        evidence=finding.evidence,
        remedy=rule.remedy,
        since=since,
    )


def pending_ends(view: ClusterView) -> datetime | None:
    """When the first of what is not said yet will be, if it lasts; None when nothing is pending."""
    graces = {rule.code: rule.grace_s for rule in RULES if rule.grace_s is not None}
    ends = [
        one.since + timedelta(seconds=graces[one.code](view))
        for one in (view.state.pending if view.state is not None else ())
        if one.code in graces
    ]
    return min(ends, default=None)


def _stuck(now: datetime) -> Rule:
    """The rule of actions that take too long; it depends on the time."""

    def match(view: ClusterView) -> Iterator[Finding]:
        limit = timedelta(seconds=view.namespace.settings.stuck_after)
        for action in view.actions.values():
            begun = _approved_at(action)
            if begun is not None and now - begun > limit:
                why = f": {action.error}" if action.error else ""
                yield Finding(f"action {action.action_id} ({action.kind}) is {action.state}{why}", action.node_id)

    return Rule(
        "ACTION_STUCK",
        Severity.WARNING,
        "an action takes very long",
        "see `replictl action ID`; cancel it when it will not end",
        match,
    )


def _approved_at(action: Action) -> datetime | None:
    """Since when an action could run; None while it waits for approval, or is finished."""
    if action.state.final or action.state is ActionState.PENDING_APPROVE:
        return None
    approved = (step.at for step in action.history if step.after is ActionState.PENDING_SCHEDULE)
    return next(approved, action.created_at)
