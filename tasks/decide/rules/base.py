"""What a rule is, and what it looks at."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from blocks.models.node import Node, NodeStatus, ShardRole
from blocks.models.problem import Severity
from blocks.models.view import ClusterView

EXAMPLES_MAX = 5


@dataclass(frozen=True, slots=True)
class Scene:
    """A cluster as the rules see it: what several of them ask for is counted once."""

    view: ClusterView
    now: datetime
    fresh: tuple[Node, ...]
    """The nodes whose shards were read in the last cycle."""
    primaries: dict[str, int]
    """By shard, how many of these are primary for it."""
    statuses: Counter[str]
    """How many nodes have which status."""

    @property
    def total(self) -> int:
        """How many nodes there are."""
        return len(self.view.nodes)

    @property
    def serving(self) -> int:
        """How many of them serve."""
        return self.statuses[NodeStatus.HEALTHY.value] + self.statuses[NodeStatus.INCOMPLETE.value]

    @property
    def counts(self) -> str:
        """How many nodes are how, in words."""
        return ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()))


def scene_of(view: ClusterView, *, now: datetime) -> Scene:
    """Look at a cluster."""
    nodes = view.nodes.values()
    fresh = tuple(node for node in nodes if node.shards_stale_since is None and node.info_stale_since is None)
    primaries: dict[str, int] = defaultdict(int)
    for node in fresh:
        for shard in node.shards:
            primaries[shard.shard_id] += shard.role is ShardRole.PRIMARY
    return Scene(view, now, fresh, dict(primaries), Counter(node.status.value for node in nodes))


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
    match: Callable[[Scene], Iterable[Finding]]
    """At most one finding per node, and one of the cluster."""
    under: tuple[str, ...] = ()
    """Codes of which it is a symptom, the likeliest first: where one is there, of the same node or of the cluster."""
    grace_s: Callable[[ClusterView], float] | None = None
    """For how many seconds it must last before it is said; None says it at once. Such a rule is about the cluster."""


def examples(ids: Sequence[str], what: str) -> Iterator[Finding]:
    """A finding that names the first of many; none where there are none."""
    if ids:
        yield Finding(f"{what}: {listed(ids)}")


def listed(ids: Sequence[str]) -> str:
    """The first few of many, in words."""
    more = f" and {len(ids) - EXAMPLES_MAX} more" if len(ids) > EXAMPLES_MAX else ""
    return f"{', '.join(sorted(ids)[:EXAMPLES_MAX])}{more}"


def moment(at: datetime) -> str:
    """A moment as evidence names it."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
