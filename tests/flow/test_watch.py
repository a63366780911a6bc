"""The watch: what a probe sees is looked at under the lock, by whoever owns the node, and nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from blocks.agents.client import HttpAgents
from blocks.agents.protocol import Agents
from blocks.agents.settings import AgentsSettings
from blocks.coordinator.protocol import ClaimKind
from blocks.models.cluster import ClusterSpec
from blocks.models.ids import ClusterRef
from blocks.models.node import NodeStatus, Protocol, ShardRole
from blocks.models.request import Priority, Request, WorkKind, WorkState, work_key
from doubles.coordinator import MemoryCoordinator
from doubles.eventually import until
from doubles.fleets import WIRES
from doubles.scripted_agent import ScriptedAgent
from doubles.views import NODES, address, discovery, found, shard
from doubles.world import World, seconds
from flows.cycle import Mode, cycle
from flows.turns import Lane
from flows.watch import Watch
from tasks.decide.share import owner

FAST_S = 0.05


async def _declared(world: World, interval_s: float = FAST_S) -> ClusterRef:
    ref = await world.declare()
    await world.save(ClusterSpec(namespace="prod", cluster_id="orders", probe_interval=interval_s, version=2))
    return ref


@asynccontextmanager
async def _watching(world: World, name: str = "worker-1", agents: Agents | None = None) -> AsyncIterator[Watch]:
    coordinator: MemoryCoordinator = await world.worker(name)
    await coordinator.take(ClaimKind.WORKER, name, "works")
    watch = Watch(coordinator, world.store, world.queue, agents or world.agents, world.clock)
    over = asyncio.Event()
    task = asyncio.create_task(watch.run(over))
    try:
        yield watch
    finally:
        over.set()
        await task
        await coordinator.close()


async def _cycled(world: World, ref: ClusterRef) -> None:
    """A cycle sees it, and what was asked for before is done."""
    await cycle(await world.turn(), [ref], Mode.OBSERVE)
    world.store.work.pop(work_key(WorkKind.ORCHESTRATE, ref.key), None)


def _asked(world: World, ref: ClusterRef) -> Request | None:
    item = world.store.work.get(work_key(WorkKind.ORCHESTRATE, ref.key))
    return item if item is not None and item.state is WorkState.QUEUED else None


async def _settled(watch: Watch, probes: int = 12) -> None:
    seen = watch.probes
    await until(lambda: watch.probes >= seen + probes)


async def test_unchanged_fleet_is_only_probed(world: World) -> None:
    """Probes that bring nothing new write nothing and ask for nothing."""
    ref = await _declared(world)
    events = len(world.events)
    async with _watching(world) as watch:
        await _settled(watch, 30)

    assert None is _asked(world, ref)
    assert events == len(world.events)


async def test_silent_node_is_looked_at_at_once(world: World) -> None:
    """Two misses in a row ask for an urgent cycle of the node's cluster."""
    ref = await _declared(world)
    async with _watching(world) as watch:
        await _settled(watch)
        world.node("n2").down = True
        await until(lambda: _asked(world, ref) is not None)

    asked = _asked(world, ref)
    assert asked is not None
    assert Priority.URGENT is asked.priority


async def test_a_cluster_that_cannot_be_asked_for_ends_no_watch(world: World) -> None:
    """Its work item cannot be read: the watch goes on, and other clusters are asked for as ever."""
    ref = await _declared(world)
    other = await world.declare("billing", ("b1",))
    await world.save(ClusterSpec(namespace="prod", cluster_id="billing", probe_interval=FAST_S, version=2))
    world.store.unreadable = {work_key(WorkKind.ORCHESTRATE, ref.key)}
    for one in (ref, other):
        await cycle(await world.turn(), [one], Mode.OBSERVE)
    async with _watching(world) as watch:
        await _settled(watch)
        world.node("n2").down = True
        await _settled(watch, 20)
        world.node("b1").down = True
        await until(lambda: _asked(world, other) is not None)
        asked = _asked(world, other)

    assert asked is not None
    assert Priority.URGENT is asked.priority


async def test_lost_primary_is_looked_at_at_once(world: World) -> None:
    """A role that changed is seen by the probe of shards, without waiting for the cluster's turn."""
    ref = await _declared(world)
    async with _watching(world) as watch:
        await _settled(watch, 30)
        world.node("n1").shards = (shard(ShardRole.SECONDARY),)
        await until(lambda: _asked(world, ref) is not None)

    assert None is not _asked(world, ref)


async def test_every_node_is_probed_by_one_worker(world: World) -> None:
    """Two workers share the fleet: each probes what it owns, and takes over the rest when the other is gone."""
    await _declared(world)
    keys = [f"prod/orders/{node_id}" for node_id in NODES]
    async with _watching(world, "worker-1") as one:
        async with _watching(world, "worker-2") as two:
            shared = {key for key in keys if owner(key, ["worker-1", "worker-2"]) == "worker-1"}
            await until(lambda: set(one._nodes) == shared and set(two._nodes) == set(keys) - shared)
            assert isinstance(two.coordinator, MemoryCoordinator)
            await two.coordinator.close()
        await until(lambda: set(one._nodes) == set(keys))

    assert set(keys) == set(one._nodes)


async def test_starved_worker_declares_nobody_dead(world: World) -> None:
    """A loop that stood still counts no miss of that time: healthy nodes are not looked at because we slept."""
    ref = await _declared(world)
    async with _watching(world) as watch:
        await _settled(watch)
        world.node("n1").hangs = True
        for _ in range(3):
            await until(lambda: bool(watch._running))
            time.sleep(1.2)  # noqa: ASYNC251 - the loop stands still, on purpose
            await _settled(watch, 2)
        world.node("n1").hangs = False
        await _settled(watch)

    assert None is _asked(world, ref)


async def test_paused_cluster_is_left_alone(world: World) -> None:
    """A paused cluster is not probed: what is done to it by hand calls nobody. When the pause is over it is watched again."""
    ref = await _declared(world)
    key = work_key(WorkKind.ORCHESTRATE, ref.key)
    await world.store.ensure_work([Request(kind=WorkKind.ORCHESTRATE, subject=ref.key, interval=60.0)], world.clock())
    async with _watching(world) as watch:
        await _settled(watch)
        await world.store.pause_work(key, world.clock() + seconds(600), "ann", "by hand", world.clock())
        watch.refresh()
        await until(lambda: not watch._nodes)
        world.node("n1").down = True
        paused = dict(watch._nodes), _asked(world, ref)
        world.advance(601)
        watch.refresh()
        await until(lambda: _asked(world, ref) is not None)

    assert ({}, None) == paused


async def test_switched_off(world: World) -> None:
    """A cluster with an interval of 0 is not watched, one that is gone no longer is."""
    await _declared(world, 0.0)
    async with _watching(world) as watch:
        await asyncio.sleep(0.3)
        none = watch.probes
        await world.save(ClusterSpec(namespace="prod", cluster_id="orders", probe_interval=FAST_S, version=3))
        watch.refresh()
        await until(lambda: watch.probes > 0)
        await world.save(discovery(["n3"]).evolve(version=2))
        watch.refresh()
        await until(lambda: set(watch._nodes) == {"prod/orders/n3"})

    assert 0 == none
    assert address("n3") == watch._nodes["prod/orders/n3"].target.agent_address


async def test_replaced_agent_is_not_lost_sight_of(world: World) -> None:
    """An agent that was upgraded in place is looked at at once, and what changes under its new protocol as well."""
    ref = await _declared(world)
    node = world.node("n1")
    async with ScriptedAgent(answer=WIRES[Protocol.A](node)) as agent, HttpAgents(AgentsSettings()) as agents:
        await world.save(discovery(["n1"]).evolve(nodes=(found("n1", agent_address=agent.url),)))
        async with _watching(world, agents=agents) as watch:
            await _settled(watch)
            agent.answer = WIRES[Protocol.B](node)
            await until(lambda: _asked(world, ref) is not None)
            await _settled(watch)
            world.store.work.pop(work_key(WorkKind.ORCHESTRATE, ref.key))
            node.status = NodeStatus.UNHEALTHY
            await until(lambda: _asked(world, ref) is not None)
            spoken = dict(watch._protocols)

    assert {"prod/orders/n1": Protocol.B} == spoken


async def test_change_while_nobody_watched_is_looked_at_at_once(world: World) -> None:
    """The first answers to a new owner are compared with what is stored: the same says nothing, another role is told."""
    ref = await _declared(world)
    await _cycled(world, ref)
    async with _watching(world, "worker-1") as watch:
        await until(lambda: watch.probes > 12 and not watch._first)
    same = _asked(world, ref)
    world.node("n1").shards = (shard(ShardRole.SECONDARY),)
    async with _watching(world, "worker-2"):
        await until(lambda: _asked(world, ref) is not None)

    assert None is same


async def test_shorter_interval_takes_effect_at_once(world: World) -> None:
    """Nobody waits for the end of an hour when the interval is made a twentieth of a second."""
    await _declared(world, 3_600.0)
    async with _watching(world) as watch:
        await until(lambda: bool(watch._nodes))
        await world.save(ClusterSpec(namespace="prod", cluster_id="orders", probe_interval=FAST_S, version=3))
        watch.refresh()
        await until(lambda: watch.probes >= 12)

    assert 12 <= watch.probes


async def test_one_probe_of_a_node_at_a_time(world: World) -> None:
    """A node that hangs for longer than the interval is not asked again before it has answered or failed."""
    await _declared(world)
    await world.save(discovery(["n1"]))
    world.node("n1").hangs = True
    most = 0
    async with _watching(world) as watch:
        while watch.probes < 2:
            most = max(most, len(watch._running))
            await asyncio.sleep(FAST_S / 2)

    assert 1 == most


async def test_hanging_nodes_delay_no_other(world: World) -> None:
    """However many nodes hang, one that answers is probed as before: they have places of their own, and few."""
    ref = await _declared(world)
    hanging = [f"d{number}" for number in range(40)]
    await world.declare("dead", hanging)
    await world.save(ClusterSpec(namespace="prod", cluster_id="dead", probe_interval=FAST_S, version=2))
    async with _watching(world) as watch:
        await until(lambda: len(watch._nodes) == len(NODES) + len(hanging))
        for node_id in hanging:
            world.node(node_id).hangs = True
        watch._turns.sizes = {Lane.LIVELY: 2, Lane.SILENT: 8}
        await asyncio.sleep(6.0)
        world.node("n1").status = NodeStatus.UNHEALTHY
        await until(lambda: _asked(world, ref) is not None, within_s=1.5)

    assert len(watch._nodes) > watch._turns.sizes[Lane.SILENT]
