"""Nodes whose store says that it belongs to another cluster: what they tell is not about this one."""

from __future__ import annotations

from collections.abc import Mapping

from blocks.models.look import Look, StoreInfo
from blocks.models.namespace import ForeignNodes
from blocks.models.node import Node
from blocks.models.view import ClusterView


def policy_of(view: ClusterView) -> ForeignNodes:
    """The cluster's own, or its namespace's."""
    return view.spec.foreign_nodes or view.namespace.settings.foreign_nodes


def refuses(view: ClusterView, looks: Mapping[str, Look]) -> bool:
    """Whether answers of such nodes are refused.

    The ids of stores and of discovery can only be compared where they have one origin. That they have is certain as soon
    as the store of one node says the id that discovery says; where none ever did, they may differ by design.
    """
    policy, cluster_id = policy_of(view), view.spec.cluster_id
    if policy is not ForeignNodes.AUTO:
        return policy is ForeignNodes.REFUSE
    return any(node.reported_cluster_id == cluster_id for node in view.nodes.values()) or any(
        isinstance(look.store, StoreInfo) and look.store.cluster_id == cluster_id for look in looks.values()
    )


def foreign_id(known: Node | None, look: Look, cluster_id: str) -> str | None:
    """The id of another cluster that a node's store says. One that does not say any this time is what it was."""
    said = look.store.cluster_id if isinstance(look.store, StoreInfo) else None
    if said is None:
        return known.foreign_id if known is not None else None
    return said if said != cluster_id else None
