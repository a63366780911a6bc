"""Manifest kind `ClusterSpec`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from blocks.errors import InvalidInputError
from blocks.models.base import Id, Json, Labels, Name, Seconds
from blocks.models.cluster import LAG_LIMITS_MAX, ClusterSpec
from blocks.models.declaration import Declaration
from blocks.models.namespace import ForeignNodes
from blocks.models.node import Offset, Unit
from blocks.models.platform import PlatformRef
from tasks.decide.kinds.base import (
    LABELLED,
    NAMESPACED,
    Asked,
    Document,
    Kind,
    Part,
    Path,
    Spelling,
    Strict,
    Via,
    peek,
    renamed,
)
from tasks.decide.kinds.told import part
from tasks.decide.manifest_size import bounded

LAG_LIMITS = ("spec", "lag_limits")
DECLARATION = ("spec", "declaration")
DEFINITION = (*DECLARATION, "definition")
SCALE_UP = (*DECLARATION, "graces", "scale_up")
GROUPS = (*DEFINITION, "nodes")
FREE = ((*DECLARATION, "initialise", "action_args"), (*DEFINITION, "attributes"))
"""Where anything may stand, besides each node group's attributes."""
EXPAND_MODE = (*DECLARATION, "expand", "mode")
INITIALISE_MODE = (*DECLARATION, "initialise", "mode")

MODES = {"auto": "Auto", "add": "Add", "join": "Join", "single-node": "SingleNode", "single_node": "SingleNode"}
"""Modes as the original's examples have them."""


class ClusterMetadata(Strict):
    """Which cluster it is."""

    namespace: Name
    cluster: Id
    labels: Labels = Field(default_factory=dict)


class NodeTags(Strict):
    """What is said of one node."""

    labels: Labels = Field(default_factory=dict)


class ClusterSpecSpec(Strict):
    """How a cluster is looked after, and what it should become."""

    active: bool = True
    """Whether it is looked after at all."""
    interval: Seconds | None = None
    """Seconds between two cycles; without it, the namespace's default."""
    probe_interval: Annotated[float, Field(ge=0, le=3_600)] | None = None
    """Seconds between two cheap probes of each node; 0 switches the watch off; without it, the namespace's default."""
    lag_limit_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    """A secondary further behind than this is a problem."""
    lag_limits: Annotated[dict[Unit, Annotated[int, Field(ge=0, lt=2**63)]], Field(max_length=LAG_LIMITS_MAX)] = Field(
        default_factory=dict
    )
    """By unit that is none of time, such as `messages`, the same; a unit that is not here has no limit."""
    lag_grace: Annotated[float, Field(ge=0, le=3_600)] = 30.0
    """Seconds that it must be further behind, or a copy not in sync, before that is said."""
    disruption_max: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """So many of its nodes may be acted on at once; none: the namespace's."""
    primary_grace: Annotated[float, Field(ge=0, le=3_600)] | None = None
    """Seconds that a shard may have no primary, or several, before that is a problem; without it, the namespace's default."""
    foreign_nodes: ForeignNodes | None = None
    """What becomes of the answers of a node whose store says another cluster; without it, the namespace's default."""
    not_counted: Annotated[tuple[Id, ...], Field(max_length=1_000)] = ()
    """Ids of nodes that count neither as serving nor in majorities, such as an arbiter whose agent does not know what it is."""
    platform: PlatformRef | None = None
    """Where its nodes are made and removed."""
    declaration: Declaration = Declaration()
    nodes: Annotated[dict[Id, NodeTags], Field(max_length=10_000)] = Field(default_factory=dict)
    """By node id, what is said of that node."""


class ClusterSpecManifest(Document):
    """What is wanted of a cluster."""

    metadata: ClusterMetadata
    spec: ClusterSpecSpec = ClusterSpecSpec()


def _definition_fits(document: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    if peek(document, DEFINITION) is None:
        return
    of, cluster = peek(document, (*DEFINITION, "cluster_id")), peek(document, ("metadata", "cluster"))
    if isinstance(of, str) and isinstance(cluster, str) and of != cluster:
        yield (*DEFINITION, "cluster_id"), "it is not the id of the cluster that this manifest is of"
    if peek(document, ("spec", "platform")) is None:
        yield ("spec", "platform"), "a definition needs a platform, where its nodes are made"


def _limits_fit(document: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    limits = peek(document, LAG_LIMITS)
    for unit in limits if isinstance(limits, Mapping) else ():
        if isinstance(unit, str) and Offset.model_construct(unit=unit, value=0).milliseconds is not None:
            yield (*LAG_LIMITS, unit), "it is a unit of time; the limit of these is lag_limit_s"


def _free_values_fit(document: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    groups = peek(document, GROUPS)
    names = [name for name in groups if isinstance(name, str)] if isinstance(groups, Mapping) else []
    for path in (*FREE, *((*GROUPS, name, "attributes") for name in names)):
        try:
            bounded(peek(document, path), what="it is")
        except InvalidInputError as error:
            yield path, error.message


def _record(manifest: ClusterSpecManifest, _: Asked, __: int) -> ClusterSpec:
    metadata, spec = manifest.metadata, manifest.spec
    return ClusterSpec(
        namespace=metadata.namespace,
        cluster_id=metadata.cluster,
        labels=metadata.labels,
        active=spec.active,
        interval=spec.interval,
        probe_interval=spec.probe_interval,
        lag_limit_s=spec.lag_limit_s,
        lag_limits=spec.lag_limits,
        lag_grace=spec.lag_grace,
        disruption_max=spec.disruption_max,
        primary_grace=spec.primary_grace,
        foreign_nodes=spec.foreign_nodes,
        not_counted=spec.not_counted,
        platform=spec.platform,
        declaration=spec.declaration,
        node_labels={node_id: tags.labels for node_id, tags in spec.nodes.items()},
    )


def _parts(record: ClusterSpec) -> tuple[Part, Part]:
    usual = ClusterSpecSpec()
    spec = part(
        active=None if record.active else False,
        interval=record.interval,
        probe_interval=record.probe_interval,
        lag_limit_s=record.lag_limit_s if record.lag_limit_s != usual.lag_limit_s else None,
        lag_limits=record.lag_limits or None,
        lag_grace=record.lag_grace if record.lag_grace != usual.lag_grace else None,
        disruption_max=record.disruption_max,
        primary_grace=record.primary_grace,
        foreign_nodes=record.foreign_nodes,
        not_counted=list(record.not_counted) or None,
        platform=record.platform,
        declaration=record.declaration,
        nodes={node_id: part(labels=labels) for node_id, labels in record.node_labels.items()},
    )
    return part(namespace=record.namespace, cluster=record.cluster_id, labels=record.labels), spec


def _mode(value: Json) -> Json:
    return MODES.get(value, value) if isinstance(value, str) else value


def _modes(*names: str) -> Via:
    return Via(_mode, {"enum": list(names)})


CLUSTER_SPEC = Kind(
    name="ClusterSpec",
    record=ClusterSpec,
    model=ClusterSpecManifest,
    to_record=_record,
    to_parts=_parts,
    words=("cluster",),
    spellings=(
        *NAMESPACED,
        *renamed(
            ("metadata", "cluster"),
            ("metadata", "cluster_id"),
            ("metadata", "name"),
            ("spec", "cluster"),
            ("spec", "cluster_id"),
            ("spec", "name"),
        ),
        *LABELLED,
        Spelling(("spec", "platform", "namespace"), ("spec", "platform", "ns_id")),
        *renamed(SCALE_UP, (*DECLARATION, "graces", "grace_up"), (*DECLARATION, "grace_up")),
        Spelling(EXPAND_MODE, EXPAND_MODE, _modes("auto", "add", "join")),
        Spelling(INITIALISE_MODE, INITIALISE_MODE, _modes("auto", "single-node", "single_node")),
    ),
    checks=(_definition_fits, _limits_fit, _free_values_fit),
)
