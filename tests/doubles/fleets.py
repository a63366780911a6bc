"""One form for agents in memory and agents behind sockets, so that one suite can run on both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Protocol

from blocks.agents.client import HttpAgents
from blocks.agents.protocol import Agents, Target
from blocks.agents.settings import AgentsSettings
from blocks.models.look import NodeInfo
from blocks.models.node import Protocol as WireProtocol
from doubles.agents import MemoryAgents, MemoryNode
from doubles.scripted_agent import ScriptedAgent
from doubles.wire_a import WireA
from doubles.wire_b import WireB

TIMEOUT_S = 5.0
WIRES = {WireProtocol.A: WireA, WireProtocol.B: WireB}


class Fleet(Protocol):
    """Agents, and the nodes they are asked about."""

    @property
    def agents(self) -> Agents:
        """The client."""

    async def put(self, node: MemoryNode) -> Target:
        """Start a node's agent."""

    async def stop(self, node: MemoryNode) -> None:
        """Stop it: from now on connections are refused."""

    def told(self, info: NodeInfo) -> NodeInfo:
        """What of a node its agent can tell."""

    def kept(self, moment: datetime) -> datetime:
        """A moment as an agent keeps it."""


class MemoryFleet:
    """All in memory."""

    def __init__(self) -> None:
        """Start empty."""
        self.agents = MemoryAgents()

    async def put(self, node: MemoryNode) -> Target:
        """Start a node's agent."""
        return target(node, self.agents.add(node))

    async def stop(self, node: MemoryNode) -> None:
        """Stop it."""
        node.down = True

    def told(self, info: NodeInfo) -> NodeInfo:
        """All of it."""
        return info

    def kept(self, moment: datetime) -> datetime:
        """As it is."""
        return moment


class HttpFleet:
    """The real client, and each agent on a socket, all of one protocol."""

    def __init__(self, agents: HttpAgents, stack: AsyncExitStack, protocol: WireProtocol = WireProtocol.B) -> None:
        """Use a connected client."""
        self.agents = agents
        self.protocol = protocol
        self._stack = stack
        self._servers: dict[str, ScriptedAgent] = {}

    async def put(self, node: MemoryNode) -> Target:
        """Start a node's agent."""
        server = await self._stack.enter_async_context(ScriptedAgent(answer=WIRES[self.protocol](node)))
        self._servers[node.node_id] = server
        return target(node, server.url, self.protocol)

    async def stop(self, node: MemoryNode) -> None:
        """Stop it."""
        await self._servers[node.node_id].stop()

    def told(self, info: NodeInfo) -> NodeInfo:
        """Protocol A knows neither addresses nor attributes of a node, and has a checkout of the agent."""
        if self.protocol is WireProtocol.B:
            return info
        agent = info.agent_version.evolve(checkout="c0ffee1", taint="not tainted")
        return info.evolve(protocol=self.protocol, agent_version=agent, addresses={}, attributes={})

    def kept(self, moment: datetime) -> datetime:
        """Protocol A keeps whole seconds."""
        return moment if self.protocol is WireProtocol.B else moment.replace(microsecond=0)


def target(node: MemoryNode, address: str, protocol: WireProtocol = WireProtocol.B) -> Target:
    """How a node is asked."""
    return Target(node_id=node.node_id, agent_address=address, protocol=protocol, timeout_s=TIMEOUT_S)


@asynccontextmanager
async def http_fleet(
    settings: AgentsSettings | None = None, protocol: WireProtocol = WireProtocol.B
) -> AsyncIterator[HttpFleet]:
    """A fleet on sockets; all of it is closed in the end."""
    async with AsyncExitStack() as stack:
        agents = await stack.enter_async_context(HttpAgents(settings or AgentsSettings()))
        yield HttpFleet(agents, stack, protocol)
