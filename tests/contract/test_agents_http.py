"""What is peculiar to agents over HTTP: connections, protocols, manners of bad agents."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import pytest

from blocks.agents.client import HttpAgents
from blocks.agents.protocol import Target
from blocks.agents.settings import AgentsSettings
from blocks.models.look import ActionsInfo, Failure, NodeInfo
from blocks.models.node import Protocol
from doubles.actions import action_id, make_action
from doubles.agents import MemoryNode, Taken
from doubles.scripted_agent import Manner, Received, Reply, ScriptedAgent
from doubles.wire_a import WireA
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


class TestRequests:
    async def test_a_look_is_five_requests_on_one_connection(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """Everything about a healthy node is asked once, in order, on one connection."""
        await agents.look(to(agent))

        expected = ["info/node", "info/store", "info/shards", "actions/queue", "actions/finished"]
        assert [f"{ROOT}{path}" for path in expected] == agent.paths()
        assert 1 == agent.connections

    async def test_an_action_has_a_connection_of_its_own(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """A POST never uses a connection that the agent may be closing."""
        await agents.look(to(agent))
        await agents.send(to(agent), make_action(), FENCE, 5.0)
        await agents.look(to(agent))

        assert {"GET": {1}, "POST": {2}} == {
            method: {request.connection for request in agent.received if request.method == method}
            for method in ("GET", "POST")
        }

    async def test_an_action_travels_with_its_fence(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """The body is what protocol B wants: UTC times, and the fence in the metadata whatever it held before."""
        action = make_action(metadata={"ticket": "42", "replicore.io/fence": "9:9"})
        await agents.send(to(agent), action, FENCE, 5.0)

        expected = (
            b'{"id":"00000000-0000-0000-0000-000000000001","kind":"agent.replicante.io/test.success","args":{"count":3},'
            b'"created_time":"2026-03-01T12:00:00.123000Z","metadata":{"ticket":"42","replicore.io/fence":"1:100"}}'
        )
        assert expected == agent.received[0].body
        assert "application/json" == agent.received[0].headers["content-type"]

    async def test_a_path_before_the_root_is_kept(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """An agent behind a proxy has an address with a path."""
        target = to(agent).evolve(agent_address=f"{agent.url}/agents/n1/")
        await agents.look(target)

        assert [f"/agents/n1{NODE}"] == agent.paths()[:1]

    @pytest.mark.parametrize(
        ("address", "reason"),
        [
            ("ftp://127.0.0.1:1", "the agent's address is not an http or https URL"),
            ("http://", "the agent's address is not an http or https URL"),
            ("http://h:99999", "the agent's address is not an http or https URL"),
            ("http://[::1", "the agent's address is not an http or https URL"),
            ("http://h/\r\nX: y", "the agent's address is not an http or https URL"),
            ("http://ann:secret@h:1", "the agent's address must not carry credentials, a query or a fragment"),
            ("http://name.invalid:1", "the host name cannot be resolved"),
            ("http://" + "x" * 300 + ":1", "it cannot be asked: its address is not usable"),
            ("http://256.1.1.1:1", "it cannot be asked: its address is not usable"),
        ],
    )
    async def test_an_unusable_address_is_a_reason(self, agents: HttpAgents, address: str, reason: str) -> None:
        """Whatever an address holds, the look says what is wrong with it, without repeating it."""
        info = (await agents.look(Target(node_id="n1", agent_address=address))).info

        assert isinstance(info, Failure)
        assert info.reason.startswith(reason)
        assert "secret" not in info.reason


class TestStaleConnections:
    async def test_a_get_is_repeated_once(self, agents: HttpAgents, agent: ScriptedAgent, node: MemoryNode) -> None:
        """A kept connection that the agent closes just then costs nothing but another connection."""
        await agents.look(to(agent))
        agent.on("GET", NODE, Reply(manner=Manner.CLOSE_BEFORE), WireB(node)(Received("GET", NODE, {}, b"", 0)))

        look = await agents.look(to(agent))

        assert isinstance(look.info, NodeInfo)
        assert [NODE, NODE] == agent.paths()[5:7]

    async def test_a_get_is_not_repeated_for_ever(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """An agent that always hangs up is asked twice, then it is a failure."""
        agent.on("GET", NODE, Reply(manner=Manner.CLOSE_BEFORE))

        look = await agents.look(to(agent))

        assert Failure(reason="the connection was closed without an answer; does it expect https?") == look.info
        assert [NODE, NODE] == agent.paths()

    async def test_a_post_is_never_repeated(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """An action whose answer did not come is sent once, and said to be perhaps there."""
        agent.on("POST", f"{ROOT}action", Reply(manner=Manner.CLOSE_BEFORE))

        sent = await agents.send(to(agent), make_action(), FENCE, 5.0)

        assert (False, True) == (sent.accepted, sent.maybe_sent)
        assert [f"{ROOT}action"] == agent.paths()


class TestBadManners:
    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (Reply(b"<!DOCTYPE html><title>Welcome"), "not an agent: it answers with a web page"),
            (Reply(b""), "not an agent: it answers with an empty body"),
            (Reply(b'{"node_status": "HEALTHY"', 200), 'not an agent: it answers with {"node_status": "HEALTHY"'),
            (Reply(b"[1, 2]"), "not an agent: it answers with [1, 2]"),
            (Reply(b"<html>", 502), "HTTP 502: a web page"),
            (Reply(b"slow down", 429), "HTTP 429: slow down"),
            (error(500, "no mongod binary"), "HTTP 500: no mongod binary"),
            (
                Reply(status=302, headers=(("Location", "https://ann:pw@other/x?token=y"),)),
                "HTTP 302: redirects to other/x",
            ),
            (Reply(status=404), "not an agent: it knows neither /info/node nor /info/agent"),
            (Reply(b"x" * (CAP + 1)), f"the answer is larger than {CAP} bytes"),
            (Reply(manner=Manner.ENDLESS), f"the answer is larger than {CAP} bytes"),
            (Reply(b'{"node_status": "HEALTHY"}', manner=Manner.CLOSE_WITHIN), "the answer was cut off"),
            (Reply(b"SSH-2.0-OpenSSH_9.2\r\n", manner=Manner.RAW), "the answer is not HTTP"),
            (Reply(b"not gzip", headers=(("Content-Encoding", "gzip"),)), "the answer was cut off or wrongly encoded"),
            (Reply(b"{}", headers=(("X", "y" * 20_000),)), "the answer is not HTTP"),
        ],
        ids=str,
    )
    async def test_a_bad_answer_is_a_reason(
        self, agents: HttpAgents, agent: ScriptedAgent, reply: Reply, reason: str
    ) -> None:
        """Whatever comes instead of a node, the look says what it was."""
        agent.on("GET", NODE, reply)

        info = (await agents.look(to(agent))).info

        assert isinstance(info, Failure)
        assert info.reason.startswith(reason)

    async def test_a_compression_bomb_is_not_unpacked(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """The cap counts what comes out of the compression."""
        bomb = gzip.compress(b" " * 50_000_000)
        agent.on("GET", NODE, Reply(bomb[:CAP], headers=(("Content-Encoding", "gzip"),)))

        look = await agents.look(to(agent))

        assert Failure(reason=f"the answer is larger than {CAP} bytes") == look.info

    async def test_gzip_is_understood(self, agents: HttpAgents, agent: ScriptedAgent, node: MemoryNode) -> None:
        """An agent may compress."""
        plain = WireB(node)(Received("GET", NODE, {}, b"", 0)).body
        agent.on("GET", NODE, Reply(gzip.compress(plain), headers=(("Content-Encoding", "gzip"),)))

        assert isinstance((await agents.look(to(agent))).info, NodeInfo)

    async def test_one_bad_part_is_one_failure(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """A broken list of shards leaves everything else as it is."""
        agent.on("GET", f"{ROOT}info/shards", Reply(b"{NaN"))

        look = await agents.look(to(agent))

        assert isinstance(look.info, NodeInfo)
        assert isinstance(look.shards, Failure)
        assert look.shards.reason.startswith("HTTP 200, not JSON")
        assert ActionsInfo() == look.actions

    async def test_a_page_in_place_of_an_action_is_not_a_lost_action(
        self, agents: HttpAgents, agent: ScriptedAgent
    ) -> None:
        """A proxy's 404 page never means that the agent does not know the action."""
        agent.on("GET", f"{ROOT}action/{action_id(1)}", Reply(b"<html>not found", 404))

        assert Failure(reason="HTTP 404: a web page", status=404) == await agents.action(to(agent), action_id(1))

    async def test_a_strange_success_proves_nothing(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """A web page in answer to an action may mean anything."""
        agent.on("POST", f"{ROOT}action", Reply(b"<html>ok"))

        sent = await agents.send(to(agent), make_action(), FENCE, 5.0)

        assert (False, "HTTP 200, not JSON: a web page", True) == (sent.accepted, sent.failed, sent.maybe_sent)


class TestDetection:
    async def test_finds_b_without_an_extra_request(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """The first answer shows the protocol and is used."""
        look = await agents.look(to(agent, protocol=None))

        assert isinstance(look.info, NodeInfo)
        assert Protocol.B == look.info.protocol
        assert 5 == len(agent.received)

    @pytest.mark.parametrize("remembered", [None, Protocol.B, Protocol.A])
    async def test_tells_a_from_b(self, agents: HttpAgents, node: MemoryNode, remembered: Protocol | None) -> None:
        """An agent of protocol A is recognised and looked at, whatever was remembered; the right memory costs nothing."""
        async with ScriptedAgent(answer=WireA(node)) as agent:
            look = await agents.look(to(agent, protocol=remembered))

        assert isinstance(look.info, NodeInfo)
        assert Protocol.A == look.info.protocol
        assert (5 if remembered is Protocol.A else 6) == len(agent.received)

    async def test_notices_that_an_agent_was_upgraded(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """An agent remembered to speak A that now speaks B is asked in B at once."""
        look = await agents.look(to(agent, protocol=Protocol.A))

        assert isinstance(look.info, NodeInfo)
        assert [f"{ROOT}info/agent", NODE] == agent.paths()[:2]

    async def test_precedes_the_first_action(self, agents: HttpAgents, agent: ScriptedAgent, node: MemoryNode) -> None:
        """An action for an agent of unknown protocol is sent once the protocol is known."""
        sent = await agents.send(to(agent, protocol=None), make_action(), FENCE, 5.0)

        assert sent.accepted
        assert [NODE, f"{ROOT}action"] == agent.paths()
        assert [Taken.ACCEPTED] == [delivery.taken for delivery in node.deliveries]

    async def test_a_wrong_memory_sends_nothing(
        self, agents: HttpAgents, agent: ScriptedAgent, node: MemoryNode
    ) -> None:
        """An action sent in the wrong protocol surely did not arrive; the next look corrects the memory."""
        sent = await agents.send(to(agent, protocol=Protocol.A), make_action(), FENCE, 5.0)

        assert (False, False) == (sent.accepted, sent.maybe_sent)
        assert [] == node.deliveries

    async def test_can_be_overridden(self, agents: HttpAgents, agent: ScriptedAgent) -> None:
        """Where people demand a protocol, no other is tried, whatever is remembered."""
        demanded = to(agent, protocol=Protocol.B).evolve(only=Protocol.A)
        look = await agents.look(demanded)

        reason = "no agent of protocol A, which its namespace demands: no /info/agent"
        assert Failure(reason=reason, status=404) == look.info
        assert [f"{ROOT}info/agent"] == agent.paths()

    async def test_an_override_finds_its_agent(self, agents: HttpAgents, node: MemoryNode) -> None:
        """A proxy that answers what it does not know with a page hides A only from those who ask for B first."""
        page = Reply(b"<html>Welcome")
        async with ScriptedAgent(answer=WireA(node)).on("GET", NODE, page) as agent:
            found = to(agent, protocol=None)
            looks = [await agents.look(target) for target in (found, found.evolve(only=Protocol.A))]
            sent = await agents.send(found.evolve(only=Protocol.A), make_action(), FENCE, 5.0)

        assert [Failure, NodeInfo] == [type(look.info) for look in looks]
        assert sent.accepted
