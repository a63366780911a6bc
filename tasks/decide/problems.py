"""What is wrong with a cluster: what the rules find, since when, and what is a symptom of what."""

from __future__ import annotations

from datetime import datetime, timedelta

from blocks.models.problem import Pending, Problem, Severity
from blocks.models.view import ClusterView
from tasks.decide.folding import folded
from tasks.decide.lasting import lasted
from tasks.decide.rules.base import Finding, Rule, Scene
from tasks.decide.rules.table import RULES

ORDER = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


def find_problems(scene: Scene) -> tuple[tuple[Problem, ...], tuple[Pending, ...]]:
    """All problems of a cluster, worst first, and what is to be remembered of what must last for a while first.

    One that was there before keeps its `since` and who has acknowledged it; one that had to last has the moment when it was first seen, and one about
    shards that of the oldest of those that it names.
    """
    state, now = scene.view.state, scene.now
    known = {problem.identity: problem for problem in (state.problems if state is not None else ())}
    seen = {(one.code, one.node_id): one for one in (state.pending if state is not None else ())}
    problems: dict[tuple[str, str, str], Problem] = {}
    nodes: dict[str, frozenset[str]] = {}
    pending = []
    for rule in RULES:
        grace_s = rule.grace_s(scene.view) if rule.grace_s is not None else None
        for finding in rule.match(scene):
            identity = (rule.code, finding.node_id or "", "")
            if finding.nodes is not None:
                nodes[rule.code] = finding.nodes
            there = known.get(identity)
            since = there.since if there is not None else None
            if grace_s is None:
                problems[identity] = _problem(rule, finding, since or now, there)
                continue
            before = seen.get((rule.code, finding.node_id))
            told = lasted(rule.code, finding, before, since, grace_s=grace_s, now=now)
            if told.finding is not None:
                problems[identity] = _problem(rule, told.finding, told.since, there)
            if told.pending is not None:
                pending.append(told.pending)
    worst_first = sorted(problems.values(), key=lambda problem: (ORDER[problem.severity], *problem.identity))
    return folded(worst_first, nodes), tuple(pending)


def _problem(rule: Rule, finding: Finding, since: datetime, before: Problem | None) -> Problem:
    return Problem(
        code=rule.code,
        severity=rule.severity,
        node_id=finding.node_id,
        description=rule.description,
        evidence=finding.evidence,
        remedy=rule.remedy,
        since=since,
        acknowledged=before.acknowledged if before is not None and before.since == since else None,
    )


def pending_ends(view: ClusterView) -> datetime | None:
    """When the first of what is not said yet will be, if it lasts; None when nothing is pending."""
    pending = view.state.pending if view.state is not None else ()
    ends = [one.until for one in pending if one.until is not None]
    hold = timedelta(seconds=view.namespace.settings.status_hold)
    ends += [node.pending_since + hold for node in view.nodes.values() if node.pending_since is not None]
    return min(ends, default=None)
