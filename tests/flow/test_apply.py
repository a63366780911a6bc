from __future__ import annotations

from uuid import uuid4

import pytest

from blocks.errors import ConflictError, InvalidInputError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec
from blocks.models.event import EventType
from blocks.models.namespace import Namespace
from blocks.models.request import WorkKind
from blocks.models.source import Source
from doubles.world import World
from tasks.apply import Applied, Effect, apply_wanted
from tasks.decide.documents import read_documents
from tasks.decide.manifests import Asked, parse

FLEET = """
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
spec: {interval: 5}
"""
ACTION = """
apiVersion: replicante.io/v0
kind: NodeAction
metadata: {namespace: prod, cluster: CLUSTER, node: NODE, approval: granted}
spec: {action: agent.replicante.io/test.success}
"""


def _action(cluster: str = "orders", node: str = "n1") -> str:
    return ACTION.replace("CLUSTER", cluster).replace("NODE", node)


async def _apply(world: World, text: str, who: str = "ann") -> tuple[Applied, ...]:
    wanted = parse(read_documents(text), Asked(who=who, now=world.clock(), new_id=uuid4))
    return await apply_wanted.fn(world.store, wanted, who, world.clock())


async def test_a_fleet_is_declared_at_once(world: World) -> None:
    """All objects stored, each an event that says who, and their work is on the timetable."""
    applied = await _apply(world, FLEET)

    assert [
        ("Namespace", "prod", Effect.CREATED),
        ("DiscoverySettings", "prod/inventory", Effect.CREATED),
        ("ClusterSpec", "prod/orders", Effect.CREATED),
    ] == [(one.kind, one.name, one.effect) for one in applied]
    assert [EventType.NAMESPACE_APPLIED, EventType.SOURCE_APPLIED, EventType.CLUSTER_SPEC_APPLIED] == world.types()
    assert {"ann"} == {event.data["who"] for event in world.events}
    assert {(WorkKind.DISCOVER, 60.0), (WorkKind.ORCHESTRATE, 5.0)} == {
        (item.kind, item.interval) for item in await world.store.list_work()
    }


async def test_the_same_again_changes_nothing(world: World) -> None:
    """Applied twice: unchanged, no version, no event."""
    await _apply(world, FLEET)
    events = len(world.events)
    applied = await _apply(world, FLEET)

    assert ({Effect.UNCHANGED}, []) == ({one.effect for one in applied}, world.types(events))
    assert 1 == (await world.store.get(Source, "prod/inventory")).version


async def test_a_change_is_told_with_before_and_after(world: World) -> None:
    """Only what differs is written; the event has both, without secrets."""
    await _apply(world, FLEET)
    events = len(world.events)
    applied = await _apply(
        world, FLEET.replace("interval: 5}", "interval: 7}").replace("hunter2", "hunter3"), who="bob"
    )
    spec = world.events[-1]

    assert [Effect.UNCHANGED, Effect.CHANGED, Effect.CHANGED] == [one.effect for one in applied]
    assert [EventType.SOURCE_APPLIED, EventType.CLUSTER_SPEC_APPLIED] == world.types(events)
    assert (5.0, 7.0, "bob") == (spec.data["before"]["interval"], spec.data["after"]["interval"], spec.data["who"])
    assert "hunter" not in "".join(event.model_dump_json() for event in world.events)
    assert "hunter3" == (await world.store.get(Source, "prod/inventory")).http.headers["token"].get_secret_value()


async def test_declaring_a_discovered_cluster_makes_it_ours(world: World) -> None:
    """A spec that was made by us because nobody had one becomes a person's."""
    await _apply(world, FLEET.partition("---")[0])
    await world.save(ClusterSpec(namespace="prod", cluster_id="orders", synthetic=True, version=1))
    await _apply(world, FLEET)
    spec = await world.store.get(ClusterSpec, "prod/orders")

    assert (False, 2, 5.0) == (spec.synthetic, spec.version, spec.interval)


async def test_an_interval_of_the_namespace_reaches_its_clusters(world: World) -> None:
    """What a namespace changes is on the timetable of what is in it at once."""
    await world.declare()
    await _apply(
        world,
        "{apiVersion: replicante.io/v0, kind: Namespace, metadata: {name: prod}, spec: {settings: {orchestrate_interval: 9}}}",
    )

    assert [9.0] == [item.interval for item in await world.store.list_work()]


async def test_an_action_is_stored_with_its_first_event(world: World) -> None:
    """Applied with approval granted: waits to be sent; what was applied names its id."""
    await world.declare()
    (applied,) = await _apply(world, _action())
    action = await world.store.get(Action, str(applied.action_id))

    assert (ActionState.PENDING_SCHEDULE, "ann", 1) == (action.state, action.approved_by, action.version)
    assert [EventType.ACTION_CREATED] == world.types()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (FLEET.partition("---")[2], "namespace 'prod' does not exist"),
        (FLEET + "---" + _action("unknown"), "there is no cluster prod/unknown; `replictl clusters`"),
    ],
)
async def test_what_refers_to_nothing_is_refused_as_a_whole(world: World, text: str, reason: str) -> None:
    """All faults are said; nothing of the set is stored."""
    with pytest.raises(InvalidInputError, match="nothing was applied") as caught:
        await _apply(world, text)

    assert reason in str(caught.value)
    assert ([], []) == (world.events, await world.store.find(Namespace))


async def test_an_action_for_an_unknown_node_is_refused(world: World) -> None:
    """The cluster is known, the node is not: said, with how to list its nodes."""
    await world.declare()
    with pytest.raises(InvalidInputError, match="cluster prod/orders has no node 'n9'; `replictl nodes prod/orders`"):
        await _apply(world, _action(node="n9") + "---" + _action())

    assert [] == await world.store.find(Action)


async def test_an_actions_id_is_used_once(world: World) -> None:
    """An action is never changed by applying its id again."""
    await world.declare()
    text = _action().replace("test.success}", "test.success, action_id: 00000000-0000-0000-0000-000000000007}")
    await _apply(world, text)
    with pytest.raises(ConflictError, match="there is an action 00000000-0000-0000-0000-000000000007 already"):
        await _apply(world, text)

    assert 1 == len(world.events)
