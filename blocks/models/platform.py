"""What a platform is told and tells: it finds, makes and removes the machines that clusters run on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from blocks.models.base import Fact, Id, Json, Name, Text

GROUPS_MAX = 1_000
COUNT_MAX = 65_535


class PlatformRef(Fact):
    """A platform's name; without a namespace, one of the namespace of whoever names it."""

    ns_id: Name | None = None
    name: Name


class NodeGroup(Fact):
    """Nodes of a cluster that are alike."""

    desired_count: Annotated[int, Field(ge=0, le=COUNT_MAX)]
    node_class: Annotated[str, Field(min_length=1, max_length=256)]
    attributes: dict[str, Json] = Field(default_factory=dict, max_length=200)
    store_version: Text | None = None
    """Another version than the cluster's."""


class ClusterDefinition(Fact):
    """What a cluster should be made of."""

    cluster_id: Id
    store: Annotated[str, Field(min_length=1, max_length=256)]
    store_version: Annotated[str, Field(min_length=1, max_length=256)]
    attributes: dict[str, Json] = Field(default_factory=dict, max_length=200)
    nodes: Annotated[dict[str, NodeGroup], Field(max_length=GROUPS_MAX)] = Field(default_factory=dict)
    """By node group."""


class Provisioned(Fact):
    """What a platform says it has begun to make."""

    count: Annotated[int, Field(ge=0)]
    """How many nodes; it may be fewer than were asked for."""
    node_ids: tuple[Id, ...] | None = None
    """Their ids, where it knows them already; only a hint."""
