"""The page of problems: `python -m deployments.problem_reference` prints docs/problems.md. A test holds the two together."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from blocks.models.problem import Severity
from tasks.decide.rules.base import Rule
from tasks.decide.rules.table import REWOUND, RULES

HEAD = f"""\
# Problems

Made by `python -m deployments.problem_reference`; change the table in `tasks/decide/rules/table.py` instead.

What can be wrong with a cluster, as `replictl problems` says it, the worst first. Each problem has its evidence, since when it is
seen, and what to do. When it begins and when it is over are events, once each (`problem.raised`, `problem.cleared`:
[events.md](events.md)); `replicore_problems` counts them by code ([metrics.md](metrics.md)).

- **Symptoms** are folded under their cause: of the codes under "symptom of", the first that is there, of the same node or of
  the cluster; of what is about the cluster, on any node that it may come of. `replictl problems` lists causes with the number of their symptoms,
  `--symptoms` all of them.
- **Health**: causes alone count. With a critical one a cluster is CRITICAL, with a warning DEGRADED; `info` changes nothing. Where no
  node is known to serve and some cannot be asked it is UNKNOWN, unless something is critical all the same.
- **Majorities** are those of the members that share a shard: two replica sets in one cluster have one each. Where no two such sets are
  known it is one of all members. Brokers of a Kafka do not vote: what they lost shows as shards without a primary and copies not in
  sync. Nodes that are no members yet are no loss.
- **Lasting**: what has a grace is said once it has lasted so long: for each shard, or node, by itself. Any status of a node must hold
  for `status_hold` before it is said. All of these are settings ([manifests.md](manifests.md)).
- **Acknowledge**: `replictl acknowledge CLUSTER CODE -m WHY` tells others that somebody has seen it, until it is over.
  `{REWOUND}` tells of what happened, not of what is: it is over when it is acknowledged, or after an hour.
"""
WORDS = {
    Severity.CRITICAL: "Critical: it does not serve, or not all of it",
    Severity.WARNING: "Warning: it serves with less than it should have, or soon will",
    Severity.INFO: "Info: worth knowing",
}


def page() -> str:
    """The page."""
    return "\n".join([HEAD, *(line for severity in WORDS for line in _table(severity))]).rstrip() + "\n"


def _table(severity: Severity) -> Iterator[str]:
    yield from (
        f"## {WORDS[severity]}",
        "",
        "| code | what | what to do | symptom of | grace |",
        "|---|---|---|---|---|",
    )
    for rule in RULES:
        if rule.severity is severity:
            causes = ", ".join(f"`{code}`" for code in rule.under)
            yield f"| `{rule.code}` | {rule.description} | {rule.remedy} | {causes} | {_grace(rule)} |"
    yield ""


def _grace(rule: Rule) -> str:
    """The setting that says how long it must last; the function that reads it has its name."""
    name = getattr(rule.grace_s, "__name__", "")
    return f"`{name.removesuffix('_s')}`" if name else ""


if __name__ == "__main__":
    sys.stdout.write(page())
