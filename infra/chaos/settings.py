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
REAL = "chaos-mongodb"
"""The real cluster: the replica set that holds the product's own state."""

INTERVAL_S = 5.0
"""Every cluster is looked after so often."""
AGENT_TIMEOUT_S = 3.0
"""Deadline of a request to an agent."""
BUDGET = 3
"""So many nodes of the strict namespace may be acted on at once."""


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
    kinds: tuple[FaultKind, ...] = tuple(FaultKind)
    """Which faults may happen."""
    sabotage: str | None = None
    """How one of the workers breaks a rule on purpose (`saboteur.SWITCHES`); None: nobody does."""
    folder: Path = PROJECT / ".chaos"
    """Everything that a run leaves is in a folder below."""

    @property
    def home(self) -> Path:
        """The folder of this run."""
        return self.folder / f"seed-{self.seed}"

    @property
    def strict_clusters(self) -> int:
        """So many of the clusters are in the strict namespace."""
        return self.clusters // 2
