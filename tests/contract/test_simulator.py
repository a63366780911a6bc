"""Our own clients read the simulator as they read real agents and sources, in both protocols."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from blocks.agents.client import HttpAgents
from blocks.agents.protocol import Target
from blocks.agents.settings import AgentsSettings
from blocks.models.action import ActionState
from blocks.models.look import ActionsInfo, AgentAction, Failure, Look, NodeInfo, ShardsInfo, StoreInfo
from blocks.models.node import NodeStatus, Protocol, ShardRole
from blocks.models.sent import Sent
from blocks.models.source import DiscoveredNode, Source
from blocks.sources.live import LiveSources
from blocks.sources.settings import SourcesSettings
from doubles.actions import action_id, make_action
from infra.simulator.layout import Layout
from infra.simulator.model import Kind, Wire
from infra.simulator.simulator import Settings
from infra.simulator.testing import RunningFleet, simulated

KINDS = tuple(Kind)
WIRES = (Wire.A, Wire.B)
PARTITIONS = 50


@pytest.fixture
def fleet() -> Iterator[RunningFleet]:
    """A cluster of each kind in each protocol, nothing of which has happened yet."""
    layout = Layout(clusters=6, kinds=KINDS, protocols=WIRES, partitions=(PARTITIONS,), refusable=2)
    with simulated(Settings(layout=layout, execute_interval_s=0.0, page_size=4)) as running:
        yield running


@pytest.fixture
async def agents() -> AsyncIterator[HttpAgents]:
    """The real client."""
    async with HttpAgents(AgentsSettings()) as connected:
        yield connected


def cluster_name(kind: Kind, wire: Wire) -> str:
    """The cluster of that kind and protocol."""
    return f"{kind}-{KINDS.index(kind) + len(KINDS) * WIRES.index(wire):05d}"


def target(fleet: RunningFleet, name: str, timeout_s: float = 5.0) -> Target:
    """How a node is asked."""
    return Target(node_id=name, agent_address=fleet.address(name), timeout_s=timeout_s)


async def looks(fleet: RunningFleet, agents: HttpAgents, cluster: str) -> list[Look]:
    """One look at each node of a cluster."""
    return [await agents.look(target(fleet, str(node["node"]))) for node in fleet.nodes(cluster)]


async def settled(agents: HttpAgents, to: Target, number: int) -> AgentAction:
    """The agent's word on an action once it is over."""
    async with asyncio.timeout(5):
        while True:
            told = await agents.action(to, action_id(number))
            if isinstance(told, AgentAction) and told.state.final:
                return told


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("kind", KINDS)
class TestEveryKindInBothProtocols:
    async def test_a_look_is_complete(self, fleet: RunningFleet, agents: HttpAgents, kind: Kind, wire: Wire) -> None:
        """Node, store, shards and actions are read without a failure or a note."""
        cluster = cluster_name(kind, wire)
        for look in await looks(fleet, agents, cluster):
            assert isinstance(look.info, NodeInfo)
            assert isinstance(look.store, StoreInfo)
            assert isinstance(look.shards, ShardsInfo)

            said = (look.info.protocol, look.info.status, look.info.node_id, look.store.cluster_id)
            assert (Protocol(wire), NodeStatus.HEALTHY, look.node_id, cluster) == said
            assert (PARTITIONS if kind is Kind.KAFKA else 1, ()) == (len(look.shards.shards), look.shards.notes)
            assert ActionsInfo() == look.actions

    async def test_every_shard_has_one_primary(
        self, fleet: RunningFleet, agents: HttpAgents, kind: Kind, wire: Wire
    ) -> None:
        """Roles are told apart, and all others are secondaries."""
        roles: dict[str, list[ShardRole]] = {}
        for look in await looks(fleet, agents, cluster_name(kind, wire)):
            assert isinstance(look.shards, ShardsInfo)
            for shard in look.shards.shards:
                roles.setdefault(shard.shard_id, []).append(shard.role)

        expected = [ShardRole.PRIMARY, ShardRole.SECONDARY, ShardRole.SECONDARY]
        assert all(expected == sorted(found) for found in roles.values())

    async def test_a_store_that_is_down(self, fleet: RunningFleet, agents: HttpAgents, kind: Kind, wire: Wire) -> None:
        """The agent answers, the node is unavailable, store and shards are failures with a reason."""
        name = f"{cluster_name(kind, wire)}-0"
        fleet.do("store_down", nodes=[name])
        look = await agents.look(target(fleet, name))

        assert isinstance(look.info, NodeInfo)
        assert NodeStatus.UNAVAILABLE == look.info.status
        assert isinstance(look.shards, Failure)
        assert "does not answer" in look.shards.reason

    async def test_an_action(self, fleet: RunningFleet, agents: HttpAgents, kind: Kind, wire: Wire) -> None:
        """Sent once or twice it runs once, to its end, with what it carries."""
        to = target(fleet, f"{cluster_name(kind, wire)}-0")
        sent = [await agents.send(to, make_action(1), "1:100", 5.0) for _ in range(2)]
        told = await settled(agents, to, 1)
        actions = (await agents.look(to)).actions

        assert [Sent(accepted=True)] * 2 == sent
        assert (ActionState.DONE, {"count": 3}) == (told.state, told.args)
        assert {"ticket": "42", "replicore.io/fence": "1:100"} == told.metadata
        assert ActionsInfo(finished=(action_id(1),)) == actions
        done = [line for line in fleet.received(to.node_id, what="action") if line["phase"] == "DONE"]
        posts = [line for line in fleet.received(to.node_id) if line["method"] == "POST"]
        assert ["1:100"] == [line["fence"] for line in done]
        assert [(200, "1:100"), (409, "1:100")] == [(line["status"], line["fence"]) for line in posts]

    async def test_an_action_that_nobody_knows(
        self, fleet: RunningFleet, agents: HttpAgents, kind: Kind, wire: Wire
    ) -> None:
        """A kind that is refused, and an id that is not there."""
        to = target(fleet, f"{cluster_name(kind, wire)}-0")
        sent = await agents.send(to, make_action(1, kind="no.such/kind"), "1:100", 5.0)

        assert sent.refused is not None
        assert "no.such/kind" in sent.refused
        assert None is await agents.action(to, action_id(1))

    async def test_who_it_is_not(self, fleet: RunningFleet, agents: HttpAgents, kind: Kind, wire: Wire) -> None:
        """An agent of another node and cluster is seen to be one."""
        name = f"{cluster_name(kind, wire)}-0"
        fleet.do("wrong_identity", nodes=[name], node_id="x", cluster_id="y")
        look = await agents.look(target(fleet, name))

        assert isinstance(look.info, NodeInfo)
        assert isinstance(look.store, StoreInfo)
        assert ("x", "y") == (look.info.node_id, look.store.cluster_id)


class TestFence:
    async def test_an_older_token_is_superseded(self, fleet: RunningFleet, agents: HttpAgents) -> None:
        """Protocol B's agents refuse it, and the client says so."""
        to = target(fleet, f"{cluster_name(Kind.MONGODB, Wire.B)}-0")
        await agents.send(to, make_action(1), "1:100", 5.0)
        sent = await agents.send(to, make_action(2), "1:99", 5.0)

        assert (True, None) == (sent.superseded, await agents.action(to, action_id(2)))


class TestFaults:
    @pytest.mark.parametrize(
        ("do", "reason"),
        [
            ({"do": "kill"}, "the connection was closed without an answer"),
            ({"do": "black_hole"}, "no complete answer within 0.3 s"),
            ({"do": "slow", "delay_s": 60}, "no complete answer within 0.3 s"),
            ({"do": "trickle"}, "no complete answer within 0.3 s"),
            ({"do": "hang_up"}, "the connection was closed without an answer"),
            ({"do": "huge"}, "the answer is larger than"),
            ({"do": "huge", "declared": False}, "the answer is larger than"),
            ({"do": "garbage", "form": "html"}, "not an agent: it answers with a web page"),
            ({"do": "garbage", "form": "truncated"}, "not an agent: it answers with"),
            ({"do": "garbage", "form": "types"}, "the answer has no usable node_status"),
            ({"do": "fail", "status": 502}, "HTTP 502: upstream connect error"),
        ],
    )
    async def test_each_is_its_own_reason(
        self, fleet: RunningFleet, agents: HttpAgents, do: dict[str, str], reason: str
    ) -> None:
        """What is wrong is what the look says; healed, all is well."""
        name = f"{cluster_name(Kind.MONGODB, Wire.B)}-1"
        to = target(fleet, name, timeout_s=0.3)
        fleet.do(nodes=[name], **do)
        ill = (await agents.look(to)).info
        fleet.heal(name)
        well = (await agents.look(to)).info

        assert isinstance(ill, Failure)
        assert ill.reason.startswith(reason)
        assert isinstance(well, NodeInfo)

    async def test_a_port_that_is_closed(self, fleet: RunningFleet, agents: HttpAgents) -> None:
        """A node with a listener of its own really refuses."""
        name = str(next(node["node"] for node in fleet.nodes() if node["refusable"]))
        fleet.kill(name)
        async with asyncio.timeout(5):
            while True:  # the listener closes at the next turn of the fleet's loop
                ill = (await agents.look(target(fleet, name))).info
                if isinstance(ill, Failure) and "closed" not in ill.reason:
                    break

        assert "connection refused" == ill.reason

    async def test_an_upgraded_agent(self, fleet: RunningFleet, agents: HttpAgents) -> None:
        """The protocol that is remembered is not the one it speaks now."""
        name = f"{cluster_name(Kind.KAFKA, Wire.A)}-0"
        to = target(fleet, name).evolve(protocol=Protocol.A)
        before = (await agents.look(to)).info
        fleet.do("upgrade", nodes=[name])
        after = (await agents.look(to)).info

        assert isinstance(before, NodeInfo)
        assert isinstance(after, NodeInfo)
        assert [Protocol.A, Protocol.B] == [before.protocol, after.protocol]

    @pytest.mark.parametrize("wire", WIRES)
    async def test_actions_switched_off(self, fleet: RunningFleet, agents: HttpAgents, wire: Wire) -> None:
        """A state, not a failure."""
        name = f"{cluster_name(Kind.MONGODB, wire)}-0"
        fleet.do("switch_actions", nodes=[name])

        assert ActionsInfo(enabled=False) == (await agents.look(target(fleet, name))).actions


class TestDiscovery:
    @pytest.fixture
    async def sources(self) -> AsyncIterator[LiveSources]:
        """The real client."""
        async with LiveSources(SourcesSettings()) as connected:
            yield connected

    @pytest.mark.parametrize("legacy", [False, True])
    async def test_the_whole_fleet(self, fleet: RunningFleet, sources: LiveSources, legacy: bool) -> None:
        """All pages, no record rejected; nodes by name, or by URL as of old."""
        found = await sources.ask(source(fleet, "/legacy/discover" if legacy else "/discover"))

        expected = [
            DiscoveredNode(node_id=str(node["agent_address"]), agent_address=str(node["agent_address"]))
            if legacy
            else DiscoveredNode(
                node_id=str(node["node"]), agent_address=str(node["agent_address"]), node_class=str(node["kind"])
            )
            for node in fleet.nodes()
        ]
        assert (6, ()) == (len(found.clusters), found.rejected)
        assert expected == [node for cluster in found.clusters for node in cluster.nodes]

    async def test_who_comes_and_goes(self, fleet: RunningFleet, sources: LiveSources) -> None:
        """The next answer has who joined and not who left."""
        before = await sources.ask(source(fleet, "/discover"))
        fleet.do("leave", nodes=["mongodb-00000-0"])
        (new,) = fleet.do("join", cluster="mongodb-00000")
        after = await sources.ask(source(fleet, "/discover"))

        ids = [{node.node_id for node in found.clusters[0].nodes} for found in (before, after)]
        assert ({"mongodb-00000-0"}, {new}) == (ids[0] - ids[1], ids[1] - ids[0])


def source(fleet: RunningFleet, path: str) -> Source:
    """The fleet's discovery."""
    http = {"url": f"{fleet.discovery_url}{path}"}
    return Source.model_validate({"namespace": "prod", "name": "simulated", "http": http})
