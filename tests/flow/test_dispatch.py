from __future__ import annotations

import pytest

from blocks.agents.protocol import Proof, Target
from blocks.coordinator.protocol import Claim, ClaimKind
from blocks.errors import DependencyUnavailableError, FencedError, LockLostError
from blocks.models.action import Action, ActionState
from blocks.models.ids import ClusterRef
from blocks.models.sent import Sent
from doubles.actions import make_action
from doubles.agents import MemoryAgents, Mishap, Taken
from doubles.coordinator import MemoryCoordinator
from doubles.world import World
from flows.cycle import Mode, cycle
from flows.steps import Turn
from tasks.dispatch import Dispatched, dispatch

S = ActionState


class Scene:
    """A cluster whose lock one process holds, with approved actions to send."""

    def __init__(self, world: World, turn: Turn, ref: ClusterRef, claim: Claim, chosen: list[Action]) -> None:
        self.world, self.turn, self.ref, self.claim, self.chosen = world, turn, ref, claim, chosen
        self.agents = world.agents

    @property
    def coordinator(self) -> MemoryCoordinator:
        """The process that holds the lock."""
        assert isinstance(self.turn.coordinator, MemoryCoordinator)
        return self.turn.coordinator

    async def dispatch(self) -> Dispatched:
        """Send what was chosen."""
        view = (await self.turn.store.views([self.ref]))[self.ref.key]
        return await dispatch.fn(
            self.agents, self.coordinator, self.turn.store, view, self.claim, self.chosen, self.world.clock
        )


@pytest.fixture
async def scene(world: World) -> Scene:
    """A seen cluster, its lock, and one approved action for each of two nodes."""
    ref = await world.declare()
    turn = await world.turn()
    await cycle(turn, [ref], Mode.OBSERVE)
    claim = await turn.coordinator.take(ClaimKind.LOCK, ref.key, "test")
    chosen = [await world.order(make_action(1)), await world.order(make_action(2, node_id="n2"))]
    return Scene(world, turn, ref, claim, chosen)


async def _states(scene: Scene) -> list[ActionState]:
    return [await scene.world.action_state(action) for action in scene.chosen]


async def test_all_nodes_at_once(scene: Scene) -> None:
    """Each node gets its action, both are NEW, both intents are saved."""
    done = await scene.dispatch()

    assert (2, 0, [S.NEW, S.NEW]) == (done.sent, done.failed, await _states(scene))
    assert [True, True] == [(await scene.world.action(action)).intent is not None for action in scene.chosen]


async def test_intent_is_stored_before_anything_leaves(scene: Scene) -> None:
    """When the request arrives the store already knows of it, under the lock's fence."""
    seen: list[str | None] = []

    class Looking(MemoryAgents):
        async def send(
            self, target: Target, action: Action, fence: str, budget_s: float, *, proof: Proof | None = None
        ) -> Sent:
            stored = (await scene.world.action(action)).intent
            seen.append(stored.fence if stored is not None else None)
            return await super().send(target, action, fence, budget_s, proof=proof)

    scene.agents = Looking(scene.agents.nodes)
    await scene.dispatch()

    assert [scene.claim.fence] * 2 == seen


async def test_an_intent_that_cannot_be_saved_sends_nothing(scene: Scene) -> None:
    """Store gone: no request leaves."""
    view = (await scene.turn.store.views([scene.ref]))[scene.ref.key]
    scene.world.store.down = True
    with pytest.raises(DependencyUnavailableError):
        await dispatch.fn(
            scene.agents, scene.coordinator, scene.turn.store, view, scene.claim, scene.chosen, scene.world.clock
        )

    assert [] == scene.agents.sent


async def test_a_lost_answer_of_the_store_sends_nothing(scene: Scene) -> None:
    """Whether the intent was saved is unknown: nothing leaves, the next cycle asks the agent first."""
    scene.world.store.lost_answers.add("commit")
    with pytest.raises(DependencyUnavailableError):
        await scene.dispatch()

    assert [] == scene.agents.sent


@pytest.mark.parametrize("how", ["suspended", "expired", "given back", "nearly over"])
async def test_without_a_provable_lock_nothing_is_sent(scene: Scene, how: str) -> None:
    """Connection in doubt, session gone, lock given back or too little of it left: nothing is saved, nothing sent."""
    match how:
        case "suspended":
            scene.coordinator.suspend()
        case "expired":
            scene.world.zookeeper.expire(scene.coordinator)
        case "given back":
            await scene.coordinator.give_back([scene.claim])
        case _:
            scene.coordinator.pause()
            scene.world.advance(6)
            scene.coordinator._is_paused = False
    with pytest.raises(LockLostError, match="nothing was sent"):
        await scene.dispatch()

    assert ([S.PENDING_SCHEDULE] * 2, []) == (await _states(scene), scene.agents.sent)
    assert [1, 1] == [(await scene.world.action(action)).version for action in scene.chosen]


async def test_a_process_that_slept_after_its_intent_sends_nothing(scene: Scene) -> None:
    """Paused between intent and request: by its own clock the lock is no longer provable, so the request stays home."""
    commit = scene.world.store.commit

    class Sleepy(type(scene.world.store)):  # type: ignore[misc]
        async def commit(self, *args: object, **kwargs: object) -> object:
            events = await commit(*args, **kwargs)  # type: ignore[arg-type]
            if not scene.coordinator._is_paused:
                scene.coordinator.pause()
                scene.world.advance(8)
            return events

    store = Sleepy()
    store.__dict__ = scene.world.store.__dict__
    view = (await store.views([scene.ref]))[scene.ref.key]
    done = await dispatch.fn(scene.agents, scene.coordinator, store, view, scene.claim, scene.chosen, scene.world.clock)

    assert ([], 0, 2) == (scene.agents.sent, done.sent, done.failed)
    assert [None, None] == [(await scene.world.action(action)).intent for action in scene.chosen]


async def test_an_intent_that_took_too_long_to_save_is_not_followed(scene: Scene) -> None:
    """Lock still ours, yet the request would outlast what the intent promised: it is not sent, and tried again later."""

    class Slow(type(scene.world.store)):  # type: ignore[misc]
        async def commit(self, *args: object, **kwargs: object) -> object:
            events = await super().commit(*args, **kwargs)
            scene.world.advance(9)
            return events

    store = Slow()
    store.__dict__ = scene.world.store.__dict__
    view = (await store.views([scene.ref]))[scene.ref.key]
    done = await dispatch.fn(scene.agents, scene.coordinator, store, view, scene.claim, scene.chosen, scene.world.clock)

    assert ([], 0, 2) == (scene.agents.sent, done.sent, done.failed)


async def test_an_agent_that_remembers_a_newer_fence(scene: Scene) -> None:
    """While the lock is ours, an agent that refuses our fence fails that action alone; the other node's is sent."""
    scene.world.node("n1").fence = (1, 10_000)
    done = await scene.dispatch()
    stored = await scene.world.action(scene.chosen[0])

    assert ([S.PENDING_SCHEDULE, S.NEW], 1, 1) == (await _states(scene), done.sent, done.failed)
    assert (1, True) == (stored.attempts, "newer fencing token" in str(stored.error))


async def test_the_agent_says_that_we_are_superseded(scene: Scene) -> None:
    """An agent has seen a newer fence and the lock is no longer ours: the error says so, nothing more is written."""
    scene.world.node("n1").fence = (1, 10_000)

    class Losing(MemoryAgents):
        async def send(
            self, target: Target, action: Action, fence: str, budget_s: float, *, proof: Proof | None = None
        ) -> Sent:
            sent = await super().send(target, action, fence, budget_s, proof=proof)
            await scene.coordinator.give_back([scene.claim])
            return sent

    scene.agents = Losing(scene.agents.nodes)
    with pytest.raises(FencedError, match="newer holder"):
        await scene.dispatch()

    assert [S.PENDING_SCHEDULE] * 2 == await _states(scene)
    assert [Taken.SUPERSEDED] == [delivery.taken for delivery in scene.world.node("n1").deliveries]


async def test_refused_by_its_agent(scene: Scene) -> None:
    """A kind that the agent does not have: FAILED at once, with the agent's words; the other node's is sent."""
    scene.world.node("n1").refused_kinds.add(scene.chosen[0].kind)
    done = await scene.dispatch()

    assert ([S.FAILED, S.NEW], 1, 1) == (await _states(scene), done.sent, done.failed)
    assert "no such kind of action" in str((await scene.world.action(scene.chosen[0])).error)


@pytest.mark.parametrize(
    ("mishap", "arrived"), [(Mishap.LOST, False), (Mishap.UNANSWERED, True), (Mishap.BROKEN, False)]
)
async def test_an_answer_that_never_came(scene: Scene, mishap: Mishap, arrived: bool) -> None:
    """Nobody knows whether it arrived: the intent stays, and in the end there is exactly one effect."""
    scene.world.node("n1").mishaps.append(mishap)
    await scene.dispatch()
    unsure = await scene.world.action(scene.chosen[0])
    before = [node for node, _ in scene.agents.sent]
    await scene.coordinator.give_back([scene.claim])
    for _ in range(4):
        scene.world.advance(30)
        await cycle(scene.turn, [scene.ref], Mode.ORCHESTRATE)

    assert (S.PENDING_SCHEDULE, 1, True) == (unsure.state, unsure.attempts, unsure.intent is not None)
    assert arrived is ("n1" in before)
    assert (S.NEW, ["n1", "n2"]) == (
        await scene.world.action_state(unsure),
        sorted(node for node, _ in scene.agents.sent),
    )


async def test_a_request_on_its_way_is_waited_for(scene: Scene) -> None:
    """A second cycle right after an unanswered request sends nothing, also when the agent does not have it yet."""
    scene.world.node("n1").mishaps.append(Mishap.LOST)
    await scene.dispatch()
    await scene.coordinator.give_back([scene.claim])
    scene.world.advance(3)
    await cycle(scene.turn, [scene.ref], Mode.ORCHESTRATE)

    assert 0 == len(scene.world.node("n1").deliveries)


async def test_an_agent_that_refuses_connections_ends_in_failed(scene: Scene) -> None:
    """Approved and never deliverable: FAILED after so many attempts, each told, none sent twice."""
    scene.world.node("n1").actions_on = False
    await scene.coordinator.give_back([scene.claim])
    for _ in range(12):
        scene.world.advance(301)
        await cycle(scene.turn, [scene.ref], Mode.ORCHESTRATE)
    failed = await scene.world.action(scene.chosen[0])

    assert (S.FAILED, 6, "HTTP 404: an empty body") == (failed.state, failed.attempts, failed.error)


async def test_nothing_to_send_is_nothing(scene: Scene) -> None:
    """No action, no write."""
    scene.chosen = []
    scene.coordinator.suspend()
    told = len(scene.world.events)

    assert Dispatched() == await scene.dispatch()
    assert told == len(scene.world.events)


async def test_cancelled_while_it_was_sent(scene: Scene) -> None:
    """A person cancels while the request is under way: the cancel stands, there is one effect at most."""

    class Cancelling(MemoryAgents):
        async def send(
            self, target: Target, action: Action, fence: str, budget_s: float, *, proof: Proof | None = None
        ) -> Sent:
            if target.node_id == "n1":
                stored = await scene.world.action(action)
                await scene.world.save(stored.evolve(state=S.CANCELLED, version=stored.version + 1))
            return await super().send(target, action, fence, budget_s, proof=proof)

    scene.agents = Cancelling(scene.agents.nodes)
    done = await scene.dispatch()
    await scene.coordinator.give_back([scene.claim])
    await cycle(scene.turn, [scene.ref], Mode.ORCHESTRATE)

    assert ("a person changed an action while it was sent; the next cycle asks its agent",) == done.notes
    assert [S.CANCELLED, S.NEW] == await _states(scene)
    assert 2 == len(scene.agents.sent)
