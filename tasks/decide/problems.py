"""What is wrong with a cluster: what the rules find, since when, and what is a symptom of what."""

from __future__ import annotations

from datetime import datetime, timedelta

from blocks.models.problem import Pending, Problem, Severity
from blocks.models.view import ClusterView
from tasks.decide.folding import folded
from tasks.decide.rules.base import Finding, Rule, Scene
from tasks.decide.rules.table import RULES

ORDER = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


def find_problems(scene: Scene) -> tuple[tuple[Problem, ...], tuple[Pending, ...]]:
    """All problems of a cluster, worst first, and what is not said yet because it must last for a while first.

    One that was there before keeps its `since`; one that had to last has the moment when it was first seen.
    """
    state, now = scene.view.state, scene.now
    said = {problem.identity: problem.since for problem in (state.problems if state is not None else ())}
    seen = {pending.code: pending.since for pending in (state.pending if state is not None else ())}
    problems: dict[tuple[str, str, str], Problem] = {}
    pending = []
    for rule in RULES:
        for finding in rule.match(scene):
            identity = (rule.code, finding.node_id or "", "")
            since = said.get(identity, seen.get(rule.code, now))
            waits = rule.grace_s is not None and identity not in said
            if waits and rule.grace_s is not None and now - since < timedelta(seconds=rule.grace_s(scene.view)):
                pending.append(Pending(code=rule.code, since=since))
            else:
                problems[identity] = _problem(rule, finding, since)
    worst_first = sorted(problems.values(), key=lambda problem: (ORDER[problem.severity], *problem.identity))
    return folded(worst_first), tuple(pending)


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
    hold = timedelta(seconds=view.namespace.settings.status_hold)
    ends += [node.pending_since + hold for node in view.nodes.values() if node.pending_since is not None]
    return min(ends, default=None)
