"""The gates of a cluster go with it: one that has its name later starts without."""

from __future__ import annotations

from typing import Any

from blocks.models.cluster import ClusterSpec
from blocks.models.event import EventType
from blocks.models.gate import Gate
from blocks.models.namespace import Namespace
from doubles.views import NOW, REF, discovery
from doubles.world import World
from flows.delete import delete_cluster
from flows.steps import Steps
from tasks.decide.remove import Order

SPEC = ClusterSpec(namespace="prod", cluster_id="orders", version=1)


def _gate(name: str, **place: Any) -> Gate:
    fields = {"kind": "freeze", "owner": "ann", "reason": "x", "created_at": NOW, "created_by": "ann", "version": 1}
    return Gate.model_validate({**fields, "name": name, **place})


async def _delete(world: World) -> None:
    order = Order(by="bob", reason="retired")
    await delete_cluster(await world.worker(), world.store, REF, order, world.clock, Steps())


async def test_the_gates_of_a_cluster_are_lifted_with_it(world: World) -> None:
    """With an event each, before that of the cluster; those of others, of its namespace and of everything stay."""
    gates = [
        _gate("mine", namespace="prod", cluster_id="orders"),
        _gate("another", namespace="prod", cluster_id="zoo"),
        _gate("same-name", namespace="test", cluster_id="orders"),
        _gate("all-of-prod", namespace="prod"),
        _gate("everything"),
    ]
    await world.save(Namespace(name="prod", version=1), SPEC, discovery(), *gates)
    await _delete(world)
    lifted = world.events[0]

    assert {"another", "same-name", "all-of-prod", "everything"} == {gate.name for gate in await world.store.find(Gate)}
    assert [EventType.GATE_LIFTED, EventType.CLUSTER_DELETED] == world.types()
    assert ("mine", "bob", "cluster prod/orders is deleted", REF.key) == (
        lifted.subject,
        lifted.data["who"],
        lifted.data["why"],
        lifted.stream,
    )


async def test_a_gate_that_cannot_be_read_goes_too(world: World) -> None:
    """It would hold what has the name next."""
    mine = _gate("mine", namespace="prod", cluster_id="orders")
    await world.save(Namespace(name="prod", version=1), SPEC, mine)
    world.store.broken = {mine.key}
    await _delete(world)

    assert set() == await world.store.existing(Gate, {mine.key})
