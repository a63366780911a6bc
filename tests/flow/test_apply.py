from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from blocks.errors import InvalidInputError, NotFoundError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec
from blocks.models.event import EventType
from blocks.models.namespace import Namespace
from blocks.models.request import WorkKind
from blocks.models.source import Source
from blocks.models.submission import Applied, Effect, Submission
from doubles.world import World
from flows.apply import apply, apply_submission
from flows.submit import submit
from tasks.apply import apply_wanted, plan
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
    assert "hunter3" == (await world.store.get(Source, "prod/inventory")).http.headers["token"].text.get_secret_value()


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
    """The same order under the same id is there already; another under that id is refused."""
    await world.declare()
    text = _action().replace("test.success}", "test.success, action_id: 00000000-0000-0000-0000-000000000007}")
    await _apply(world, text)
    (again,) = await _apply(world, text)
    with pytest.raises(
        InvalidInputError, match=r"document 1: spec.action_id: there is another action of that id already"
    ):
        await _apply(world, text.replace("test.success", "test.fail"))

    assert (Effect.UNCHANGED, 1) == (again.effect, len(world.events))


async def test_a_plan_says_what_would_change_and_writes_nothing(world: World) -> None:
    """The fields that differ, secrets masked; the store and the timetable are as before."""
    await _apply(world, FLEET)
    text = FLEET.replace("interval: 5}", "interval: 7, labels: {env: prod}}").replace("hunter2", "hunter3")
    wanted = parse(read_documents(text), Asked(who="ann", now=world.clock(), new_id=uuid4))
    events, work = len(world.events), await world.store.list_work()
    made = await plan.fn(world.store, wanted, "ann")
    told = {(one.kind, each.path, each.before, each.after) for one in made.applied for each in one.differences}

    assert [Effect.UNCHANGED, Effect.CHANGED, Effect.CHANGED] == [one.effect for one in made.applied]
    assert {
        ("DiscoverySettings", "http.headers.token.text", None, None),
        ("ClusterSpec", "interval", 5.0, 7.0),
        ("ClusterSpec", "labels.env", None, "prod"),
    } - told == set()
    assert (events, work) == (len(world.events), await world.store.list_work())


async def test_what_is_handed_in_is_applied_once(world: World) -> None:
    """Off the queue: by whoever takes it, in the name of who handed it in; the outcome is kept; done again it is the same."""
    await world.declare()
    handed_in = await submit(world.store, world.queue, _action(), "ann", world.clock())
    ended = await apply_submission(world.store, world.queue, world.secrets, handed_in.key, world.clock)
    again = await apply_submission(world.store, world.queue, world.secrets, handed_in.key, world.clock)
    (action,) = await world.store.find(Action)

    assert ended == again
    assert [(Effect.CREATED, action.action_id)] == [(one.effect, one.action_id) for one in ended.applied or ()]
    assert ("ann", None) == (action.created_by, ended.error)


async def test_a_crash_between_applying_and_saying_so_makes_no_second_action(world: World) -> None:
    """The ids of a submission's actions follow from its own: what was applied before the crash is found."""
    await world.declare()
    handed_in = await submit(world.store, world.queue, _action(), "ann", world.clock())
    await apply_submission(world.store, world.queue, world.secrets, handed_in.key, world.clock)
    await world.save(handed_in)
    again = await apply_submission(world.store, world.queue, world.secrets, handed_in.key, world.clock)

    assert [Effect.UNCHANGED] == [one.effect for one in again.applied or ()]
    assert 1 == len(await world.store.find(Action))


async def test_what_cannot_be_applied_is_kept_with_the_reason(world: World) -> None:
    """Wrong by the time a worker takes it: nothing is applied, and the submission says why."""
    handed_in = await submit(world.store, world.queue, _action(), "ann", world.clock())
    ended = await apply_submission(world.store, world.queue, world.secrets, handed_in.key, world.clock)
    kept = await world.store.get(Submission, handed_in.key)

    assert "namespace 'prod' does not exist" in (ended.error or "")
    assert (ended, None) == (kept, ended.applied)


async def test_the_queue_keeps_no_secrets(world: World) -> None:
    """A secret in clear is refused where it would be stored; nothing is handed in."""
    with pytest.raises(InvalidInputError, match="what is handed in keeps none"):
        await submit(world.store, world.queue, FLEET, "ann", world.clock())

    assert [] == await world.store.find(Submission)


async def test_an_unknown_submission_is_said(world: World) -> None:
    """Nobody handed it in."""
    with pytest.raises(NotFoundError, match="there is no submission x"):
        await apply_submission(world.store, world.queue, world.secrets, "x", world.clock)


@pytest.mark.parametrize(
    "beside",
    [{"dry_run": True}, {"manifests": FLEET}, {"namespace": "a"}, {"cluster": "c"}, {"default_namespace": "d"}],
)
def test_what_was_handed_in_takes_nothing_beside_it(beside: dict[str, Any]) -> None:
    """A dry run of it would apply it: whatever would not be heard is refused before anything is connected."""
    with pytest.raises(InvalidInputError, match="with `submission` give no manifests, no dry run"):
        apply.fn(submission=uuid4(), by="ann", **beside)
