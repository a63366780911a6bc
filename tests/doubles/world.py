"""Everything that a flow works with, in memory: one store, one ZooKeeper, agents, sources, queue, bus, and a clock to move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from blocks.agents.protocol import Agents
from blocks.fleet import Workers
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.event import Event
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.node import Node, ShardRole
from blocks.models.record import Change
from blocks.models.source import DiscoveredCluster, HttpDiscovery, Source
from doubles.agents import MemoryAgents, MemoryNode
from doubles.coordinator import MemoryCoordinator, MemoryZooKeeper
from doubles.event_bus import FakeEventBus
from doubles.outside import MemoryOutside
from doubles.runs import MemoryRuns
from doubles.secrets import MemorySecrets
from doubles.sources import MemorySources
from doubles.store import MemoryStore
from doubles.views import NODES, address, discovery, found, shard
from doubles.work_queue import FakeWorkQueue
from flows.consume import Consumer
from flows.degraded import Degraded
from flows.shift import Shift
from flows.steps import Steps, Turn
from tasks.decide.lifecycle import begun

SOURCE = Source(
    namespace="prod",
    name="inventory",
    interval=60.0,
    http=HttpDiscovery.model_validate({"url": "http://inventory.test/"}),
)
WORKERS = Workers(seats=1, shift_s=60.0, batch_max=10, batches_parallel=2, drain_s=5.0, attempts_max=3)


@dataclass
class World:
    """A fleet in memory; `clock` is the time of its ZooKeeper, moved by `advance`."""

    zookeeper: MemoryZooKeeper = field(default_factory=MemoryZooKeeper)
    store: MemoryStore = field(default_factory=MemoryStore)
    agents: MemoryAgents = field(default_factory=MemoryAgents)
    sources: MemorySources = field(default_factory=MemorySources)
    queue: FakeWorkQueue = field(default_factory=FakeWorkQueue)
    bus: FakeEventBus = field(default_factory=FakeEventBus)
    runs: MemoryRuns = field(default_factory=MemoryRuns)
    secrets: MemorySecrets = field(default_factory=MemorySecrets)
    outside: MemoryOutside = field(default_factory=MemoryOutside)

    def clock(self) -> datetime:
        """The present."""
        return self.zookeeper.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.zookeeper.advance(seconds)

    def passing(self, is_true: Callable[[], bool]) -> Callable[[], bool]:
        """The same question, with a tenth of a second passing whenever it is asked."""

        def asked() -> bool:
            self.advance(0.1)
            return is_true()

        return asked

    async def worker(self, name: str = "worker-1") -> MemoryCoordinator:
        """A connected process."""
        coordinator = MemoryCoordinator(self.zookeeper, worker=name)
        await coordinator.connect()
        return coordinator

    async def turn(self, name: str = "worker-1", *, watched: bool = False, agents: Agents | None = None) -> Turn:
        """What one process takes clusters through the cycle with."""
        return Turn(
            await self.worker(name), self.store, agents or self.agents, self.clock, Steps(watched=watched), self.outside
        )

    async def consumer(self, name: str = "worker-1", **settings: Any) -> Consumer:
        """One process's consumer of work."""
        return Consumer(
            coordinator=await self.worker(name),
            store=self.store,
            queue=self.queue,
            agents=self.agents,
            sources=self.sources,
            settings=WORKERS.model_copy(update=settings),
            clock=self.clock,
            degraded=Degraded(self.store, self.clock, "worker-1"),
            outside=self.outside,
            secrets=self.secrets,
        )

    async def shift(self, stop: Any, name: str = "worker-1", **settings: Any) -> Shift:
        """One process's shift."""
        return Shift(
            coordinator=await self.worker(name),
            store=self.store,
            queue=self.queue,
            bus=self.bus,
            agents=self.agents,
            sources=self.sources,
            runs=self.runs,
            secrets=self.secrets,
            settings=WORKERS.model_copy(update=settings),
            clock=self.clock,
            outside=self.outside,
            stop=stop,
        )

    # -- what is there --------------------------------------------------------------------------------------------------

    def node(self, node_id: str = "n1") -> MemoryNode:
        """A node of the cluster."""
        return self.agents.nodes[address(node_id)]

    async def declare(
        self, cluster_id: str = "orders", node_ids: Sequence[str] = NODES, **namespace: Any
    ) -> ClusterRef:
        """A declared and discovered cluster with an agent per node; the first node is primary."""
        for node_id in node_ids:
            role = ShardRole.PRIMARY if node_id == node_ids[0] else ShardRole.SECONDARY
            self.agents.add(MemoryNode(node_id=node_id, cluster_id=cluster_id, shards=(shard(role),)), address(node_id))
        spec = ClusterSpec(namespace="prod", cluster_id=cluster_id, version=1)
        if await self.store.get(Namespace, "prod") is None:
            await self.save(Namespace(name="prod", version=1, **namespace))
        await self.save(spec, discovery(node_ids, cluster_id=cluster_id))
        return spec.ref

    async def save(self, *records: Any) -> None:
        """Put records into the store, whatever was there."""
        await self.store.commit(Change(puts=records), now=self.clock())

    async def order(self, action: Action) -> Action:
        """Store a new action as `apply` does."""
        first = begun(action.evolve(created_at=self.clock()), now=self.clock(), who="ann")
        await self.store.commit(Change(swaps=(first,)), now=self.clock())
        return first

    def tell(self, **clusters: Sequence[str]) -> None:
        """From now on the source tells of these clusters and nodes."""
        told = [
            DiscoveredCluster(cluster_id=cluster_id, nodes=tuple(found(node_id) for node_id in node_ids))
            for cluster_id, node_ids in clusters.items()
        ]
        self.sources.tell(SOURCE, told)

    # -- what became of it ----------------------------------------------------------------------------------------------

    async def action(self, action: Action) -> Action:
        """An action as it is now."""
        return await self._there(Action, action.key)

    async def state(self, ref: ClusterRef) -> ClusterState:
        """A cluster's state as it is now."""
        return await self._there(ClusterState, ref.key)

    async def node_record(self, ref: ClusterRef, node_id: str) -> Node:
        """A node's record as it is now."""
        return await self._there(Node, ref.node(node_id).key)

    async def discovery(self, ref: ClusterRef) -> Discovery:
        """A cluster's discovery record as it is now."""
        return await self._there(Discovery, ref.key)

    async def action_state(self, action: Action) -> ActionState:
        """Where an action stands."""
        return (await self.action(action)).state

    @property
    def events(self) -> list[Event]:
        """Everything that was told, in the order of writing."""
        return list(self.store.log)

    def types(self, since: int = 0) -> list[str]:
        """The types of events from the given one on."""
        return [event.type for event in self.store.log[since:]]

    async def _there(self, type_: Any, key: str) -> Any:
        record = await self.store.get(type_, key)
        assert record is not None, f"there is no {type_.__name__} {key}"
        return record


def seconds(amount: float) -> timedelta:
    """So many."""
    return timedelta(seconds=amount)
