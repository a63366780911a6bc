"""What a node's store says of itself: status, attributes and shards, as pure functions of the fleet's state.

The shapes are those of our real agents (`infra.agents`): a replica set is one shard with a lag in milliseconds, an
ensemble one shard without a lag, a broker has one shard per partition it holds a replica of.
"""

from infra.agents.kit.models import Attributes, NodeReport, Offset, Role, Shard, Status, StoreReport, Version
from infra.simulator.layout import REPLICAS
from infra.simulator.model import Cluster, Kind, Node

STORE_IDS = {Kind.MONGODB: "mongo.replica", Kind.ZOOKEEPER: "zookeeper", Kind.KAFKA: "kafka"}
STORE_NAMES = {Kind.MONGODB: "MongoDB", Kind.ZOOKEEPER: "Zookeeper", Kind.KAFKA: "Kafka"}
"""Ids in protocol B, names in protocol A."""

OPLOG_BYTES = 4 * 1024**3
OPTIME_BASE = 1_790_000_000
EPOCH_BITS = 32


def node_report(node: Node) -> NodeReport:
    """Return status, version and attributes."""
    cluster = node.cluster
    version = Version(cluster.version, checkout=cluster.checkout)
    if not node.store_up:
        return NodeReport(Status.UNAVAILABLE, version=version)
    if cluster.kind is Kind.KAFKA:
        live = cluster.live()
        attributes: Attributes = {
            "kafka.apache.org/mode": "kraft",
            "kafka.apache.org/metadata.version": 27,
            "kafka.apache.org/broker.id": node.number,
            "kafka.apache.org/controller": live[cluster.shift % len(live)] is node,
        }
        return NodeReport(Status.HEALTHY, version, attributes)
    if cluster.kind is Kind.ZOOKEEPER:
        if cluster.leader is None:
            return NodeReport(Status.UNHEALTHY, version)
        return NodeReport(Status.HEALTHY, version, {"zookeeper.apache.org/mode": _mode(node)})
    mode = {"mongodb.com/mode": "replica-set"}
    if not node.member:
        return NodeReport(Status.NOT_IN_CLUSTER, version, mode)
    state = "PRIMARY" if cluster.leader is node else "SECONDARY"
    return NodeReport(Status.HEALTHY, version, {**mode, "mongodb.com/member.state": state})


def store_report(node: Node) -> StoreReport:
    """Return the cluster's id and attributes."""
    cluster = node.cluster
    attributes: Attributes = {}
    if cluster.kind is Kind.KAFKA:
        brokers = sum(other.store_up for other in cluster.nodes)
        attributes = {"kafka.apache.org/cluster.id": cluster.checkout[:22], "kafka.apache.org/brokers": brokers}
    elif cluster.kind is Kind.ZOOKEEPER:
        attributes = {
            "zookeeper.apache.org/server.state": _mode(node),
            "zookeeper.apache.org/quorum.size": len(cluster.nodes),
        }
    elif node.member:
        compatibility = ".".join(cluster.version.split(".")[:2])
        attributes = {"mongodb.com/feature-compatibility": compatibility, "mongodb.com/oplog.size": OPLOG_BYTES}
    return StoreReport(cluster.name, attributes)


def shards(node: Node, tick: int) -> list[Shard]:
    """Return the shards with a copy on a node.

    Args:
        node: Whose.
        tick: How far the world has moved on: offsets grow with it.
    """
    cluster = node.cluster
    if cluster.kind is Kind.KAFKA:
        return _partitions(node, tick)
    if cluster.kind is Kind.ZOOKEEPER:
        role = Role.PRIMARY if _mode(node) in {"leader", "standalone"} else Role.SECONDARY
        zxid = (cluster.elections << EPOCH_BITS) + tick + 1
        return [Shard(cluster.name, role, Offset(zxid, "zxid"))]
    if not node.member:
        return []
    optime = Offset((OPTIME_BASE + tick) * 1_000, "milliseconds")
    if cluster.leader is node:
        return [Shard(cluster.name, Role.PRIMARY, optime)]
    return [Shard(cluster.name, Role.SECONDARY, optime, Offset(0, "milliseconds") if cluster.leader else None)]


def serving(node: Node) -> bool:
    """Say whether the store answers questions about its cluster."""
    return node.store_up and (node.cluster.kind is not Kind.ZOOKEEPER or node.cluster.leader is not None)


def _mode(node: Node) -> str:
    """Return ZooKeeper's word for what a server is."""
    if len(node.cluster.nodes) == 1:
        return "standalone"
    return "leader" if node.cluster.leader is node else "follower"


def _partitions(node: Node, tick: int) -> list[Shard]:
    """Return one shard per replica; the first broker alive leads, in an order that moves on with each election."""
    cluster = node.cluster
    roles = _roles(node)
    base = int(cluster.checkout[:6], 16)
    found: list[Shard] = []
    for index, name in enumerate(cluster.partitions):
        role = roles[index % len(roles)]
        if role is None:
            continue
        offset = Offset(base + index * 1_009 + tick * (1 + index % 7), "offset")
        found.append(Shard(name, role, offset, None if role is Role.PRIMARY else Offset(0, "messages")))
    return found


def _roles(node: Node) -> list[Role | None]:
    """Return what a broker is to the partitions, which repeat after as many as there were brokers."""
    cluster = node.cluster
    up = {other.number for other in cluster.nodes if other.store_up}
    copies = min(REPLICAS, cluster.brokers)
    roles: list[Role | None] = []
    for index in range(cluster.brokers):
        replicas = [(index + offset) % cluster.brokers for offset in range(copies)]
        turn = cluster.shift % copies
        alive = [number for number in (*replicas[turn:], *replicas[:turn]) if number in up]
        if node.number not in replicas:
            roles.append(None)
        else:
            roles.append(Role.PRIMARY if alive[:1] == [node.number] else Role.SECONDARY)
    return roles


def successor(cluster: Cluster, before: Node | None) -> Node | None:
    """Return who leads next: the member after the one who did, if there is a majority."""
    live = cluster.live()
    if cluster.kind is Kind.KAFKA or not live or not cluster.quorum():
        return None
    later = [node for node in live if before is not None and node.number > before.number]
    return (later or live)[0]
