"""A control plane that carries out rolling actions on real servers: the real cycle and client of agents, a store in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from blocks.agents.client import HttpAgents
from blocks.agents.settings import AgentsSettings
from blocks.models.cluster import Discovery
from blocks.models.namespace import NamespaceSettings
from blocks.models.rolling import Rolling
from blocks.models.source import DiscoveredNode
from doubles.engines import WITHIN_S, Cluster, command
from doubles.views import REF
from doubles.world import World
from flows.cycle import Mode, cycle
from flows.entry import utc_now
from tasks.decide.rolling_plan import is_primary

NAMES = ("orders-1", "orders-2", "orders-3")
ROLL_WITHIN_S = 120.0


class Driven:
    """A control plane with a store in memory and the real client of agents, at the pace of real time."""

    def __init__(self, servers: Cluster) -> None:
        """Know nothing yet."""
        self.servers = servers
        self.world = World()

    async def declare(self, names: Sequence[str] = NAMES) -> None:
        """Tell of these members."""
        await self.world.declare(settings=NamespaceSettings(status_hold=0))
        await self.tell(names)

    async def tell(self, names: Sequence[str], *others: DiscoveredNode) -> None:
        """The source tells of these members, and of others."""
        nodes = tuple(DiscoveredNode(node_id=name, agent_address=self.servers.agents[name].url) for name in names)
        known = Discovery(
            namespace="prod", cluster_id="orders", source="prod/inventory", nodes=(*nodes, *others), version=1
        )
        await self.world.save(known)

    async def turn(self) -> Any:
        """One cycle; the view after it."""
        async with HttpAgents(AgentsSettings()) as agents:
            turn = replace(await self.world.turn(agents=agents), clock=utc_now)
            [report] = (await cycle(turn, [REF], Mode.ORCHESTRATE)).reports
        assert report.error is None
        return (await self.world.store.views([REF]))[REF.key]

    async def until(self, is_so: Any, what: str, within_s: float = WITHIN_S) -> None:
        """Cycle by cycle until that is so."""
        ends = time.monotonic() + within_s
        while not is_so(view := await self.turn()):
            assert time.monotonic() < ends, f"not within {within_s:g} s: {what}; {view.state} {view.rollings}"
            await asyncio.sleep(0.2)

    async def rolling(self) -> Rolling:
        """The one there is, as it is now."""
        [found] = await self.world.store.find(Rolling)
        return found

    async def until_healthy(self) -> None:
        """Until all are well, and one of them leads."""
        await self.until(
            lambda view: view.state.health == "HEALTHY" and any(map(is_primary, view.nodes.values())),
            "a healthy cluster",
        )

    async def until_over(self) -> Rolling:
        """Until no rolling action is unfinished; the one there is."""
        await self.until(lambda view: not view.rollings, "the end of the rolling action", ROLL_WITHIN_S)
        return await self.rolling()


def processes(servers: Cluster) -> dict[str, str]:
    """By name, which process of mongod answers."""
    return {name: str(command(servers, name, "hello")["topologyVersion"]["processId"]) for name in NAMES}
