"""A cluster in the hands of several workers while everything that can go wrong does, in any order, between any two steps."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from blocks.coordinator.protocol import ClaimKind
from blocks.errors import ConflictError, DependencyUnavailableError, RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.event import Event, EventType
from blocks.models.namespace import NamespaceSettings
from blocks.models.record import Change
from doubles.actions import action_id, make_action
from doubles.agents import Delivery, MemoryNode, Mishap, Taken
from doubles.process import Process, Written, settled
from doubles.views import REF
from doubles.world import World
from flows.cycle import Mode
from tasks.decide.lifecycle import TABLE, begun
from tasks.decide.sync import tell
from tasks.order import order

S = ActionState
T = TypeVar("T")
NODES = ("n1", "n2")
WORKERS_MAX = 3
ACTIONS_MAX = 6
SLOTS = st.integers(0, WORKERS_MAX - 1)
ACTIONS = st.integers(1, ACTIONS_MAX)
NODE = st.sampled_from(NODES)


@dataclass
class Books:
    """What was seen so far, to be compared with what is."""

    finished: dict[str, Action] = field(default_factory=dict)
    written: list[Written] = field(default_factory=list)
    claimed: list[tuple[int, int]] = field(default_factory=list)


class Fleet(RuleBasedStateMachine):
    """Rules are what people, workers, agents and servers may do at any moment; invariants hold after each."""

    @initialize(mishaps=st.lists(st.sampled_from(Mishap), max_size=3))
    def start(self, mishaps: list[Mishap]) -> None:
        """A declared cluster of two nodes, three workers, some approved actions, and what happens to the first requests."""
        self.loop = asyncio.new_event_loop()
        self.world = World()
        self.books = Books()
        self.hired = 0
        self.ghosts: list[Process] = []
        limits = NamespaceSettings(schedule_attempts_max=3, agent_timeout=5.0)
        self.do(self.world.declare(node_ids=NODES, settings=limits))
        self.workers = [self.do(self.hire()) for _ in range(WORKERS_MAX)]
        for number, node_id in enumerate(("n1", "n2", "n1"), start=1):
            self.ordered(number, node_id, granted=True)
        self.world.node("n1").mishaps.extend(mishaps)

    def do(self, call: Coroutine[Any, Any, T]) -> T:
        """Carry something out at once, then let all workers come to their next gate."""

        async def then_settle() -> T:
            result = await call
            await settled([*self.workers_so_far(), *self.ghosts])
            return result

        return self.loop.run_until_complete(then_settle())

    def workers_so_far(self) -> list[Process]:
        """All living workers."""
        return getattr(self, "workers", [])

    async def hire(self) -> Process:
        """A new worker."""
        self.hired += 1
        name = f"worker-{self.hired}"
        return Process(name, self.world, await self.world.worker(name), self.books.written)

    # -- workers --------------------------------------------------------------------------------------------------------

    @rule(slot=SLOTS, mode=st.sampled_from([Mode.ORCHESTRATE, Mode.ORCHESTRATE, Mode.ACT, Mode.OBSERVE]))
    def begin(self, slot: int, mode: Mode) -> None:
        """A worker takes the cluster up: also twice, also while others do."""
        worker = self.workers[slot]
        if worker.idle and not worker.paused:
            self.do(self._begin(worker, mode))

    async def _begin(self, worker: Process, mode: Mode) -> None:
        worker.begin(mode)

    @rule(slot=SLOTS, steps=st.integers(1, 9), which=st.integers(0, 3))
    def go_on(self, slot: int, steps: int, which: int) -> None:
        """A worker makes some steps."""
        worker = self.workers[slot]
        for _ in range(steps):
            if not worker.gates or worker.paused:
                return
            self.do(self._step(worker, which))

    async def _step(self, worker: Process, which: int) -> None:
        worker.step(which)

    @rule(slot=SLOTS)
    def go_on_until_it_sends(self, slot: int) -> None:
        """A worker comes to the moment before its first request leaves."""
        worker = self.workers[slot]
        if worker.idle and not worker.paused:
            self.do(self._begin(worker, Mode.ORCHESTRATE))
        while worker.gates and not worker.paused and "send" not in {gate.name for gate in worker.gates}:
            self.do(self._step(worker, 0))

    @rule(slot=SLOTS)
    def go_on_to_the_end(self, slot: int) -> None:
        """A worker ends its cycle, or has a whole one."""
        worker = self.workers[slot]
        if worker.idle and not worker.paused:
            self.do(self._begin(worker, Mode.ORCHESTRATE))
        while worker.gates and not worker.paused:
            self.do(self._step(worker, 0))

    @rule(slot=SLOTS)
    def crash(self, slot: int) -> None:
        """Kill -9: it never goes on; its claims go when the server misses it; another takes its place."""
        worker = self.workers[slot]
        worker.coordinator.pause()
        self.ghosts.append(worker)
        self.workers[slot] = self.do(self.hire())

    @rule()
    def late_request(self) -> None:
        """A request that a dead worker had sent arrives, if its time is not over."""
        for ghost in self.ghosts:
            for index, gate in enumerate(ghost.gates):
                if gate.name == "send":
                    self.do(self._step(ghost, index))
                    return

    @rule(slot=SLOTS, how=st.sampled_from(["SIGSTOP", "SIGCONT", "SIGCONT unheard", "expire", "cut off", "reconnect"]))
    def trouble(self, slot: int, how: str) -> None:
        """A process is stopped or goes on (perhaps before its first heartbeat); its session ends; its connection breaks."""
        worker = self.workers[slot]
        match how:
            case "SIGSTOP":
                worker.paused = True
                worker.coordinator.pause()
            case "SIGCONT" | "SIGCONT unheard":
                worker.paused = False
                worker.coordinator.wake(is_heard=how == "SIGCONT")
            case "expire":
                self.world.zookeeper.expire(worker.coordinator)
            case "cut off":
                worker.coordinator.suspend()
            case _:
                worker.coordinator.resume()

    # -- servers and time -----------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 3.0, 7.0, 11.0, 40.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        """For all."""
        self.world.advance(seconds)

    @rule(slot=SLOTS)
    def lock_is_removed(self, slot: int) -> None:
        """A person removes the cluster's lock by force, and a worker takes it up."""
        if (ClaimKind.LOCK, REF.key) in self.world.zookeeper._nodes:
            self.world.zookeeper.remove(ClaimKind.LOCK, REF.key)
            self.go_on_to_the_end(slot)

    @rule(what=st.sampled_from(["store goes", "store returns", "store returns", "answer is lost"]))
    def servers(self, what: str) -> None:
        """MongoDB goes and comes, or carries out a commit and cannot say so."""
        match what:
            case "store goes":
                self.world.store.down = True
            case "store returns":
                self.world.store.down = False
            case _:
                self.world.store.lost_answers.add("commit")

    # -- people ---------------------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.world.store.down)
    @rule(number=ACTIONS, node_id=NODE, granted=st.booleans())
    def ordered(self, number: int, node_id: str, granted: bool) -> None:
        """A person orders an action."""
        if self.stored(number) is None:
            state = S.PENDING_SCHEDULE if granted else S.PENDING_APPROVE
            action = make_action(number, node_id=node_id, state=state, created_at=self.world.clock())
            self.do(self._order(begun(action, now=self.world.clock(), who="ann")))

    async def _order(self, action: Action) -> None:
        lost, self.world.store.lost_answers = self.world.store.lost_answers, set()
        change = Change(swaps=(action,), drafts=tuple(tell(None, action)))
        await self.world.store.commit(change, now=self.world.clock())
        self.world.store.lost_answers = lost

    @rule(number=ACTIONS, wanted=st.sampled_from([S.PENDING_SCHEDULE, S.CANCELLED]))
    def decided(self, number: int, wanted: ActionState) -> None:
        """A person approves or cancels."""
        if self.stored(number) is not None:
            self.do(self._decide(number, wanted))

    async def _decide(self, number: int, wanted: ActionState) -> None:
        try:
            await order.fn(self.world.store, action_id(number), wanted, "ann", "", self.world.clock())
        except (RefusedError, ConflictError, DependencyUnavailableError):
            return

    # -- agents ---------------------------------------------------------------------------------------------------------

    @rule(node_id=NODE, after=st.sampled_from([S.RUNNING, S.DONE, S.DONE, S.FAILED]))
    def agent_works(self, node_id: str, after: ActionState) -> None:
        """It goes on with its oldest action, or ends it."""
        node = self.world.node(node_id)
        for known in node.actions.values():
            if not known.state.final:
                node.move(known.action_id, after)
                return

    @rule(
        node_id=NODE, how=st.sampled_from(["goes", "restarts", "requeues", "fails", "switched off", "forgets finished"])
    )
    def agent_trouble(self, node_id: str, how: str) -> None:
        """It goes, or is back with its actions: what was running runs, waits again or has failed; or it takes no actions."""
        node = self.world.node(node_id)
        node.down, node.actions_on = how == "goes", how != "switched off"
        if how == "forgets finished":
            told = {key for key, action in self.stored_actions().items() if action.state is not S.PENDING_SCHEDULE}
            node.actions = {
                key: known for key, known in node.actions.items() if not known.state.final or key not in told
            }
        for known in [known for known in node.actions.values() if known.state is S.RUNNING]:
            if how in {"requeues", "fails"}:
                node.move(known.action_id, S.NEW if how == "requeues" else S.FAILED)

    @rule(node_id=NODE, mishap=st.sampled_from(Mishap))
    def request_goes_wrong(self, node_id: str, mishap: Mishap) -> None:
        """Something happens to the next request that sends an action."""
        self.world.node(node_id).mishaps.append(mishap)

    # -- what must always hold ------------------------------------------------------------------------------------------

    @invariant()
    def no_action_takes_effect_twice(self) -> None:
        """Each action was accepted at most once, by one agent; no agent was ever sent what it had already."""
        taken = [delivery.action.action_id for delivery in self.deliveries() if delivery.taken is Taken.ACCEPTED]

        assert len(taken) == len(set(taken))
        assert [] == [delivery for delivery in self.deliveries() if delivery.taken is Taken.DUPLICATE]

    @invariant()
    def one_action_per_node(self) -> None:
        """Whatever was sent twice, late or without an answer: an agent never has two of ours that are not at their end."""
        nodes = self.world.agents.nodes.values() if hasattr(self, "world") else ()

        assert [] == [node.node_id for node in nodes if len(node.listed(final=False)) > 1]

    @invariant()
    def only_approved_actions_take_effect(self) -> None:
        """What an agent took had been approved before, and was sent under an intent."""
        for delivery in self.deliveries():
            assert S.PENDING_APPROVE is not delivery.action.state
            assert delivery.action.intent is not None
            assert delivery.fence == delivery.action.intent.fence

    @invariant()
    def final_states_never_move(self) -> None:
        """A finished action is the same for ever. Of one that was left running on its agent only that end is added, once."""
        for key, action in self.stored_actions().items():
            before = self.books.finished.get(key)
            if before is not None and before.left_running and not action.left_running:
                known = {
                    name: getattr(before, name) for name in ("left_running", "ended_as", "payload", "error", "version")
                }

                assert before == action.evolve(**known)
                self.books.finished[key] = action
            elif before is not None:
                assert before == action
            elif action.state.final:
                self.books.finished[key] = action

    @invariant()
    def superseded_holders_write_nothing(self) -> None:
        """Every commit of a worker has a fence, and fences only grow."""
        fences = [written.fence for written in self.written()]

        assert None not in fences
        tokens = [(fence.generation, fence.token) for fence in fences if fence is not None]
        assert sorted(tokens) == tokens
        assert {REF.key} >= {fence.subject for fence in fences if fence is not None}

    @invariant()
    def streams_have_no_holes(self) -> None:
        """Per stream 1, 2, 3 ... in order, each id once."""
        by_stream: dict[str, list[int]] = {}
        for event in self.events():
            by_stream.setdefault(event.stream, []).append(event.sequence)

        assert all([*range(1, len(numbers) + 1)] == numbers for numbers in by_stream.values())
        assert len(self.events()) == len({event.event_id for event in self.events()})

    @invariant()
    def events_tell_every_move(self) -> None:
        """Who only heard the events knows where every action is, and each move was one of the table."""
        known: dict[str, str] = {}
        for event in self.events():
            data = event.data
            match event.type:
                case EventType.ACTION_CREATED | EventType.ACTION_CHANGED | EventType.ACTION_FINISHED:
                    before, after = data["state_before"], str(data["state"])
                    assert before == known.get(str(data["action_id"]))
                    assert before in {None, after} or S(after) in TABLE[S(str(before))]
                    known[str(data["action_id"])] = after
                case _:
                    continue

        assert {key: action.state.value for key, action in self.stored_actions().items()} == known

    @invariant()
    def cycles_fail_in_known_ways(self) -> None:
        """A cycle ends with its reports, or because a dependency is away."""
        for worker in self.workers_so_far():
            if worker.task is not None and worker.task.done() and worker.task.exception() is not None:
                assert isinstance(worker.task.exception(), DependencyUnavailableError)

    def teardown(self) -> None:
        """Faults stop: every approved action reaches a final state, and all that is done was done once."""
        if not hasattr(self, "world"):
            return
        try:
            self.heal()
            for _ in range(12):
                self.world.advance(400)
                self.do(self._begin(self.workers[0], Mode.ORCHESTRATE))
                self.loop.run_until_complete(self._ended(self.workers[0]))
                for node_id in NODES:
                    self.agent_works(node_id, S.DONE)
            self.check_the_end()
        finally:
            self.close()

    def heal(self) -> None:
        """Everything is back; what was under way ends; whoever is dead is missed."""
        self.world.store.down, self.world.store.lost_answers = False, set()
        for node_id in NODES:
            node = self.world.node(node_id)
            node.down, node.actions_on = False, True
            node.mishaps.clear()
        for worker in self.workers:
            worker.coordinator.resume()
            worker.coordinator.wake()
            worker.run_freely()
            self.loop.run_until_complete(self._ended(worker))
        self.world.advance(11)

    async def _ended(self, worker: Process) -> None:
        if worker.task is not None:
            await asyncio.wait({worker.task}, timeout=5)
            assert worker.task.done()

    def check_the_end(self) -> None:
        """All rules still hold, and nothing approved is left open."""
        for check in (
            self.no_action_takes_effect_twice,
            self.one_action_per_node,
            self.final_states_never_move,
            self.superseded_holders_write_nothing,
            self.streams_have_no_holes,
            self.events_tell_every_move,
            self.cycles_fail_in_known_ways,
        ):
            check()
        actions = self.stored_actions().values()
        took = {delivery.action.action_id for delivery in self.deliveries() if delivery.taken is Taken.ACCEPTED}

        assert [] == [action for action in actions if not action.state.final and action.state is not S.PENDING_APPROVE]
        assert {action.action_id for action in actions if action.state is S.DONE} <= took

    def close(self) -> None:
        """Nothing is left behind."""
        tasks = [process.task for process in (*self.workers, *self.ghosts) if process.task is not None]
        for process in (*self.workers, *self.ghosts):
            process.is_open = True
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.close()

    # -- looking --------------------------------------------------------------------------------------------------------

    def stored_actions(self) -> dict[str, Action]:
        """All actions by id."""
        return dict(self.world.store.records.get(Action, {})) if hasattr(self, "world") else {}

    def stored(self, number: int) -> Action | None:
        """An action, if somebody has ordered it."""
        return self.stored_actions().get(action_id(number))

    def deliveries(self) -> list[Delivery]:
        """Everything that arrived at agents."""
        nodes: list[MemoryNode] = list(self.world.agents.nodes.values()) if hasattr(self, "world") else []
        return [delivery for node in nodes for delivery in node.deliveries]

    def written(self) -> list[Written]:
        """What workers wrote, in order."""
        return self.books.written if hasattr(self, "books") else []

    def events(self) -> list[Event]:
        """Everything that was told."""
        return self.world.store.log if hasattr(self, "world") else []


TestFleet = Fleet.TestCase
TestFleet.settings = settings(
    max_examples=100,
    stateful_step_count=60,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
