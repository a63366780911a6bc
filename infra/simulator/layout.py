"""How many clusters of what, where: the fleet before anything happens. The same layout makes the same fleet."""

import ipaddress
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from infra.simulator.errors import SimulatorError
from infra.simulator.model import Cluster, Kind, Node, Wire

CLUSTERS_MAX = 1_000_000
SIZE_MAX = 1_000
PARTITIONS_MAX = 20_000
PARTITIONS_PER_TOPIC = 12
REPLICAS = 3

_VERSIONS = {
    Kind.MONGODB: ("6.0.16", "7.0.14", "8.0.4"),
    Kind.ZOOKEEPER: ("3.8.4", "3.9.3", "3.9.5"),
    Kind.KAFKA: ("3.9.1", "4.0.0", "4.1.0"),
}
_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")


@dataclass(frozen=True, slots=True)
class Layout:
    """What the fleet is made of; kinds and protocols are taken in turn, so name one twice to have it twice as often."""

    clusters: int = 3
    kinds: Sequence[Kind] = (Kind.MONGODB,)
    protocols: Sequence[Wire] = (Wire.B,)
    size: int = 3
    """Nodes per cluster."""
    partitions: Sequence[int] = (100,)
    """Partitions of the first Kafka cluster, the second, ... and again."""
    unformed: int = 0
    """How many of the MongoDB clusters are not initialised yet."""
    refusable: int = 0
    """How many nodes have a listener of their own, so that their port can really be closed."""
    base_address: str = "127.10.0.0"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        limits = (
            ("clusters", self.clusters, 0, CLUSTERS_MAX),
            ("nodes per cluster", self.size, 1, SIZE_MAX),
            ("partitions", max(self.partitions, default=0), 1, PARTITIONS_MAX),
            ("refusable nodes", self.refusable, 0, self.clusters * self.size),
            ("kinds", len(self.kinds), 1, SIZE_MAX),
            ("protocols", len(self.protocols), 1, SIZE_MAX),
        )
        for what, value, least, most in limits:
            if not least <= value <= most:
                message = f"the number of {what} must be from {least} to {most}, not {value}"
                raise SimulatorError(message)
        next(addresses(self.base_address, self.clusters * self.size))


def addresses(base: str, needed: int) -> Iterator[str]:
    """Return loopback addresses after `base`, without end; at least `needed` of them exist.

    Raises:
        SimulatorError: `base` is no loopback address, or too near the end of 127.0.0.0/8.
    """
    try:
        first = ipaddress.IPv4Address(base)
    except ValueError as error:
        message = f"the base address {base!r} is not an IPv4 address"
        raise SimulatorError(message) from error
    if first not in _LOOPBACK or first + needed + 1 not in _LOOPBACK:
        message = f"{needed} addresses from {base} on are not all within {_LOOPBACK}"
        raise SimulatorError(message)
    return (str(first + offset) for offset in count(1))


def build(layout: Layout, port: int, own_port: int) -> Iterator[Cluster]:
    """Return the clusters.

    Args:
        layout: What they are made of.
        port: Of the agents that share a listener.
        own_port: Of those that have their own.
    """
    rng = random.Random(layout.seed)  # noqa: S311 - nothing secret
    places = addresses(layout.base_address, layout.clusters * layout.size)
    made = dict.fromkeys(Kind, 0)
    nodes = layout.clusters * layout.size
    index = 0
    for number in range(layout.clusters):
        kind = layout.kinds[number % len(layout.kinds)]
        wire = layout.protocols[number // len(layout.kinds) % len(layout.protocols)]
        cluster = Cluster(
            name=f"{kind.value}-{number:05d}",
            kind=kind,
            version=rng.choice(_VERSIONS[kind]),
            checkout=f"{rng.getrandbits(160):040x}",
        )
        formed = kind is not Kind.MONGODB or made[kind] >= layout.unformed
        for _ in range(layout.size):
            # spread over the whole fleet: as many of every thousand as of the next
            own = (index + 1) * layout.refusable // nodes > index * layout.refusable // nodes
            node = add_node(cluster, next(places), own_port if own else port, wire, member=formed)
            node.refusable = own
            index += 1
        if kind is Kind.KAFKA:
            cluster.partitions = partition_names(layout.partitions[made[kind] % len(layout.partitions)])
            cluster.brokers = layout.size
        elif formed:
            cluster.leader = rng.choice(cluster.nodes)
        made[kind] += 1
        yield cluster


def add_node(cluster: Cluster, host: str, port: int, wire: Wire, *, member: bool) -> Node:
    """Append a node to a cluster."""
    number = cluster.next_number
    cluster.next_number += 1
    node = Node(
        name=f"{cluster.name}-{number}", number=number, cluster=cluster, host=host, port=port, wire=wire, member=member
    )
    cluster.nodes.append(node)
    return node


def partition_names(number: int) -> tuple[str, ...]:
    """Return that many partitions, twelve to a topic, in the order agents list them."""
    return tuple(
        sorted(f"events-{index // PARTITIONS_PER_TOPIC:04d}/{index % PARTITIONS_PER_TOPIC}" for index in range(number))
    )
