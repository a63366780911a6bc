"""Views of a cluster and looks at its nodes, as the pure functions take them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from blocks.models.action import Action, Intent
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.ids import ClusterRef
from blocks.models.look import ActionsInfo, AgentAction, Failure, Look, NodeInfo, ShardsInfo, StoreInfo
from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.models.node import Node, NodeStatus, Offset, Protocol, Shard, ShardRole, Version
from blocks.models.source import DiscoveredNode
from blocks.models.view import ClusterView

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
REF = ClusterRef(namespace="prod", cluster_id="orders")
NODES = ("n1", "n2", "n3")


def later(seconds: float) -> datetime:
    """So many seconds after `NOW`."""
    return NOW + timedelta(seconds=seconds)


def address(node_id: str) -> str:
    """Where a node's agent is."""
    return f"http://{node_id}.test:8000"


def found(node_id: str, **fields: Any) -> DiscoveredNode:
    """A node as its source tells of it."""
    return DiscoveredNode(**{"node_id": node_id, "agent_address": address(node_id), **fields})


def discovery(node_ids: Iterable[str] = NODES, **fields: Any) -> Discovery:
    """What the source `prod/inventory` says of the cluster."""
    basics = {"namespace": "prod", "cluster_id": "orders", "source": "prod/inventory", "version": 1}
    return Discovery(**{**basics, "nodes": tuple(found(node_id) for node_id in node_ids), **fields})


def shard(role: ShardRole = ShardRole.SECONDARY, shard_id: str = "rs0", lag_s: int | None = None) -> Shard:
    """A copy of a shard, so many seconds behind."""
    lag = None if lag_s is None else Offset(unit="seconds", value=lag_s)
    return Shard(shard_id=shard_id, role=role, commit_offset=Offset(unit="seconds", value=1_000), lag=lag)


def make_node(node_id: str, **fields: Any) -> Node:
    """A healthy node that was read in full."""
    basics = {
        "namespace": "prod",
        "cluster_id": "orders",
        "node_id": node_id,
        "agent_address": address(node_id),
        "status": NodeStatus.HEALTHY,
        "status_since": NOW,
        "protocol": Protocol.B,
        "agent_version": Version(number="0.1.0"),
        "store_id": "mongo.replica",
        "store_version": Version(number="6.0.0"),
        "reported_node_id": node_id,
        "reported_cluster_id": "orders",
        "shards": (shard(ShardRole.PRIMARY if node_id == "n1" else ShardRole.SECONDARY),),
    }
    return Node(**{**basics, **fields})


def make_view(*nodes: Node, actions: Iterable[Action] = (), **parts: Any) -> ClusterView:
    """A cluster with these nodes, all of them discovered, whose statuses are said at once."""
    view = ClusterView(
        namespace=Namespace(name="prod", version=1, settings=NamespaceSettings(status_hold=0)),
        spec=ClusterSpec(namespace="prod", cluster_id="orders", version=1),
        discovery=discovery(node.node_id for node in nodes),
        nodes={node.node_id: node for node in nodes},
        actions={action.action_id: action for action in actions},
    )
    return replace(view, **parts)


def state(**fields: Any) -> ClusterState:
    """What a cycle saw before."""
    return ClusterState(**{"namespace": "prod", "cluster_id": "orders", **fields})


def good_look(node_id: str, *words: AgentAction, **parts: Any) -> Look:
    """A look that brought exactly what `make_node` says, and the agent's word on actions."""
    node = make_node(node_id)
    info = NodeInfo(
        protocol=Protocol.B,
        status=NodeStatus.HEALTHY,
        node_id=node_id,
        agent_version=Version(number="0.1.0"),
        store_id="mongo.replica",
        store_version=Version(number="6.0.0"),
    )
    basics = {
        "node_id": node_id,
        "info": info,
        "store": StoreInfo(cluster_id="orders"),
        "shards": ShardsInfo(shards=node.shards),
        "actions": ActionsInfo(queue=tuple(word.action_id for word in words if not word.state.final)),
        "details": {word.action_id: word for word in words},
    }
    return Look(**{**basics, **parts})


def failed_look(node_id: str, reason: str = "connection refused") -> Look:
    """A look at a node whose agent does not answer."""
    return Look(node_id=node_id, info=Failure(reason=reason))


def good_looks(*node_ids: str) -> dict[str, Look]:
    """A good look at each node."""
    return {node_id: good_look(node_id) for node_id in node_ids or NODES}


def word(action: Action, **fields: Any) -> AgentAction:
    """An agent's word on an action."""
    basics = {"action_id": action.action_id, "kind": action.kind, "state": action.state}
    return AgentAction(**{**basics, **fields})


def intent(at: datetime = NOW, *, answer_by: datetime | None = None, token: int = 7) -> Intent:
    """That an action is about to be sent; its answer is there within a minute."""
    return Intent(attempt=1, generation=1, token=token, at=at, answer_by=answer_by or at + timedelta(minutes=1))
