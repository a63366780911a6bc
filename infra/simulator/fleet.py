"""The fleet as a whole: who is there, and every change of it, after which the answers concerned are made anew."""

import asyncio
import random
from collections.abc import Iterable, Iterator

from infra.agents.kit.models import Json
from infra.simulator.errors import CommandError
from infra.simulator.faults import Pick, Selector
from infra.simulator.model import Cluster, Kind, Node
from infra.simulator.record import Record
from infra.simulator.stores import successor

ELECTION_S = 1.0


class Fleet:
    """All clusters and nodes, by name and by place."""

    def __init__(self, clusters: Iterable[Cluster], record: Record, seed: int) -> None:
        self.clusters = {cluster.name: cluster for cluster in clusters}
        self.nodes = {node.name: node for cluster in self.clusters.values() for node in cluster.nodes}
        self.places = {(node.host, node.port): node for node in self.nodes.values()}
        self.record = record
        self.rng = random.Random(seed)  # noqa: S311 - nothing secret
        self.tick = 0
        """How far offsets have moved on."""
        self.version = 0
        """Of what discovery tells."""
        self._elections: dict[Cluster, asyncio.TimerHandle] = {}

    def move_on(self) -> None:
        """Let every offset grow: no answer about shards is what it was."""
        self.tick += 1
        for node in self.nodes.values():
            for target in (b"/api/unstable/info/shards", b"/api/unstable/shards"):
                node.ready.pop(target, None)

    def changed(self, cluster: Cluster) -> None:
        """Make the answers of all members anew."""
        for node in cluster.nodes:
            node.ready.clear()

    def set_store(self, node: Node, *, up: bool, gap_s: float = ELECTION_S) -> None:
        """Stop or start a store; its cluster elects if it led, or if there is a majority again."""
        if node.store_up is up:
            return
        node.store_up = up
        cluster = node.cluster
        if cluster.kind is Kind.KAFKA:
            self.record.note("election", cluster=cluster.name, leader=None)
        elif cluster.leader is node or (cluster.leader is None and any(other.member for other in cluster.nodes)):
            self.elect(cluster, gap_s)
        elif cluster.leader is not None and not cluster.quorum():
            self._lead(cluster, None)
        self.changed(cluster)

    def elect(self, cluster: Cluster, gap_s: float) -> None:
        """Let somebody else lead, `gap_s` seconds from now; brokers hand over their partitions at once."""
        if cluster.kind is Kind.KAFKA:
            cluster.shift += 1
            self.changed(cluster)
            self.record.note("election", cluster=cluster.name, leader=None)
            return
        waiting = self._elections.pop(cluster, None)
        if waiting is not None:
            waiting.cancel()
        before = cluster.leader
        self._lead(cluster, None)
        loop = asyncio.get_running_loop()
        self._elections[cluster] = loop.call_later(gap_s, self._end_election, cluster, before)

    def form(self, node: Node) -> None:
        """Make a MongoDB node a set of its own."""
        node.member = True
        self._lead(node.cluster, node)

    def admit(self, cluster: Cluster, node: Node) -> None:
        """Make a MongoDB node a member."""
        node.member = True
        self.changed(cluster)

    def add(self, node: Node) -> None:
        """Take in a new node."""
        self.nodes[node.name] = node
        self.places[node.host, node.port] = node
        self._membership(node.cluster)

    def remove(self, node: Node) -> None:
        """Let a node go for good."""
        cluster = node.cluster
        cluster.nodes.remove(node)
        del self.nodes[node.name]
        del self.places[node.host, node.port]
        if cluster.leader is node:
            self.elect(cluster, ELECTION_S)
        self._membership(cluster)

    def select(self, selector: Selector) -> list[Node]:
        """Return the nodes meant.

        Raises:
            CommandError: A name is not known.
        """
        if selector == "all":
            return list(self.nodes.values())
        if isinstance(selector, list):
            return list(dict.fromkeys(node for name in selector for node in self._named(name)))
        return self._picked(selector)

    def told(self, *, urls: bool) -> Iterator[Json]:
        """Return what discovery tells: nodes as objects, or as bare URLs as of old."""
        for cluster in self.clusters.values():
            nodes: list[Json] = [node.url if urls else _node(node) for node in cluster.nodes]
            yield {"cluster_id": cluster.name, "display_name": None, "nodes": nodes}

    def close(self) -> None:
        """Let no election end any more."""
        for waiting in self._elections.values():
            waiting.cancel()
        self._elections.clear()

    def _picked(self, pick: Pick) -> list[Node]:
        """Return the nodes that fit, or some of them."""
        found = [node for node in self.nodes.values() if _fits(node, pick)]
        some = round(len(self.nodes) * pick.share) if pick.share is not None else pick.count
        return found if some is None else self.rng.sample(found, min(some, len(found)))

    def _named(self, name: str) -> list[Node]:
        """Return one node, or all of a cluster."""
        if name in self.nodes:
            return [self.nodes[name]]
        if name in self.clusters:
            return self.clusters[name].nodes
        message = f"there is no node or cluster {name!r}"
        raise CommandError(message)

    def _end_election(self, cluster: Cluster, before: Node | None) -> None:
        """Let the next one lead, if there is one."""
        del self._elections[cluster]
        leader = successor(cluster, before)
        if leader is not None:
            self._lead(cluster, leader)

    def _lead(self, cluster: Cluster, leader: Node | None) -> None:
        """Say who leads."""
        if leader is not None:
            cluster.elections += 1
        cluster.leader = leader
        self.changed(cluster)
        self.record.note("election", cluster=cluster.name, leader=leader and leader.name)

    def _membership(self, cluster: Cluster) -> None:
        """Notice that discovery tells something else."""
        self.version += 1
        self.changed(cluster)


def _fits(node: Node, pick: Pick) -> bool:
    """Say whether a node is what was asked for."""
    pairs: tuple[tuple[object, object], ...] = (
        (pick.kind, node.cluster.kind),
        (pick.protocol, node.wire),
        (pick.primary, node.cluster.leader is node),
        (pick.refusable, node.refusable),
        (pick.faulty, node.fault is not None),
    )
    return all(wanted is None or wanted == is_ for wanted, is_ in pairs)


def _node(node: Node) -> Json:
    """Return a node as a Platform tells of it."""
    return {
        "agent_address": node.url,
        "node_id": node.name,
        "node_class": node.cluster.kind.value,
        "node_group": None,
    }
