"""Actions on whole clusters through the cycle: started one at a time, brought further, ended whatever their handlers do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.errors import PlatformError, PlatformRefusedError
from blocks.models.action import Action, ActionState
from blocks.models.base import Json
from blocks.models.cluster import ClusterSpec
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.platform import PlatformRef, Provisioned
from blocks.sources.webhooks_protocol import Answered
from doubles.eventually import until
from doubles.on_cluster import CORE, ordered, turned, with_handler
from doubles.platformed import DEFINITION, PLATFORM, declared_with_platform, now_tells
from doubles.views import NODES
from doubles.world import World
from flows.cycle import Mode, cycle
from tasks.cluster_actions.base import Scene, Step

S = ActionState
REMOTE: Json = {"remote": {"url": "http://remote.test/do", "timeout": 4}}


@pytest.fixture
async def ref(world: World) -> ClusterRef:
    """A healthy cluster that its platform could extend."""
    return await declared_with_platform(world)


def told(world: World, action: Action) -> list[tuple[str, str]]:
    """The events of an action: type and state."""
    return [
        (event.type.split(".")[-2], str(event.data["state"]))
        for event in world.events
        if event.data.get("action_id") == action.action_id
    ]


# -- what handlers do ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "args", "state", "payload", "error"),
    [
        ("debug.success", None, S.DONE, None, None),
        ("test.success", None, S.DONE, None, None),
        ("debug.fail", None, S.FAILED, None, "it always fails"),
        ("test.fail", None, S.FAILED, None, "it always fails"),
        ("debug.ping", {"a": [1, None]}, S.DONE, {"a": [1, None]}, None),
    ],
)
async def test_those_that_end_at_once(
    world: World, ref: ClusterRef, kind: str, args: Json, state: S, payload: Json, error: str | None
) -> None:
    """Begun and ended in one cycle, with when and why; told once."""
    action = await ordered(world, kind, args)
    after = await turned(world, ref, action)

    assert (state, payload, error) == (after.state, after.payload, after.error)
    assert [S.PENDING_SCHEDULE, S.RUNNING, state] == [step.after for step in after.history]
    assert after.scheduled_at == after.finished_at
    assert [("finished", state.value)] == told(world, action)


async def test_counting(world: World, ref: ClusterRef) -> None:
    """Step by step, each told; running it is exclusive: a second one waits for its end."""
    first = await ordered(world, "debug.counting", {"count": 3})
    second = await ordered(world, "test.loop", {"target": 2}, 2)
    states = [(await turned(world, ref, one)).payload for one in (first, first, first)]
    waiting = await world.store.get(Action, second.action_id)

    assert [{"count": count, "target": 3} for count in (1, 2, 3)] == states
    assert waiting is not None
    assert S.PENDING_SCHEDULE is waiting.state
    assert [("changed", "RUNNING"), ("changed", "RUNNING"), ("finished", "DONE")] == told(world, first)
    assert S.DONE is (await turned(world, ref, second, 2)).state


async def test_one_that_is_not_approved_is_left_alone(world: World, ref: ClusterRef) -> None:
    """Whatever waits for approval neither runs nor blocks."""
    action = await ordered(world, "debug.success", state=S.PENDING_APPROVE)
    other = await ordered(world, "debug.success", number=2)

    assert S.DONE is (await turned(world, ref, other)).state
    assert S.PENDING_APPROVE is (await turned(world, ref, action)).state


async def test_an_unknown_kind_fails_alone(world: World, ref: ClusterRef) -> None:
    """Stored by a version that knew it: FAILED with the reason, and the next one goes on."""
    action = await ordered(world, "of-tomorrow")
    other = await ordered(world, "debug.success", number=2)

    assert (S.FAILED, f"there is no kind of action '{CORE}/of-tomorrow'") == (
        (after := await turned(world, ref, action)).state,
        after.error,
    )
    assert S.DONE is (await turned(world, ref, other)).state


async def test_arguments_that_no_longer_fit(world: World, ref: ClusterRef) -> None:
    """Stored before its kind wanted more: FAILED with what is wrong."""
    after = await turned(world, ref, await ordered(world, "debug.counting", {"number": 3}))

    assert S.FAILED is after.state
    assert "count: Field required" in str(after.error)


# -- time ------------------------------------------------------------------------------------------------------------------


async def test_one_that_is_late_and_not_done_fails(world: World, ref: ClusterRef) -> None:
    """By its own limit, or by that of its kind."""
    action = await ordered(world, "test.loop", {"target": 1_000}, timeout_s=5.0)
    running = await turned(world, ref, action, 2)
    late = await turned(world, ref, action, 3)
    other = await ordered(world, "test.loop", {"target": 1_000}, 2)
    await turned(world, ref, other)
    world.advance(601)

    assert (S.RUNNING, S.FAILED, "it was not done within 5 s") == (running.state, late.state, late.error)
    assert "it was not done within 600 s" == (await turned(world, ref, other)).error


async def test_one_that_is_late_and_done_is_done(world: World, ref: ClusterRef) -> None:
    """What its handler ends in this cycle counts."""
    action = await ordered(world, "debug.counting", {"count": 2})
    await turned(world, ref, action)
    world.advance(7 * 86_400)

    assert S.DONE is (await turned(world, ref, action)).state


# -- handlers that go wrong ------------------------------------------------------------------------------------------------


async def raising(scene: Scene) -> Step:
    """A mistake in the code."""
    return Step(S.DONE, payload=scene.args.nothing)


async def nonsense(scene: Scene) -> object:
    """No step."""
    del scene
    return {"state": "DONE"}


async def wrong_state(scene: Scene) -> Step:
    """A state that is not for a handler to give."""
    del scene
    return Step(S.LOST)


async def huge(scene: Scene) -> Step:
    """More than can be kept."""
    del scene
    return Step(S.DONE, payload=["x" * 1_000] * 5_000)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (raising, "AttributeError"),
        (nonsense, "its handler gave back a dict"),
        (wrong_state, "its handler said LOST"),
        (huge, "its handler said what cannot be kept"),
    ],
)
async def test_a_handler_that_goes_wrong_fails_its_action(
    world: World, ref: ClusterRef, handler: Callable[[Scene], Awaitable[Any]], reason: str
) -> None:
    """Never the cycle: nodes are looked at, the report is good, the next action has its turn."""
    action = await ordered(world, "bad")
    after = await turned(world, ref, action, turn=with_handler(await world.turn(), handler))

    assert S.FAILED is after.state
    assert reason in str(after.error)
    assert [] == await (await world.worker("other")).holders(ClaimKind.LOCK)


async def test_a_handler_that_hangs_is_ended(world: World, ref: ClusterRef) -> None:
    """After its deadline it counts as gone wrong."""

    async def hanging(scene: Scene) -> Step:
        del scene
        await asyncio.Event().wait()
        return Step(S.DONE)

    turn = replace(with_handler(await world.turn(), hanging), step_s=0.02)
    after = await turned(world, ref, await ordered(world, "bad"), turn=turn)

    assert (S.FAILED, "its handler did not come back within 0.02 s") == (after.state, after.error)


async def test_a_person_who_cancels_meanwhile_wins(world: World, ref: ClusterRef) -> None:
    """Cancelled while its handler works: it stays cancelled, and the cycle says so."""
    action = await ordered(world, "bad")

    async def slow(scene: Scene) -> Step:
        del scene
        stored = await world.store.get(Action, action.action_id)
        assert stored is not None
        await world.save(stored.evolve(state=S.CANCELLED, version=stored.version + 1))
        return Step(S.DONE)

    turn = with_handler(await world.turn(), slow)
    [report] = (await cycle(turn, [ref], Mode.ORCHESTRATE)).reports

    assert S.CANCELLED is await world.action_state(action)
    assert [f"action {action.action_id}: a person changed it just now"] == list(report.notes)


# -- http ------------------------------------------------------------------------------------------------------------------


def answer(value: object, status: int = 200) -> Answered:
    """What the remote says."""
    return Answered(status, value if isinstance(value, str) else orjson.dumps(value).decode())


@pytest.mark.parametrize(
    ("said", "state", "payload", "error"),
    [
        (answer({"state": "DONE", "payload": {"n": 1}}), S.DONE, {"n": 1}, None),
        (answer({"state": "RUNNING", "payload": 5}), S.RUNNING, 5, None),
        (answer({"state": "PENDING_SCHEDULE"}), S.RUNNING, None, None),
        (answer({}), S.RUNNING, None, None),
        (Answered(204), S.RUNNING, None, None),
        (answer({"state": "FAILED", "payload_error": {"info": {"message": "no room"}}}), S.FAILED, None, "no room"),
        (answer({"state": "PENDING_APPROVE"}), S.FAILED, None, "a state that there is not"),
        (answer("hello"), S.FAILED, {"response_body": "hello", "response_status": 200}, "no JSON object"),
        (answer({"why": "bad"}, 400), S.FAILED, {"payload": {"why": "bad"}, "response_status": 400}, "HTTP 400"),
        (Answered(200, unusable="too large"), S.FAILED, {"response_status": 200}, "too large"),
        (answer("oops", 503), S.FAILED, {"response_body": "oops", "response_status": 503}, "HTTP 503"),
    ],
)
async def test_what_a_remote_says(
    world: World, ref: ClusterRef, said: Answered, state: S, payload: Json, error: str | None
) -> None:
    """The original's protocol: state, payload and error stay, change, or end it."""
    world.outside.answers = [said]
    after = await turned(world, ref, await ordered(world, "http", REMOTE))

    assert state is after.state
    assert payload is None or payload == after.payload
    assert (after.error is None) if error is None else error in str(after.error)


async def test_a_remote_is_told_everything(world: World, ref: ClusterRef) -> None:
    """The record as the original has it, the limit of the action itself, the fence, and a key for each step."""
    world.outside.answers = [Answered(204), Answered(204), answer({"state": "DONE"})]
    action = await ordered(world, "http", REMOTE)
    after = await turned(world, ref, action, 3)
    posted = world.outside.posted

    assert S.DONE is after.state
    assert [f"{action.action_id}:{step}" for step in range(3)] == [call.idempotency_key for call in posted]
    assert ("http://remote.test/do", 4.0) == (str(posted[0].url), posted[0].within_s)
    record = posted[0].body
    assert isinstance(record, dict)
    assert (action.action_id, "RUNNING", "orders", "prod", REMOTE) == tuple(
        record[name] for name in ("action_id", "state", "cluster_id", "ns_id", "args")
    )
    assert all(call.fence.count(":") == 1 for call in posted)


async def test_a_remote_that_is_away_is_asked_again_with_the_same_key(world: World, ref: ClusterRef) -> None:
    """It may have been done all the same: the key is the same until there was an answer; the wait grows."""
    world.outside.answers = [Answered(unreachable="connection refused"), answer({"state": "DONE"})]
    action = await ordered(world, "http", REMOTE)
    waiting = await turned(world, ref, action)
    world.advance(10)
    after = await turned(world, ref, action)

    assert (S.RUNNING, "connection refused", 1) == (waiting.state, waiting.error, waiting.attempts)
    assert waiting.not_before is not None
    assert (S.DONE, None) == (after.state, after.error)
    assert 1 == len({call.idempotency_key for call in world.outside.posted})
    assert 2 == len(world.outside.posted)


async def test_a_remote_that_stays_away_ends_with_its_time(world: World, ref: ClusterRef) -> None:
    """FAILED with the last error."""
    world.outside.answers = [Answered(unreachable="connection refused")]
    action = await ordered(world, "http", REMOTE, timeout_s=20.0)
    after = await turned(world, ref, action, 15)

    assert (S.FAILED, "it was not done within 20 s; the last error: connection refused") == (after.state, after.error)


async def test_a_worker_that_dies_while_it_asks(world: World, ref: ClusterRef) -> None:
    """The next holder asks again with the same key."""
    action = await ordered(world, "http", REMOTE)
    world.outside.hangs = asyncio.Event()
    dying = asyncio.create_task(cycle(await world.turn("dying"), [ref], Mode.ORCHESTRATE))
    await until(lambda: bool(world.outside.posted))
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    world.outside.hangs = None
    world.outside.answers = [answer({"state": "DONE"})]

    assert S.DONE is (await turned(world, ref, action)).state
    assert [f"{action.action_id}:0"] * 2 == [call.idempotency_key for call in world.outside.posted]


# -- platforms -------------------------------------------------------------------------------------------------------------

WANTED: dict[str, Json] = {"request": {"node_group_id": "data", "count": 2}, "stable_after": 10}


async def test_provisioning_waits_until_the_nodes_stay(world: World, ref: ClusterRef) -> None:
    """Asked once; done when all are told of, and have been for so long without a change."""
    world.outside.made = [Provisioned(count=2, node_ids=("n4", "n5"))]
    action = await ordered(world, "platform.provision", WANTED)
    await turned(world, ref, action)
    await now_tells(world, ref, *NODES, "n4")
    one = await turned(world, ref, action, 8)
    await now_tells(world, ref, *NODES, "n4", "n5")
    both = await turned(world, ref, action, 4)
    after = await turned(world, ref, action, 3)

    assert [("orders", "data", 2)] == world.outside.provisioned
    assert [S.RUNNING, S.RUNNING, S.DONE] == [one.state, both.state, after.state]
    assert isinstance(after.payload, dict)
    assert ["n4", "n5"] == after.payload["candidate_nodes"]


async def test_a_platform_is_not_asked_twice(world: World, ref: ClusterRef) -> None:
    """Where it is not known whether it was asked, what it makes shows, or its time runs out; there is never twice as much."""
    world.outside.made = [PlatformError("no answer; it may be done all the same", maybe_done=True)]
    action = await ordered(world, "platform.provision", {**WANTED, "stable_after": 0})
    doubt = await turned(world, ref, action, 3)
    await now_tells(world, ref, *NODES, "n4", "n5")

    assert (S.RUNNING, 1) == (doubt.state, len(world.outside.provisioned))
    assert S.DONE is (await turned(world, ref, action)).state
    assert 1 == len(world.outside.provisioned)


@pytest.mark.parametrize(
    ("made", "asked", "state"),
    [
        (PlatformRefusedError("no such group"), 1, S.FAILED),
        (PlatformError("connection refused", maybe_done=False), 2, S.RUNNING),
    ],
)
async def test_what_a_platform_refuses_and_what_it_never_heard(
    world: World, ref: ClusterRef, made: Exception, asked: int, state: S
) -> None:
    """Refused is final; not arrived is tried again."""
    world.outside.made = [made]
    action = await ordered(world, "platform.provision", WANTED)
    after = await turned(world, ref, action, 4)

    assert (state, str(made)) == (after.state, after.error)
    assert asked <= len(world.outside.provisioned) <= 4


async def test_provisioning_without_a_platform(world: World) -> None:
    """A cluster that declares none: FAILED, and says what is missing."""
    ref = await world.declare()
    after = await turned(world, ref, await ordered(world, "platform.provision", WANTED))

    assert (
        S.FAILED,
        "the cluster's ClusterSpec declares no definition of what it is made of: apply one with spec.declaration.definition",
    ) == (
        after.state,
        after.error,
    )


async def test_nodes_of_a_cluster_that_is_defined_in_the_arguments(world: World, ref: ClusterRef) -> None:
    """The transitional kind: asked once, and that is all."""
    args: Json = {
        "platform_ref": {"name": "metal"},
        "cluster": DEFINITION.model_dump(mode="json"),
        "provision": {"node_group_id": "data", "count": 1},
    }
    after = await turned(world, ref, await ordered(world, "platform.replicante.io/node.provision", args))

    assert (S.DONE, {"count": 1, "node_ids": []}) == (after.state, after.payload)


@pytest.mark.parametrize("kind", ["platform.provision", "platform.deprovision"])
@pytest.mark.parametrize(
    ("enabled", "status", "reason"),
    [
        (False, NamespaceStatus.ACTIVE, "Platform hw/metal is switched off"),
        (True, NamespaceStatus.OBSERVED, "namespace hw of Platform hw/metal is Observed"),
        (True, NamespaceStatus.INACTIVE, "namespace hw of Platform hw/metal is Inactive"),
        (True, NamespaceStatus.DELETING, "namespace hw of Platform hw/metal is Deleting"),
    ],
)
async def test_a_platform_that_is_not_to_be_used(
    world: World, ref: ClusterRef, kind: str, enabled: bool, status: NamespaceStatus, reason: str
) -> None:
    """Switched off, or in a namespace in which nothing is done: it is not asked, whoever names it."""
    spec = await world.store.get(ClusterSpec, ref.key)
    assert spec is not None
    named = spec.evolve(platform=PlatformRef(ns_id="hw", name="metal"), version=spec.version + 1)
    await world.save(
        Namespace(name="hw", status=status, version=1),
        PLATFORM.evolve(namespace="hw", enabled=enabled, version=1),
        named,
    )
    args = WANTED if kind == "platform.provision" else {"node_id": "n3"}
    after = await turned(world, ref, await ordered(world, kind, args))

    assert (S.FAILED, [], []) == (after.state, world.outside.provisioned, world.outside.deprovisioned)
    assert reason in str(after.error)


async def test_nodes_of_another_cluster_are_not_made(world: World, ref: ClusterRef) -> None:
    """Under this cluster's lock and gates there is no acting on another one."""
    args: Json = {
        "platform_ref": {"name": "metal"},
        "cluster": DEFINITION.evolve(cluster_id="payments").model_dump(mode="json"),
        "provision": {"node_group_id": "data", "count": 1},
    }
    after = await turned(world, ref, await ordered(world, "platform.replicante.io/node.provision", args))

    assert (S.FAILED, []) == (after.state, world.outside.provisioned)
