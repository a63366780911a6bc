"""Steps of actions on clusters that came to nothing: tried again while there is time, and never what was done already."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
import pytest

from blocks.errors import DependencyUnavailableError
from blocks.models.action import ActionState
from blocks.models.base import Json
from blocks.models.cluster import ClusterSpec
from blocks.models.declaration import Declaration
from blocks.models.ids import ClusterRef
from blocks.models.platform import ClusterDefinition, PlatformRef
from blocks.models.source import Source
from blocks.sources.webhooks_protocol import Answered
from doubles.on_cluster import CORE, ordered, turned, with_handler
from doubles.world import World
from flows.cycle import Mode, cycle
from tasks.cluster_actions.base import Handler, Scene, Step

S = ActionState
REMOTE: Json = {"remote": {"url": "http://remote.test/do", "timeout": 4}}
PLATFORM = Source.model_validate(
    {"namespace": "prod", "name": "metal", "platform": {"base_url": "http://metal.test/"}, "version": 1}
)
DEFINITION = ClusterDefinition(cluster_id="orders", store="mongo", store_version="8.0")
AWAY = DependencyUnavailableError("vault", "vault.test", "connection refused", "Is it up?")


@pytest.fixture
async def ref(world: World) -> ClusterRef:
    """A healthy cluster."""
    return await world.declare()


def failing(*errors: Exception, keys: list[str] | None = None) -> Handler:
    """A handler that raises these, one after the other, and is done then."""
    left = list(errors)

    async def handler(scene: Scene) -> Step:
        if keys is not None:
            keys.append(scene.key)
        if left:
            raise left.pop(0)
        return Step(S.DONE, error=None)

    return handler


# -- what a handler needs is away ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", [False, True])
async def test_what_a_handler_needs_is_away(world: World, ref: ClusterRef, effect: bool) -> None:
    """A failed try of that action, with its error and a wait; the cycle is a good one, and the same step is tried again."""
    keys: list[str] = []
    turn = with_handler(await world.turn(), failing(AWAY, AWAY, keys=keys), effect=effect)
    action = await ordered(world, "bad")
    waiting = await turned(world, ref, action, turn=turn)
    world.advance(10)
    after = await turned(world, ref, action, 2, turn=turn)
    world.advance(10)
    last = await turned(world, ref, action, turn=turn)

    assert (S.RUNNING, 1, str(AWAY)) == (waiting.state, waiting.attempts, waiting.error)
    assert (S.RUNNING, 2) == (after.state, after.attempts)
    assert (S.DONE, None) == (last.state, last.error)
    assert [f"{action.action_id}:0"] * 3 == keys


async def test_what_a_handler_needs_stays_away(world: World, ref: ClusterRef) -> None:
    """FAILED when its time is over, with the last error; others of the cluster have their turn."""
    turn = with_handler(await world.turn(), failing(*[AWAY] * 99))
    action = await ordered(world, "bad", timeout_s=20.0)
    after = await turned(world, ref, action, 12, turn=turn)
    other = await ordered(world, "debug.success", number=2)

    assert (S.FAILED, f"it was not done within 20 s; the last error: {AWAY}") == (after.state, after.error)
    assert S.DONE is (await turned(world, ref, other)).state


async def test_the_store_is_away(world: World, ref: ClusterRef) -> None:
    """That is the cycle's own matter: it is raised, and nothing is said of the action."""

    async def meanwhile(scene: Scene) -> Step:
        del scene
        world.store.down = True
        return Step(S.DONE)

    action = await ordered(world, "bad")
    with pytest.raises(DependencyUnavailableError, match="MongoDB"):
        await cycle(with_handler(await world.turn(), meanwhile), [ref], Mode.ORCHESTRATE)
    world.store.down = False

    assert action == await world.action(action)


# -- http -------------------------------------------------------------------------------------------------------------------


async def test_all_tries_of_one_step_have_one_body(world: World, ref: ClusterRef) -> None:
    """The error that the remote itself gave is told to it, that of a failed try is not: one key, the same bytes."""
    world.outside.answers = [
        Answered(200, '{"state": "RUNNING", "payload": 1, "payload_error": "half of it failed"}'),
        Answered(unreachable="connection refused"),
        Answered(unreachable="no route to host"),
        Answered(204),
    ]
    action = await ordered(world, "http", REMOTE)
    for _ in range(3):
        await turned(world, ref, action)
        world.advance(60)
    tried = await world.action(action)
    after = await turned(world, ref, action)
    first, *tries = [orjson.dumps(call.body) for call in world.outside.posted]

    assert ("no route to host", None) == (tried.error, after.error)
    assert (3, 1) == (len(tries), len(set(tries)))
    assert first != tries[0]
    assert b'"state_payload_error":{"info":{"message":"half of it failed"}}' in tries[0]


async def test_the_end_that_a_remote_tells_is_without_errors_of_ours(world: World, ref: ClusterRef) -> None:
    """FAILED and no more: what could not be reached before is not why."""
    world.outside.answers = [Answered(unreachable="connection refused"), Answered(200, '{"state": "FAILED"}')]
    action = await ordered(world, "http", REMOTE)
    await turned(world, ref, action)
    world.advance(60)
    after = await turned(world, ref, action)

    assert (S.FAILED, None) == (after.state, after.error)


# -- a handler does not come back ------------------------------------------------------------------------------------------


async def test_an_effect_that_does_not_come_back_is_in_doubt(world: World, ref: ClusterRef) -> None:
    """It may have been done: it is told so, and asked again with the same key."""
    world.outside.hangs = asyncio.Event()
    action = await ordered(world, "http", REMOTE)
    doubt = await turned(world, ref, action, turn=replace(await world.turn(), step_s=0.02))
    world.outside.hangs = None
    world.outside.answers = [Answered(200, '{"state": "DONE"}')]
    world.advance(10)
    after = await turned(world, ref, action)

    assert (S.RUNNING, 1) == (doubt.state, doubt.attempts)
    assert "its handler did not come back within 0.02 s: whether what it asked for was done is not known" == doubt.error
    assert doubt.intent is not None
    assert (S.DONE, None) == (after.state, after.error)
    assert [f"{action.action_id}:0"] * 2 == [call.idempotency_key for call in world.outside.posted]


@pytest.mark.parametrize(
    ("kind", "args", "state"),
    [
        (f"{CORE}/platform.provision", {"request": {"node_group_id": "data", "count": 1}}, S.RUNNING),
        (
            "platform.replicante.io/node.provision",
            {
                "platform_ref": {"name": "metal"},
                "cluster": DEFINITION.model_dump(mode="json"),
                "provision": {"node_group_id": "data", "count": 1},
            },
            S.FAILED,
        ),
    ],
)
async def test_a_platform_that_does_not_come_back_is_not_asked_again(
    world: World, ref: ClusterRef, kind: str, args: Json, state: S
) -> None:
    """Nodes may be made: that is in doubt at first, then the kind's own to judge, and nothing is made twice."""
    spec = ClusterSpec(namespace="prod", cluster_id="orders", version=2, platform=PlatformRef(name="metal"))
    await world.save(PLATFORM, spec.evolve(declaration=Declaration(definition=DEFINITION)))
    world.outside.hangs = asyncio.Event()
    action = await ordered(world, kind, args)
    doubt = await turned(world, ref, action, turn=replace(await world.turn(), step_s=0.02))
    world.outside.hangs = None
    after = await turned(world, ref, action, 4)

    assert (S.RUNNING, True) == (doubt.state, "is not known" in str(doubt.error))
    assert (state, True) == (after.state, "whether the platform was asked is not known" in str(after.error))
    assert 1 == len(world.outside.provisioned)


async def test_late_and_in_doubt(world: World, ref: ClusterRef) -> None:
    """Its time is over while it is not known what came of it: FAILED, and that is said."""
    world.outside.hangs = asyncio.Event()
    action = await ordered(world, "http", REMOTE, timeout_s=1.0)
    turn = replace(await world.turn(), step_s=0.02)
    await turned(world, ref, action, turn=turn)
    after = await turned(world, ref, action, turn=turn)

    assert S.FAILED is after.state
    assert "it was not done within 1 s" in str(after.error)
    assert "is not known" in str(after.error)
