"""Actions on nodes, and one on their cluster beside them, while the worker is killed between any two steps."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from blocks.models.action import Action, ActionState
from blocks.models.base import Json
from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.sources.webhooks_protocol import Answered
from doubles.actions import make_action
from doubles.agents import MemoryNode, Taken
from doubles.gated import RESTART
from doubles.on_cluster import CORE, ordered
from doubles.platformed import declared_with_platform
from doubles.process import Process, settled, to_the_end
from doubles.views import NODES, REF, address, discovery
from doubles.world import World
from flows.cycle import Mode, cycle
from tasks.budget import taken

S = ActionState
CYCLES_MAX = 60
"""However it was disturbed, all has ended after so many cycles without disturbance."""
HOME = NamespaceSettings(
    status_hold=0, agent_timeout=5.0, clock_skew_max=86_400, exclusive_patience=60.0, disruption_max=1
)
HTTP, DEPROVISION, PROVISION = "http", "platform.deprovision", "platform.provision"
ARGS: dict[str, Json] = {
    HTTP: {"remote": {"url": "http://remote.test/do"}},
    DEPROVISION: {"node_id": "n3", "stable_after": 0},
    PROVISION: {"request": {"node_group_id": "data", "count": 1}, "stable_after": 0},
}


class Crash:
    """The whole way of some actions, with a worker that is killed before its step of a number.

    Where it `comes_late`, the call that it was about to make is carried out all the same, after another worker has taken over.
    """

    def __init__(self, kind: str, step: int, *, comes_late: bool) -> None:
        """Before anything begins."""
        self.kind, self.step, self.comes_late = kind, step, comes_late
        self.world = World()
        self.actions: list[Action] = []

    async def begins(self) -> None:
        """A cluster of three in a namespace in which one node is acted on at a time, and what is ordered there."""
        world = self.world
        await declared_with_platform(world)
        await world.save(Namespace(name="prod", version=1, settings=HOME))
        await cycle(await world.turn("first"), [REF], Mode.ORCHESTRATE)
        world.outside.answers = [Answered(200, '{"state": "RUNNING"}'), Answered(200, '{"state": "DONE"}')]
        on_nodes = [make_action(1, kind=RESTART), make_action(2, node_id="n2", kind=RESTART), make_action(3)]
        self.actions = [await world.order(action) for action in on_nodes]
        self.actions.append(await ordered(world, f"{CORE}/{self.kind}", ARGS[self.kind], 4, timeout_s=300.0))

    async def over(self) -> bool:
        """Whether all has ended."""
        return all([(await self.world.action_state(action)).final for action in self.actions])

    async def goes_on(self) -> None:
        """Agents end what they have, discovery tells of what the platform did, and time passes."""
        for node_id in NODES:
            for action_id in self.world.node(node_id).listed(final=False):
                self.world.node(node_id).move(action_id, S.DONE)
        there = [node_id for node_id in NODES if ("orders", node_id) not in self.world.outside.deprovisioned]
        if self.world.outside.provisioned:
            self.world.agents.add(MemoryNode(node_id="n4", cluster_id="orders"), address("n4"))
            there.append("n4")
        known = await self.world.discovery(REF)
        if there != [node.node_id for node in known.nodes]:
            await self.world.save(discovery(there).evolve(version=known.version + 1))
        self.world.advance(10)

    async def happens(self) -> bool:
        """Whether it came so far as to be killed there."""
        await self.begins()
        first = Process("worker-1", self.world, await self.world.worker("worker-1"), [])
        second = Process("worker-2", self.world, await self.world.worker("worker-2"), [])
        done = 0
        while done < self.step and not await self.over():
            if first.idle:
                await self.goes_on()
                first.begin()
            await settled([first])
            if first.gates:
                first.step()
                await settled([first])
                done += 1
        came_so_far = not await self.over()
        first.coordinator.pause()  # kill -9: it never goes on, and the server misses it after a while
        self.world.advance(21)
        await self.until_over(second, first)
        if first.task is not None:
            first.task.cancel()
            await asyncio.gather(first.task, return_exceptions=True)
        return came_so_far

    async def until_over(self, worker: Process, ghost: Process) -> None:
        """Cycles without disturbance."""
        for number in range(CYCLES_MAX):
            if await self.over():
                return
            if number == 1 and self.comes_late and ghost.gates:
                ghost.step()
                await settled([ghost])
            await to_the_end(worker)
            await self.goes_on()

    async def check(self) -> None:
        """Each took effect at most once, none is forgotten, each has ended, and nobody keeps room in the budget."""
        where = f"killed before step {self.step}"
        deliveries = [one for node in self.world.agents.nodes.values() for one in node.deliveries]
        accepted = Counter(one.action.action_id for one in deliveries if one.taken is Taken.ACCEPTED)
        *on_nodes, on_cluster = [await self.world.action(action) for action in self.actions]
        home = await self.world.store.get(Namespace, "prod")
        assert home is not None
        _, holders = await taken(self.world.store, home)

        assert [S.DONE] * 3 == [action.state for action in on_nodes], where
        assert {action.action_id: 1 for action in on_nodes} == accepted, where
        assert [] == [one for one in deliveries if one.taken is Taken.DUPLICATE], where
        assert () == holders, where
        self.check_cluster(on_cluster, where)

    def check_cluster(self, action: Action, where: str) -> None:
        """Nothing is made twice, and what may be asked twice has one key; what nobody can know is FAILED, and says so."""
        outside = self.world.outside
        posts = Counter(call.idempotency_key for call in outside.posted)
        not_known = not outside.provisioned and self.kind == PROVISION

        assert (S.FAILED if not_known else S.DONE) is action.state, where
        assert not not_known or "whether the platform was asked is not known" in str(action.error), where
        assert (1 if self.kind == PROVISION and not not_known else 0) == len(outside.provisioned), where
        assert ({("orders", "n3")} if self.kind == DEPROVISION else set()) == set(outside.deprovisioned), where
        assert max(posts.values(), default=0) <= 2, where


@pytest.mark.parametrize("comes_late", [False, True])
@pytest.mark.parametrize("kind", ARGS)
async def test_a_worker_is_killed_between_any_two_steps(kind: str, comes_late: bool) -> None:
    """Wherever that is, and also where its last call is carried out later."""
    step, came_so_far = 0, True
    while came_so_far:
        crash = Crash(kind, step, comes_late=comes_late)
        came_so_far = await crash.happens()
        await crash.check()
        step += 1

    assert 50 < step
