"""The state of the fleet: clusters, their nodes, and what each node's agent keeps.

Plain mutable records; who changes them is `Fleet` and `Conductor`, who reads them is everything else.
"""

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from infra.agents.kit.fence import Fence
from infra.agents.kit.models import Action

if TYPE_CHECKING:
    from infra.simulator.faults import AnyFault


class Kind(StrEnum):
    """Which sort of store."""

    MONGODB = "mongodb"
    ZOOKEEPER = "zookeeper"
    KAFKA = "kafka"


class Wire(StrEnum):
    """Which protocol an agent speaks."""

    A = "A"
    B = "B"


class Open(Protocol):
    """An open connection to an agent."""

    def reset(self) -> None:
        """Break it off so that the other side gets an error."""
        ...

    def age(self, limit: int) -> None:
        """Grow older by one; end when that is the `limit` and nothing came meanwhile."""
        ...


@dataclass(slots=True)
class Book:
    """An agent's database: its actions in the order they were scheduled, and the newest fencing token seen."""

    queue: dict[str, Action] = field(default_factory=dict)
    finished: dict[str, Action] = field(default_factory=dict)
    history: dict[str, list[tuple[int, Action]]] = field(default_factory=dict)
    """Protocol A only: each action as it was, with microseconds since 1970, oldest first, bounded."""
    fence: Fence | None = None


@dataclass(slots=True, eq=False)
class Node:
    """One node and its agent."""

    name: str
    number: int
    """Its place in the cluster; what Kafka calls the broker id."""
    cluster: "Cluster"
    host: str
    port: int
    wire: Wire
    refusable: bool = False
    member: bool = True
    """Whether a MongoDB node is in its replica set."""
    store_up: bool = True
    agent_up: bool = True
    actions_on: bool = True
    fault: "AnyFault | None" = None
    ready: dict[bytes, bytes] = field(default_factory=dict)
    """Complete answers by request target; empty while a fault wants each request looked at."""
    connections: set[Open] = field(default_factory=set)
    requests: int = 0
    book: Book = field(default_factory=Book)
    turn: asyncio.TimerHandle | None = None
    """When its next action moves."""
    asked_at: float = 0.0
    """When it last answered a question that a probe asks; see `gaps`."""
    cycled_at: float = 0.0
    """When it last answered the last question of a cycle."""

    @property
    def url(self) -> str:
        """Its agent's address."""
        return f"http://{self.host}:{self.port}"

    @property
    def store_address(self) -> str:
        """Where its store would listen."""
        return f"{self.host}:{self.cluster.store_port}"


@dataclass(slots=True, eq=False)
class Cluster:
    """One cluster."""

    name: str
    kind: Kind
    version: str
    checkout: str
    nodes: list[Node] = field(default_factory=list)
    leader: Node | None = None
    """MongoDB's primary, ZooKeeper's leader; None while there is none."""
    partitions: tuple[str, ...] = ()
    brokers: int = 0
    """How many brokers the partitions were spread over when they were made."""
    shift: int = 0
    """How often the leaders of the partitions moved on."""
    elections: int = 1
    next_number: int = 0

    @property
    def store_port(self) -> int:
        """The usual port of its store."""
        return {Kind.MONGODB: 27017, Kind.ZOOKEEPER: 2181, Kind.KAFKA: 9092}[self.kind]

    def live(self) -> list[Node]:
        """Return the members whose store is up."""
        return [node for node in self.nodes if node.member and node.store_up]

    def quorum(self) -> bool:
        """Say whether more than half of the members are up."""
        members = sum(node.member for node in self.nodes)
        return 2 * len(self.live()) > members
