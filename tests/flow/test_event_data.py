"""Every type of event, as the flows make it, says what the catalogue says that it does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.errors import DependencyUnavailableError, RefusedError
from blocks.models.action import ActionState
from blocks.models.event import Event, EventType
from blocks.models.ids import ClusterRef
from blocks.models.node import NodeStatus, ShardRole
from blocks.models.request import Request, WorkKind
from blocks.models.rolling import RollingState
from blocks.models.source import DiscoveredCluster
from doubles.agents import MemoryNode
from doubles.cli import Outside
from doubles.event_data import faults
from doubles.rollings import rolled
from doubles.views import address, discovery, found, shard
from doubles.world import SOURCE, World, seconds
from flows.acknowledge import acknowledge_under_lock
from flows.cycle import Mode, cycle
from flows.degraded import Degraded, DegradedMode
from flows.delete import delete_cluster, delete_namespace, delete_source
from flows.discover import discover_source
from flows.emptying import empty_namespaces
from flows.pause import pause_until
from flows.restored import restored
from flows.steps import Steps
from tasks.apply import apply_wanted
from tasks.decide.documents import read_documents
from tasks.decide.gating import freeze_of
from tasks.decide.manifests import Asked, parse
from tasks.decide.pausing import Pausable
from tasks.decide.remove import Order
from tasks.duties import requeue_orphans
from tasks.gating import lift, place
from tasks.order import order
from tasks.order_rolling import order_rolling
from tasks.pausing import pause_turns

REF = ClusterRef(namespace="prod", cluster_id="orders")
OTHER = SOURCE.evolve(name="other")
ANN = Order(by="ann", reason="retired", force=True)
HOME = """
apiVersion: replicante.io/v0
kind: Namespace
metadata: {name: prod}
---
apiVersion: replicante.io/v0
kind: DiscoverySettings
metadata: {namespace: prod, name: inventory}
spec: {interval: 60, url: "http://inventory.test/", headers: {token: hunter2}}
---
apiVersion: replicante.io/v0
kind: ClusterSpec
metadata: {namespace: prod, name: orders}
spec: {interval: 5, labels: {env: prod}}
"""
ACTION = """
apiVersion: replicante.io/v0
kind: NodeAction
metadata: {namespace: prod, cluster: orders, node: n1, approval: required}
spec: {action: agent.replicante.io/test.success, args: {count: 3}}
"""


async def _apply(world: World, text: str) -> None:
    wanted = parse(read_documents(text), Asked(who="ann", now=world.clock(), new_id=uuid4))
    await apply_wanted.fn(world.store, wanted, "ann", world.clock())


async def _discover(world: World, **clusters: Sequence[str]) -> None:
    """Ask the source, which tells of these clusters and nodes; of none at all when it fails."""
    told = [
        DiscoveredCluster(cluster_id=name, labels={"tier": "1"}, nodes=tuple(found(node, node_class="big") for node in nodes))
        for name, nodes in clusters.items()
    ]  # fmt: skip
    world.sources.tell(SOURCE, told) if told else world.sources.fail(SOURCE, "connection refused")
    await discover_source(await world.worker(), world.store, world.sources, SOURCE.ref, world.clock, Steps())


async def _cycle(world: World) -> None:
    world.advance(60)
    await cycle(await world.turn(), [REF], Mode.ORCHESTRATE)


async def _declared(world: World) -> None:
    await _apply(world, HOME)
    await _apply(world, HOME.replace("interval: 60", "interval: 90"))


async def _discovered(world: World) -> None:
    await _discover(world, orders=["n1", "n2"], payments=["p1"])
    await _discover(world)
    await _discover(world, orders=["n1", "n2", "n3"])
    await world.save(discovery(["o1"], cluster_id="other", source=OTHER.key), OTHER)
    await _discover(world, orders=["n1", "n2", "n3"], payments=["p1"], other=["o1"])
    await _discover(world, orders=["n1", "n2", "n3"], payments=["p1"])


async def _looked_at(world: World) -> None:
    for number in ("1", "2", "3"):
        role = ShardRole.PRIMARY if number == "1" else ShardRole.SECONDARY
        node = MemoryNode(node_id=f"n{number}", shards=(shard(role, lag_s=1), shard(ShardRole.OTHER, "rs1")))
        node.addresses, node.attributes, node.store_attributes = {"client": "a:1"}, {"x": None}, {"y": 1.5}
        world.agents.add(node, address(f"n{number}"))
    await _cycle(world)
    world.node("n2").down = True
    world.node("n1").status, world.node("n1").status_text = NodeStatus.UNHEALTHY, "disk is full"
    await _cycle(world)
    world.node("n2").down = False
    world.node("n1").store_version = "7.0.1"
    world.node("n1").shards = (shard(ShardRole.SECONDARY),)
    world.node("n3").shards = (shard(ShardRole.PRIMARY),)
    await _cycle(world)
    await _discover(world, orders=["n1", "n2"], payments=["p1"])
    await _cycle(world)


async def _seen(world: World) -> None:
    world.node("n1").down = True
    for _ in range(2):  # another status is said by the second look that sees it
        await _cycle(world)
    worker = await world.worker("person")
    await acknowledge_under_lock(
        worker, world.store, REF, "NODE_UNREACHABLE", "n1", "rebooting", "ann", world.clock, Steps()
    )
    world.node("n1").down = False
    await _cycle(world)


async def _acted(world: World) -> None:
    await _apply(world, ACTION)
    (action,) = [event.data["action_id"] for event in world.events if event.type == EventType.ACTION_CREATED]
    known = str(action)
    await order.fn(world.store, known, ActionState.PENDING_SCHEDULE, "bob", "go", world.clock())
    await _cycle(world)
    world.node("n1").move(known, ActionState.RUNNING, payload={"percent": 50})
    await _cycle(world)
    world.node("n1").move(known, ActionState.FAILED, error="no disk")
    await _cycle(world)
    with pytest.raises(RefusedError):
        await order.fn(world.store, known, ActionState.CANCELLED, "bob", "stop", world.clock())


async def _rolled(world: World) -> None:
    rolling = await rolled(world, approved=False, force="disks")
    for _ in range(2):
        with contextlib.suppress(RefusedError):
            await order_rolling.fn(world.store, rolling.rolling_id, RollingState.CANCELLED, "bob", "", world.clock())


async def _gated(world: World) -> None:
    gate = freeze_of("prod/orders", "disk trouble", None, "ann", world.clock())
    await place.fn(world.store, gate, world.clock())
    await lift.fn(world.store, gate.name, "ann", "mended", world.clock())


async def _paused(world: World) -> None:
    for kind, name in ((Pausable.CLUSTER, "prod/orders"), (Pausable.SOURCE, "prod/inventory")):
        await pause_until(world.store, kind, name, world.clock() + seconds(60), "ann", "disks", world.clock(), Steps())
        await pause_turns.fn(world.store, kind, name, None, "ann", None, world.clock())


async def _broken(world: World) -> None:
    sweeper = await world.worker("sweeper")
    item = Request(kind=WorkKind.ORCHESTRATE, subject="prod/a", interval=60.0, next_at=world.clock())
    await world.store.ensure_work([item], world.clock())
    for _ in range(6):
        world.advance(60)
        await world.store.queue_due(world.clock(), 10)
        await world.store.claim_work(["orchestrate:prod/a"], "dead", world.clock())
        await requeue_orphans.fn(sweeper, world.store, world.clock())
    degraded = Degraded(world.store, world.clock, "worker-1")
    away = DependencyUnavailableError("Kafka", "kafka:9092", "no broker answers", "Is it running?")
    await degraded.enter(DegradedMode.NO_QUEUE, away)
    await degraded.leave(DegradedMode.NO_QUEUE)
    outside = Outside(store_=world.store)
    assert 0 == await asyncio.to_thread(outside.replictl, "admin", "coordinator-reset", "--reason", "rebuilt")
    aside = World()  # it freezes everything, which is told in the system's stream
    await restored(await aside.worker("keeper"), aside.store, aside.bus, aside.clock(), "ann", "disk", aside.clock)
    world.store.log += [event for event in aside.events if event.type == EventType.STORE_RESTORED]


async def _gone(world: World) -> None:
    worker = await world.worker("deleter")
    await delete_cluster(worker, world.store, REF, ANN, world.clock, Steps())
    await delete_source(worker, world.store, world.secrets, SOURCE.ref, ANN, world.clock, Steps())
    await delete_namespace(world.store, "prod", ANN, world.clock, Steps())
    for _ in range(5):
        world.advance(60)
        await empty_namespaces(worker, world.store, world.secrets, world.clock, Steps(), thorough=True)
    await delete_namespace(world.store, "prod", ANN, world.clock, Steps())


LIFE: tuple[Callable[[World], Awaitable[None]], ...] = (
    _declared, _discovered, _looked_at, _seen, _acted, _rolled, _gated, _paused, _broken, _gone
)  # fmt: skip


@pytest.fixture
async def events(world: World) -> list[Event]:
    """All that is told in the life of a fleet, from its declaration to its end."""
    for part in LIFE:
        await part(world)
    assert [] == await (await world.worker("watcher")).holders(ClaimKind.LOCK)
    return world.events


async def test_every_type_says_what_the_catalogue_says(events: list[Event]) -> None:
    """Each type is made by a flow, and there is no field that the catalogue does not name or names otherwise."""
    assert set(EventType) == {event.type for event in events}
    assert [] == faults(events)


async def test_no_secret_is_told(events: list[Event]) -> None:
    """What is masked in manifests is masked in their events."""
    assert [] == [event.type for event in events if "hunter2" in event.model_dump_json()]
