"""One node behind a real socket in either protocol, of which a test may script single answers; and what a cycle makes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import orjson

from blocks.agents.client import HttpAgents
from blocks.agents.protocol import Target
from blocks.agents.settings import AgentsSettings
from blocks.models.look import Look
from blocks.models.node import Protocol, Shard, ShardRole
from blocks.models.view import ClusterView
from doubles.agents import MemoryNode
from doubles.fleets import WIRES
from doubles.scripted_agent import Received, Reply, ScriptedAgent
from doubles.views import NOW, discovery, later, make_view
from doubles.wire_b import ROOT
from tasks.decide.settle import Settled, settle

CAP = 16_384
FENCE = "1:100"
KIND = "agent.replicante.io/test.success"


@dataclass(frozen=True)
class Paths:
    """What is where in a protocol."""

    info: str
    store: str
    shards: str
    action: str
    post: str
    queue: str = f"{ROOT}actions/queue"
    finished: str = f"{ROOT}actions/finished"


PATHS = {
    Protocol.A: Paths(
        info=f"{ROOT}info/agent",
        store=f"{ROOT}info/datastore",
        shards=f"{ROOT}shards",
        action=f"{ROOT}actions/info/",
        post=f"{ROOT}actions/schedule/{KIND}",
    ),
    Protocol.B: Paths(
        info=f"{ROOT}info/node",
        store=f"{ROOT}info/store",
        shards=f"{ROOT}info/shards",
        action=f"{ROOT}action/",
        post=f"{ROOT}action",
    ),
}


@dataclass(frozen=True)
class Wired:
    """The node `prod/orders/n1`, its agent and the client."""

    protocol: Protocol
    node: MemoryNode
    agent: ScriptedAgent
    agents: HttpAgents
    path: Paths

    @property
    def target(self) -> Target:
        """How it is asked; its protocol is remembered."""
        return Target(node_id="n1", agent_address=self.agent.url, protocol=self.protocol, timeout_s=5.0)

    async def look(self, *asked: str, timeout_s: float = 5.0) -> Look:
        """Look at it."""
        return await self.agents.look(self.target.evolve(timeout_s=timeout_s), asked)

    def on(self, path: str, *replies: Reply) -> None:
        """Script the answers to a GET."""
        self.agent.on("GET", path, *replies)

    def natural(self, path: str) -> dict[str, object]:
        """What the node would answer by itself."""
        body: dict[str, object] = orjson.loads(WIRES[self.protocol](self.node)(Received("GET", path, {}, b"", 0)).body)
        return body

    def failure(self, message: str, status: int = 500) -> Reply:
        """An error as its protocol has it."""
        bodies = {
            Protocol.A: {"error": message, "layers": [message], "trace": "0: main\n" * 400, "variant": "StoreOpFailed"},
            Protocol.B: {"error": True, "error_msg": message},
        }
        return Reply.json(bodies[self.protocol], status)


@asynccontextmanager
async def wired(protocol: Protocol, body_bytes_max: int = CAP) -> AsyncIterator[Wired]:
    """A healthy node that is the primary of the only shard."""
    node = MemoryNode("n1", shards=(Shard(shard_id="rs0", role=ShardRole.PRIMARY),))
    settings = AgentsSettings(body_bytes_max=body_bytes_max)
    async with ScriptedAgent(answer=WIRES[protocol](node)) as agent, HttpAgents(settings) as agents:
        yield Wired(protocol, node, agent, agents, PATHS[protocol])


def new_view() -> ClusterView:
    """The cluster `orders` of one node, discovered and never looked at."""
    return replace(make_view(), discovery=discovery(["n1"]))


def cycle(view: ClusterView, look: Look, at: float = 0) -> Settled:
    """What a cycle makes of a look at the node."""
    return settle(view, {"n1": look}, now=later(at) if at else NOW)
