"""A cluster: what is wanted of it, what discovery says of it, and what we know of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from blocks.models.base import Fact, Id, Labels, Name, Seconds, Text, Utc
from blocks.models.declaration import Declaration
from blocks.models.ids import ClusterRef
from blocks.models.namespace import ForeignNodes
from blocks.models.node import Unit
from blocks.models.platform import PlatformRef
from blocks.models.problem import Pending, Problem
from blocks.models.source import DiscoveredNode

LAG_LIMITS_MAX = 20


class _OfCluster(Fact):
    namespace: Name
    cluster_id: Id
    version: int = 0

    @property
    def ref(self) -> ClusterRef:
        """The cluster's name."""
        return ClusterRef(namespace=self.namespace, cluster_id=self.cluster_id)

    @property
    def key(self) -> str:
        """Its key in the store: the cluster's."""
        return self.ref.key


class ClusterSpec(_OfCluster):
    """What a person wants of a cluster (manifest kind `ClusterSpec`)."""

    active: bool = True
    """Whether it is looked after at all."""
    interval: Seconds | None = None
    """Seconds between two cycles; None means the namespace's default."""
    probe_interval: Annotated[float, Field(ge=0, le=3_600)] | None = None
    """Seconds between two cheap probes of each of its nodes; 0 switches the watch off, None means the namespace's default."""
    lag_limit_s: Annotated[float, Field(gt=0)] = 30.0
    """A secondary further behind than this is a problem (units of time only)."""
    lag_limits: Annotated[dict[Unit, Annotated[int, Field(ge=0, lt=2**63)]], Field(max_length=LAG_LIMITS_MAX)] = Field(
        default_factory=dict
    )
    """By unit that is none of time (messages), the same; a unit that is not here has no limit."""
    lag_grace: Annotated[float, Field(ge=0, le=3_600)] = 30.0
    """For how many seconds it must be further behind, or a copy not in sync, before that is said."""
    primary_grace: Annotated[float, Field(ge=0, le=3_600)] | None = None
    """For how many seconds a shard may have no primary, or several; None means the namespace's default."""
    foreign_nodes: ForeignNodes | None = None
    """What becomes of nodes whose store says another cluster; None means the namespace's default."""
    not_counted: Annotated[tuple[Id, ...], Field(max_length=1_000)] = ()
    """Nodes that count neither as serving nor in majorities, and whose agents' word on their store is no problem."""
    labels: Labels = Field(default_factory=dict)
    """Tags of the cluster, beside (and before) those that its source gives it."""
    node_labels: Annotated[dict[Id, Labels], Field(max_length=10_000)] = Field(default_factory=dict)
    """By node id, tags of that node, beside (and before) those that its source gives it."""
    disruption_max: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """So many of its nodes may be acted on at once; None: what its namespace says."""
    platform: PlatformRef | None = None
    """Where its nodes are made and removed."""
    declaration: Declaration = Declaration()
    synthetic: bool = False
    """Made by us because discovery found the cluster and nobody had declared it."""


class Discovery(_OfCluster):
    """What the source that owns the cluster last said of it."""

    source: Annotated[str, Field(max_length=200)]
    """The owning source, `namespace/name`: the first that told of the cluster."""
    display_name: str | None = None
    labels: Labels = Field(default_factory=dict)
    nodes: tuple[DiscoveredNode, ...] = ()
    missing_since: Utc | None = None
    """Since when the source no longer tells of it; None while it does."""


class Health(StrEnum):
    """A cluster's health in one word, worst last."""

    HEALTHY = "HEALTHY"
    UNKNOWN = "UNKNOWN"
    """Not observed yet, or it is not known whether any of it serves."""
    DEGRADED = "DEGRADED"
    """It serves, with less than it should have."""
    CRITICAL = "CRITICAL"
    """It does not serve, or one more loss will stop it."""


class ClusterState(_OfCluster):
    """What the last cycle saw: health, problems and counts."""

    health: Health = Health.UNKNOWN
    health_since: Utc | None = None
    problems: tuple[Problem, ...] = ()
    pending: tuple[Pending, ...] = ()
    """What is seen and not said yet, or remembered for what is said; of no consequence for the health."""
    nodes_total: int = 0
    nodes_by_status: dict[str, int] = Field(default_factory=dict)
    shards: int = 0
    primaries: int = 0
    lag_worst_ms: int | None = None
    """Largest known lag of a secondary in units of time; None where none is known."""
    lag_worst: dict[str, int] = Field(default_factory=dict)
    """By unit, the largest known lag of a secondary, in that unit."""
    lags_synthesised: int = 0
    """Of how many copies the lag is our difference of two offsets, not their agent's word."""
    stores: tuple[Text, ...] = ()
    """What it is, `store version`, each once, sorted."""
    versions: dict[str, int] = Field(default_factory=dict)
    """By `store version`, how many nodes run it; like the next three, of the most frequent ones."""
    agents: dict[str, int] = Field(default_factory=dict)
    """By version of the agent."""
    node_classes: dict[str, int] = Field(default_factory=dict)
    node_groups: dict[str, int] = Field(default_factory=dict)
    observed_at: Utc | None = None
    """When the last cycle that saw all of it began to look."""
    offsets_at: Utc | None = None
    """When offsets and lag of its nodes were last saved; they move all the time and are saved now and then."""
    open_since: Utc | None = None
    """Since when neither a freeze nor a window nor the namespace holds all its actions; None: one of them does."""

    @property
    def nodes_healthy(self) -> int:
        """How many nodes are HEALTHY."""
        return self.nodes_by_status.get("HEALTHY", 0)
