"""What a chaos run is like: how long, how large, where it lives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.chaos.plan import FaultKind
from infra.stack.layout import PROJECT

ZOOKEEPERS = ("zookeeper-1", "zookeeper-2", "zookeeper-3")
BROKERS = ("kafka-1", "kafka-2", "kafka-3")
MONGODS = ("mongodb-1", "mongodb-2", "mongodb-3")
MEMBERS = {"zookeeper": ZOOKEEPERS, "kafka": BROKERS, "mongodb": MONGODS}
PREFECT = "prefect"
AGENTS = "agents:"
"""Every agent of the simulated fleet is the target `agents:NODE`."""
STRICT, FREE = "strict", "free"
"""Two namespaces: one has a budget and calls no action harmless, the other has no limits. Freezes and blackouts come to both."""
REAL = "replicore"
"""The real cluster: the replica set that holds the product's own state."""

INTERVAL_S = 5.0
"""Every cluster is looked after so often."""
AGENT_TIMEOUT_S = 3.0
"""Deadline of a request to an agent."""
BUDGET = 3
"""So many nodes of the strict namespace may be acted on at once."""


MAIN = "main"
PROOF_CLUSTERS = 2
"""What is broken on purpose is broken on so many clusters."""
DEEDS = "deeds"
"""The file with what a saboteur did, in the folder of its part."""


@dataclass(frozen=True, slots=True)
class Part:
    """A product of its own on the same servers: its own database, its own folder of ZooKeeper, its own topics, its own clusters."""

    name: str
    clusters: int
    """Simulated clusters of three nodes each; half of them in each namespace."""

    @property
    def database(self) -> str:
        """Its database."""
        return f"chaos_{self.name}"

    @property
    def events(self) -> str:
        """Its topic of events."""
        return f"{self.name}.events"

    @property
    def work(self) -> tuple[str, str]:
        """Its topics of routine and of urgent work."""
        return f"{self.name}.work", f"{self.name}.work.urgent"

    @property
    def environment(self) -> dict[str, str]:
        """What tells a process of the product which part it is of."""
        routine, urgent = self.work
        return {
            "REPLICORE_MONGODB_DATABASE": self.database,
            "REPLICORE_ZOOKEEPER_ROOT": f"/{self.name}",
            "REPLICORE_EVENT_BUS_TOPIC": self.events,
            "REPLICORE_WORK_QUEUE_TOPIC": routine,
            "REPLICORE_WORK_QUEUE_URGENT_TOPIC": urgent,
            "REPLICORE_WORK_QUEUE_GROUP": f"{self.name}-workers",
        }


@dataclass(frozen=True, slots=True)
class Settings:
    """One run."""

    seed: int
    minutes: float = 10.0
    clusters: int = 60
    """Simulated clusters of three nodes each."""
    seats: int = 3
    """Workers at work."""
    workers: int = 3
    """Processes that work shift after shift without Prefect; their clocks can be made to jump."""
    serving: int = 1
    """Processes that serve deployments: their shifts are runs of Prefect."""
    orders_every_s: float = 0.7
    """Time between two orders of people."""
    calm_s: float = 16.0
    """Calm after each fault; after less than 15 s not all has recovered when the next one comes."""
    kinds: tuple[FaultKind, ...] = tuple(FaultKind)
    """Which faults may happen."""
    proofs: tuple[str, ...] = ()
    """Which rules are broken on purpose after the run (`saboteur.SWITCHES`), each in a part of its own."""
    folder: Path = PROJECT / ".chaos"
    """Everything that a run leaves is in a folder below."""

    @property
    def home(self) -> Path:
        """The folder of this run."""
        return self.folder / f"seed-{self.seed}"

    def home_of(self, part: Part) -> Path:
        """The folder with the history of a part."""
        return self.home / part.name

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts of the world; the first is the run itself."""
        return (Part(MAIN, self.clusters), *(Part(switch, PROOF_CLUSTERS) for switch in self.proofs))
