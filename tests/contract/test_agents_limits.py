"""What is peculiar to agents over HTTP: deadlines, places, lists and hostile content."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import ExitStack

import pytest

from blocks.agents.client import HttpAgents
from blocks.agents.protocol import Target
from blocks.agents.settings import AgentsSettings
from blocks.models.look import ActionsInfo, Failure, Look, NodeInfo, ShardsInfo
from blocks.models.node import NodeStatus, Protocol
from doubles.actions import action_id, make_action
from doubles.agents import MemoryNode
from doubles.fleets import HttpFleet, http_fleet
from doubles.scripted_agent import Manner, Reply, ScriptedAgent
from doubles.wire_b import ROOT, WireB, error

NODE = f"{ROOT}info/node"
FENCE = "1:100"
CAP = 4_096


@pytest.fixture
async def agents() -> AsyncIterator[HttpAgents]:
    """The real client, with a small cap."""
    async with HttpAgents(AgentsSettings(body_bytes_max=CAP, details_max=2)) as agents:
        yield agents


@pytest.fixture
def node() -> MemoryNode:
    """A healthy node."""
    return MemoryNode("n1")


@pytest.fixture
async def agent(node: MemoryNode) -> AsyncIterator[ScriptedAgent]:
    """The node's agent, of which a test may script single answers."""
    async with ScriptedAgent(answer=WireB(node)) as agent:
        yield agent


def to(agent: ScriptedAgent, timeout_s: float = 5.0, protocol: Protocol | None = Protocol.B) -> Target:
    """How the agent is asked."""
    return Target(node_id="n1", agent_address=agent.url, protocol=protocol, timeout_s=timeout_s)


class TestActionLists:
    async def test_one_that_ends_meanwhile_is_finished(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """An action that is in both lists ended between the two questions: it counts as finished, and is read by id."""
        for which in ("queue", "finished"):
            agent.on("GET", f"{ROOT}actions/{which}", Reply.json({"actions": [{"id": action_id(1)}]}))

        look = await agents.look(to(agent))

        assert ActionsInfo(finished=(action_id(1),)) == look.actions
        assert {action_id(1): None} == look.details

    async def test_half_a_list_is_no_list(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """When one list cannot be read, nothing is concluded from the other; what is asked for is still read by id."""
        agent.on("GET", f"{ROOT}actions/finished", error(500, "database is locked"))

        look = await agents.look(to(agent), [action_id(1)])

        assert Failure(reason="HTTP 500: database is locked", status=500) == look.actions
        assert {action_id(1): None} == look.details


class TestLimits:
    async def test_what_is_beyond_the_limit_is_not_said_to_be_gone(
        self, agents: HttpAgents, agent: ScriptedAgent
    ) -> None:
        """Actions that one look has no room for are failures, not unknown to the agent."""
        asked = [action_id(number) for number in (1, 2, 3)]

        look = await agents.look(to(agent), asked)

        left = Failure(reason="not asked: one look reads at most 2 actions")
        assert {asked[0]: None, asked[1]: None, asked[2]: left} == look.details

    async def test_a_slow_body_ends_at_the_deadline(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """The deadline covers the body to its end."""
        agent.on("GET", NODE, Reply(b'{"node_status": "HEALTHY"}', manner=Manner.HANG_WITHIN))
        started = time.monotonic()

        look = await agents.look(to(agent, timeout_s=0.2))

        assert Failure(reason="no complete answer within 0.2 s") == look.info
        assert time.monotonic() - started < 1.0

    async def test_the_whole_look_has_a_deadline(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """Twice the request's deadline ends a look; the parts that came in time are kept."""
        for path in ("info/store", "info/shards", "actions/queue"):
            agent.on("GET", f"{ROOT}{path}", Reply(manner=Manner.HANG))
        started = time.monotonic()

        look = await agents.look(to(agent, timeout_s=0.3))

        assert isinstance(look.info, NodeInfo)
        assert Failure(reason="no complete answer within 0.3 s") == look.store
        assert isinstance(look.shards, Failure)
        assert Failure(reason="not asked: the deadline of 0.6 s for the whole node has passed") == look.actions
        assert time.monotonic() - started < 1.5

    async def test_a_host_that_is_gone_costs_the_connect_deadline(self) -> None:
        """A connection that is never completed is given up sooner than an answer; the action was surely not sent."""
        with ExitStack() as sockets:
            full = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            sockets.enter_context(socket.create_connection(full.getsockname()))
            url = f"http://127.0.0.1:{full.getsockname()[1]}"
            async with HttpAgents(AgentsSettings(connect_timeout_s=0.2)) as agents:
                target = Target(node_id="n1", agent_address=url, protocol=Protocol.B)
                look, sent = await asyncio.gather(agents.look(target), agents.send(target, make_action(), FENCE, 5.0))

        reason = "no connection in time: the host is gone, or a firewall drops the packets"
        assert Failure(reason=reason) == look.info
        assert (reason, False) == (sent.failed, sent.maybe_sent)

    async def test_hanging_nodes_do_not_delay_healthy_ones(self) -> None:
        """With places for all, a healthy node's look does not wait for hanging ones."""
        async with http_fleet(AgentsSettings(concurrency=20)) as fleet:
            hanging = [await fleet.put(MemoryNode(f"h{number}", hangs=True)) for number in range(10)]
            healthy = await fleet.put(MemoryNode("n1"))
            looks = [asyncio.create_task(fleet.agents.look(target.evolve(timeout_s=0.5))) for target in hanging]

            look = await fleet.agents.look(healthy)

            assert isinstance(look.info, NodeInfo)
            assert not any(task.done() for task in looks)
            await asyncio.gather(*looks)

    async def test_waiting_for_a_place_does_not_count(self) -> None:
        """A node whose turn comes late has its whole deadline: nobody is declared dead because others hang."""
        async with http_fleet(AgentsSettings(concurrency=1)) as fleet:
            hanging = (await fleet.put(MemoryNode("h1", hangs=True))).evolve(timeout_s=0.3)
            healthy = (await fleet.put(MemoryNode("n1"))).evolve(timeout_s=0.2)

            looks: tuple[Look, Look] = await asyncio.gather(fleet.agents.look(hanging), fleet.agents.look(healthy))

        assert [Failure, NodeInfo] == [type(look.info) for look in looks]

    async def test_sending_does_not_wait_behind_looks(self) -> None:
        """Actions have places of their own."""
        async with http_fleet(AgentsSettings(concurrency=1)) as fleet:
            hanging = (await fleet.put(MemoryNode("h1", hangs=True))).evolve(timeout_s=2.0)
            healthy = await fleet.put(MemoryNode("n1"))
            look = asyncio.create_task(fleet.agents.look(hanging))

            sent = await fleet.agents.send(healthy, make_action(), FENCE, 1.0)

            assert (True, False) == (sent.accepted, look.done())
            look.cancel()
            await asyncio.gather(look, return_exceptions=True)

    async def test_no_place_in_time_means_not_sent(self) -> None:
        """An action that finds no place within its budget was surely not sent."""
        async with http_fleet(AgentsSettings(concurrency=1)) as fleet:
            hanging = (await fleet.put(MemoryNode("h1", hangs=True))).evolve(timeout_s=0.6)
            first = asyncio.create_task(fleet.agents.send(hanging, make_action(1), FENCE, 0.6))
            await _server(fleet, "h1").arrived(1)

            sent = await fleet.agents.send(hanging, make_action(2), FENCE, 0.1)

            assert (False, False) == (sent.accepted, sent.maybe_sent)
            assert (await first).maybe_sent

    async def test_closing_ends_what_is_under_way(self, agent: ScriptedAgent, node: MemoryNode) -> None:
        """A client that is closed leaves no connection; what was asked is a failure, not an exception."""
        node.hangs = True
        async with HttpAgents(AgentsSettings()) as agents:
            look = asyncio.create_task(agents.look(to(agent)))
            await agent.arrived(1)

        assert isinstance((await look).info, Failure)

    async def test_is_of_no_use_when_not_connected(self, agent: ScriptedAgent) -> None:
        """Forgetting to connect is a mistake in the program, not a failure of the node."""
        agents = HttpAgents(AgentsSettings())
        questions: list[Awaitable[object]] = [agents.look(to(agent)), agents.send(to(agent), make_action(), FENCE, 1.0)]
        for question in questions:
            with pytest.raises(RuntimeError, match="not connected"):
                await question


class TestHostileAgents:
    async def test_shards_with_everything_wrong(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """Good shards are kept, bad ones are named."""
        shards = [{"id": "a", "role": "PRIMARY"}, {"id": "../\x00"}, 7, {"id": "b", "role": {"Other": "witness"}}]
        agent.on("GET", f"{ROOT}info/shards", Reply.json(shards))

        found = (await agents.look(to(agent))).shards

        assert isinstance(found, ShardsInfo)
        assert ["a", "b"] == [shard.shard_id for shard in found.shards]
        assert 2 == len(found.notes)

    async def test_a_status_of_ours_is_not_the_agents_to_say(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """UNREACHABLE is what we say of a node; an agent that says it is UNKNOWN."""
        agent.on("GET", NODE, Reply.json({"node_id": "n1", "node_status": "UNREACHABLE"}))

        info = (await agents.look(to(agent))).info

        assert isinstance(info, NodeInfo)
        assert (NodeStatus.UNKNOWN, "UNREACHABLE") == (info.status, info.status_text)


def _server(fleet: HttpFleet, node_id: str) -> ScriptedAgent:
    return fleet._servers[node_id]
