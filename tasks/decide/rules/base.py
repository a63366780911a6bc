"""What a rule is, and what it looks at."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from blocks.models.node import Node, NodeStatus, ShardRole
from blocks.models.problem import Severity
from blocks.models.view import ClusterView
from tasks.decide.stores import MAJORITY_FROM, electorates, is_newcomer

EXAMPLES_MAX = 5


@dataclass(frozen=True, slots=True)
class Voters:
    """Nodes that need a majority among themselves, by how they are."""

    nodes: frozenset[str]
    name: str
    """Which they are, before what is said of them; nothing where they are all of the cluster."""
    counted: Counter[str]
    """How many of them have which status."""

    @property
    def total(self) -> int:
        """How many there are."""
        return self.counted.total()

    @property
    def serving(self) -> int:
        """How many of them serve."""
        return self.counted[NodeStatus.HEALTHY.value] + self.counted[NodeStatus.INCOMPLETE.value]

    @property
    def unasked(self) -> int:
        """Of how many of them nobody knows whether they serve, because their agent does not answer."""
        return self.counted[NodeStatus.UNREACHABLE.value]

    @property
    def counts(self) -> str:
        """How many of them are how, in words."""
        return ", ".join(f"{count} {status}" for status, count in sorted(self.counted.items()))


@dataclass(frozen=True, slots=True)
class Scene:
    """A cluster as the rules see it: what several of them ask for is counted once."""

    view: ClusterView
    now: datetime
    fresh: tuple[Node, ...]
    """The nodes whose shards were read in the last cycle."""
    primaries: dict[str, int]
    """By shard that some node of the cluster has, now or when it last told, how many of these are primary for it."""
    silent: dict[str, list[str]]
    """By shard, the nodes that have it and cannot be asked of it: each may be its primary. Its last primaries come first."""
    statuses: Counter[str]
    """How many nodes have which status."""
    members: Voters
    """The nodes without those that the cluster's spec does not count, and without newcomers."""
    voters: tuple[Voters, ...]
    """Those that need a majority, set by set."""
    newcomers: int
    """How many nodes are no member yet: while a cluster grows they are no loss."""

    @property
    def total(self) -> int:
        """How many nodes count: its members."""
        return self.members.total

    @property
    def serving(self) -> int:
        """How many of them serve."""
        return self.members.serving

    @property
    def unasked(self) -> int:
        """Of how many of them nobody knows whether they serve, because their agent does not answer."""
        return self.members.unasked


def scene_of(view: ClusterView, *, now: datetime) -> Scene:
    """Look at a cluster."""
    nodes, uncounted = view.nodes.values(), set(view.spec.not_counted)
    primaries, silent = _primaries(nodes, uncounted)
    members = [node for node in nodes if node.node_id not in uncounted and not is_newcomer(node)]
    return Scene(
        view=view,
        now=now,
        fresh=tuple(node for node in nodes if node.shards_fresh),
        primaries=primaries,
        silent=silent,
        statuses=Counter(node.status.value for node in nodes),
        members=_voters(view, frozenset(node.node_id for node in members), ""),
        voters=tuple(
            _voters(view, one.nodes, f"of {one.shard_id}: " if one.shard_id is not None else "")
            for one in electorates(view)
            if len(one.nodes) >= MAJORITY_FROM
        ),
        newcomers=len(nodes) - len(uncounted & view.nodes.keys()) - len(members),
    )


def _voters(view: ClusterView, nodes: frozenset[str], name: str) -> Voters:
    return Voters(nodes, name, Counter(view.nodes[node_id].status.value for node_id in nodes))


def _primaries(nodes: Iterable[Node], uncounted: set[str]) -> tuple[dict[str, int], dict[str, list[str]]]:
    """By shard the number of fresh primaries, and who may be one: not an arbiter, nor a node whose store is down."""
    primaries: dict[str, int] = defaultdict(int)
    last: dict[str, list[str]] = defaultdict(list)
    others: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        if not node.shards_fresh and (node.foreign_id is not None or node.seen_status is NodeStatus.NOT_IN_CLUSTER):
            continue  # what it had is none of the cluster's
        down = node.seen_status is NodeStatus.UNAVAILABLE or node.node_id in uncounted
        for shard in node.shards:
            fresh, primary = node.shards_fresh and shard.stale_since is None, shard.role is ShardRole.PRIMARY
            primaries[shard.shard_id] += fresh and primary
            if not fresh and not down and shard.role is not ShardRole.OTHER:
                (last if primary else others)[shard.shard_id].append(node.node_id)
    silent = {shard_id: last[shard_id] + others[shard_id] for shard_id in last.keys() | others.keys()}
    return dict(primaries), silent


@dataclass(frozen=True, slots=True)
class Finding:
    """One match of a rule: which node (None: the cluster) and the evidence."""

    evidence: str
    node_id: str | None = None
    shards: Mapping[str, str] = field(default_factory=dict)
    """Where it is about shards: by shard, how the evidence names it. Each of them must last by itself."""
    nodes: frozenset[str] | None = None
    """Where it is of the cluster: the nodes that it may come of; None: any."""


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
    """Codes of which it is a symptom, the likeliest first: where one is there, of the same node or of the cluster; of what is about
    the cluster, on any node that it may come of."""
    grace_s: Callable[[ClusterView], float] | None = None
    """For how many seconds it must last before it is said; None says it at once."""


def of_shards(shards: Mapping[str, str], what: str, nodes: frozenset[str] | None = None) -> Iterator[Finding]:
    """A finding about shards of the cluster, by shard how it is named; none where there are none."""
    if shards:
        yield Finding(what, shards=shards, nodes=nodes)


def listed(ids: Sequence[str]) -> str:
    """The first few of many, in words."""
    more = f" and {len(ids) - EXAMPLES_MAX} more" if len(ids) > EXAMPLES_MAX else ""
    return f"{', '.join(sorted(ids)[:EXAMPLES_MAX])}{more}"


def without_secrets(address: str) -> str:
    """An agent's address as evidence names it: where, and nothing that may be a password or a token."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "an address that is no URL"
    return (
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else address.partition("?")[0]
    )


def moment(at: datetime) -> str:
    """A moment as evidence names it."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
