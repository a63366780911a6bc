"""Stored records that cannot be read keep nobody from being discovered, deleted or emptied."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.errors import RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.event import EventType
from blocks.models.gate import Gate, GateKind
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.node import Node
from blocks.models.rolling import Rolling, RollingState
from blocks.models.source import HttpDiscovery, Source, SourceReport
from doubles.actions import make_action
from doubles.rollings import make_rolling
from doubles.views import NOW, REF, discovery, make_node
from doubles.world import SOURCE, World
from flows.delete import delete_cluster, delete_namespace, delete_source
from flows.discover import discover_source
from flows.emptying import empty_namespaces
from flows.steps import Steps
from tasks.decide.remove import Order, Removed

ANN = Order(by="ann", reason="retired")
FORCED = Order(by="ann", reason="burnt down", force=True)
SECRET = "replicore-discoverysettings-prod-inventory-headers-x-2e47b3b2-33ef6b75c102"
SPEC = ClusterSpec(namespace="prod", cluster_id="orders", version=1)
NODE = make_node("n1")


async def _discover(world: World) -> SourceReport:
    return await discover_source(await world.worker(), world.store, world.sources, SOURCE.ref, world.clock, Steps())


async def _delete(world: World, order: Order = ANN) -> Removed:
    return await delete_cluster(await world.worker(), world.store, REF, order, world.clock, Steps())


async def _delete_source(world: World) -> Removed:
    return await delete_source(await world.worker(), world.store, world.secrets, SOURCE.ref, ANN, world.clock, Steps())


async def _known(world: World) -> None:
    """A source, and the two clusters that it tells of."""
    await world.save(Namespace(name="prod", version=1), SOURCE)
    world.tell(orders=["n1"], zoo=["z1"])
    await _discover(world)


async def test_discovery_goes_on_beside_a_broken_cluster(world: World) -> None:
    """New ones are saved; of the broken one nothing is concluded, whether it is told of or not, and the report says so."""
    await _known(world)
    world.store.broken = {(Discovery, "prod/orders"), (ClusterSpec, "prod/orders")}
    told = len(world.events)
    world.tell(orders=["n2"], zoo=["z1"], new=["x1"])
    first = await _discover(world)
    world.tell(zoo=["z1"], new=["x1"])
    second = await _discover(world)

    assert (("new",), (), 0) == (first.new_clusters, second.missing_clusters, second.absent)
    assert [[("prod/orders", "orders", True)]] * 2 == [
        [(one.what, one.cluster_id, "cannot be read" in one.reason) for one in report.rejected]
        for report in (first, second)
    ]
    assert [EventType.CLUSTER_SPEC_SYNTHESISED, EventType.CLUSTER_DISCOVERED] == world.types(told)


async def test_an_empty_answer_when_all_that_was_told_is_broken(world: World) -> None:
    """It is no reason to believe it."""
    await _known(world)
    world.store.broken = {(Discovery, "prod/orders"), (Discovery, "prod/zoo")}
    world.tell()

    assert "empty answer after one with 2 clusters" in str((await _discover(world)).error)


async def test_a_broken_cluster_of_another_source(world: World) -> None:
    """Whose it is cannot be known: it is left alone."""
    await world.save(Namespace(name="prod", version=1), SOURCE, discovery(source="prod/other"))
    world.store.broken = {(Discovery, "prod/orders")}
    world.tell(orders=["n1"], zoo=["z1"])
    report = await _discover(world)

    assert (("zoo",), ["prod/orders"]) == (report.new_clusters, [one.what for one in report.rejected])


@pytest.mark.parametrize("type_", [Source, Namespace])
async def test_a_run_that_cannot_begin_is_in_the_report(world: World, type_: Any) -> None:
    """The last report is not the success before; it is told once, and so is that it works again."""
    await _known(world)
    told = len(world.events)
    world.store.broken = {(type_, SOURCE.key), (type_, "prod")}
    failed = await _discover(world)
    await _discover(world)
    kept = await world.store.get(SourceReport, SOURCE.key)
    world.store.broken = set()
    good = await _discover(world)

    assert ("cannot be read" in str(failed.error), 2, failed) == (True, failed.clusters, kept)
    assert None is good.error
    assert [EventType.SOURCE_FAILED, EventType.SOURCE_RECOVERED] == world.types(told)


async def test_a_broken_report_is_replaced(world: World) -> None:
    """It keeps nobody from asking."""
    await _known(world)
    world.store.broken = {(SourceReport, SOURCE.key)}

    assert None is (await _discover(world)).error


@pytest.mark.parametrize("type_", [ClusterSpec, Discovery, ClusterState, Node, Rolling])
async def test_a_cluster_with_a_broken_record_can_be_deleted(world: World, type_: Any) -> None:
    """All of it goes, what cannot be read by its key; who deletes it is told so, and the event counts it."""
    state = ClusterState(namespace="prod", cluster_id="orders", seen_at=NOW)
    rolling = make_rolling(state=RollingState.PAUSED)
    await world.save(Namespace(name="prod", version=1), SPEC, discovery(), state, NODE, rolling)
    keys = {Node: NODE.key, Rolling: rolling.key}
    world.store.broken = {(type_, keys.get(type_, REF.key))}
    removed = await _delete(world)
    world.store.broken = set()

    assert [] == [one for kind in (ClusterSpec, Discovery, ClusterState, Node) for one in await world.store.find(kind)]
    assert ("1 records of it could not be read: they are removed, too", 1) == (
        removed.notes[-1],
        world.events[-1].data["unreadable"],
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"state": ActionState.RUNNING},
        {"state": ActionState.CANCELLED, "left_running": True},
        {"state": ActionState.RUNNING, "left_running": True},
    ],
    ids=["running", "cancelled and left running", "damaged"],
)
async def test_an_action_that_cannot_be_read_may_be_under_way(world: World, fields: dict[str, Any]) -> None:
    """Its cluster is deleted by force only; then it goes with it."""
    action = make_action(**fields)
    await world.save(Namespace(name="prod", version=1), SPEC, action)
    world.store.broken = {action.key}
    with pytest.raises(RefusedError, match=f"its actions {action.key} cannot be read"):
        await _delete(world)
    with pytest.raises(RefusedError, match="cannot be read"):
        await delete_namespace(world.store, "prod", ANN, world.clock, Steps())
    left = await world.store.existing(Action, {action.key})
    await _delete(world, FORCED)

    assert ({action.key}, set()) == (left, await world.store.existing(Action, {action.key}))


async def test_a_rolling_action_that_cannot_be_read_goes_nowhere(world: World) -> None:
    """Nobody can take its next step: it is in the way of no namespace, nor of one cluster."""
    rolling = make_rolling()
    await world.save(Namespace(name="prod", version=1), SPEC, rolling)
    world.store.broken = {(Rolling, rolling.key)}
    await delete_namespace(world.store, "prod", ANN, world.clock, Steps())
    await _delete(world)

    assert set() == await world.store.existing(Rolling, {rolling.key})


async def test_a_source_with_a_broken_cluster_can_be_deleted(world: World) -> None:
    """The others are marked missing, that one stays as it is, and the person is told so."""
    await _known(world)
    world.store.broken = {(Discovery, "prod/orders")}
    removed = await _delete_source(world)

    assert (1, "1 more cannot be read") == (removed.clusters_missing, removed.notes[-1][:21])
    assert None is await world.store.get(Source, SOURCE.key)


async def test_a_source_that_cannot_be_read_can_be_deleted(world: World) -> None:
    """By its key, with its report, its clusters marked missing, and an event."""
    await _known(world)
    world.store.broken = {(Source, SOURCE.key)}
    removed = await _delete_source(world)

    assert (2, "its record could not be read") == (removed.clusters_missing, removed.notes[-1][:28])
    assert (None, None) == (
        await world.store.get(Source, SOURCE.key),
        await world.store.get(SourceReport, SOURCE.key),
    )
    assert EventType.SOURCE_DELETED == world.types()[-1]


async def test_a_secret_that_a_broken_object_may_name_is_kept(world: World) -> None:
    """What else names it cannot be known."""
    http = HttpDiscovery.model_validate({"url": "http://x/", "headers": {"X": {"secret": SECRET}}})
    world.secrets.texts[SECRET] = "hunter2"
    await world.save(Namespace(name="prod", version=1), SOURCE.evolve(http=http), SOURCE.evolve(name="other"))
    world.store.broken = {(Source, "prod/other")}
    removed = await _delete_source(world)

    assert ((), [SECRET]) == (removed.secrets_forgotten, list(world.secrets.texts))


async def test_a_namespace_with_broken_records_is_emptied(world: World) -> None:
    """Whatever cannot be read in it goes with it; in the end it is gone."""
    await _known(world)
    await world.save(NODE, SOURCE.evolve(name="other"))
    gate = Gate(
        name="freeze-prod",
        kind=GateKind.FREEZE,
        namespace="prod",
        owner="ann",
        reason="x",
        created_at=NOW,
        created_by="ann",
    )
    await world.save(gate)
    world.store.broken = {
        (Discovery, "prod/orders"),
        (ClusterSpec, "prod/zoo"),
        NODE.key,
        "prod/other",
        gate.key,
    }
    coordinator = await world.worker()
    await delete_namespace(world.store, "prod", ANN, world.clock, Steps())
    for _ in range(4):
        await empty_namespaces(coordinator, world.store, world.secrets, world.clock, Steps())
    namespace = await world.store.get(Namespace, "prod")
    world.store.broken = set()

    assert NamespaceStatus.DELETED is namespace.status
    assert [] == [one for kind in (ClusterSpec, Discovery, Node, Source, Gate) for one in await world.store.find(kind)]


async def test_a_broken_namespace_keeps_no_other_from_going(world: World) -> None:
    """Nor a broken ClusterSpec in another one."""
    await world.save(
        Namespace(name="prod", version=1), Namespace(name="other", version=1), SPEC.evolve(namespace="other")
    )
    world.store.broken = {"other", "other/orders"}
    coordinator = await world.worker()
    await delete_namespace(world.store, "prod", ANN, world.clock, Steps())
    await empty_namespaces(coordinator, world.store, world.secrets, world.clock, Steps())

    assert NamespaceStatus.DELETED is (await world.store.get(Namespace, "prod")).status
