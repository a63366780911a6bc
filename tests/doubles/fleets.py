"""One form for agents in memory and agents behind sockets, so that one suite can run on both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from blocks.agents.client import HttpAgents
from blocks.agents.protocol import Agents, Target
from blocks.agents.settings import AgentsSettings
from blocks.models.node import Protocol as WireProtocol
from doubles.agents import MemoryAgents, MemoryNode
from doubles.scripted_agent import ScriptedAgent
from doubles.wire_b import WireB

TIMEOUT_S = 5.0


class Fleet(Protocol):
    """Agents, and the nodes they are asked about."""

    @property
    def agents(self) -> Agents:
        """The client."""

    async def put(self, node: MemoryNode) -> Target:
        """Start a node's agent."""

    async def stop(self, node: MemoryNode) -> None:
        """Stop it: from now on connections are refused."""


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


class HttpFleet:
    """The real client, and each agent on a socket."""

    def __init__(self, agents: HttpAgents, stack: AsyncExitStack) -> None:
        """Use a connected client."""
        self.agents = agents
        self._stack = stack
        self._servers: dict[str, ScriptedAgent] = {}

    async def put(self, node: MemoryNode) -> Target:
        """Start a node's agent."""
        server = await self._stack.enter_async_context(ScriptedAgent(answer=WireB(node)))
        self._servers[node.node_id] = server
        return target(node, server.url)

    async def stop(self, node: MemoryNode) -> None:
        """Stop it."""
        await self._servers[node.node_id].stop()


def target(node: MemoryNode, address: str) -> Target:
    """How a node is asked."""
    return Target(node_id=node.node_id, agent_address=address, protocol=WireProtocol.B, timeout_s=TIMEOUT_S)


@asynccontextmanager
async def http_fleet(settings: AgentsSettings | None = None) -> AsyncIterator[HttpFleet]:
    """A fleet on sockets; all of it is closed in the end."""
    async with AsyncExitStack() as stack:
        agents = await stack.enter_async_context(HttpAgents(settings or AgentsSettings()))
        yield HttpFleet(agents, stack)
