"""A simulated fleet in the test's own event loop, and short ways to talk to its agents."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from infra.simulator.app import now
from infra.simulator.commands import parse_command
from infra.simulator.layout import Layout
from infra.simulator.model import Kind, Node, Wire
from infra.simulator.simulator import Settings, Simulator

ROOT = "/api/unstable"
SUCCESS = "agent.replicante.io/test.success"
NO_KEEPING = httpx.Limits(max_keepalive_connections=0)
"""A new connection for each request: faults break kept ones off."""
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Loads no certificates, which takes long."""
LOOP = "agent.replicante.io/test.loop"


class Simulation:
    """A running fleet."""

    def __init__(self, simulator: Simulator, client: httpx.AsyncClient) -> None:
        self.simulator = simulator
        self.client = client
        self.fleet = simulator.fleet

    def node(self, index: int = 0) -> Node:
        """A node by its place in the whole fleet."""
        return list(self.fleet.nodes.values())[index]

    def do(self, do: str, **command: Any) -> list[str]:
        """Carry out a command."""
        return self.simulator.conductor.apply(parse_command({"do": do, **command}))

    async def get(self, node: Node, path: str) -> httpx.Response:
        """GET below the agent's root."""
        return await self.client.get(f"{node.url}{ROOT}{path}")

    async def told(self, node: Node, path: str) -> Any:
        """The JSON of a successful answer."""
        answer = await self.get(node, path)
        answer.raise_for_status()
        return answer.json()

    async def schedule(self, node: Node, **body: Any) -> httpx.Response:
        """POST an action to an agent of protocol B."""
        return await self.client.post(f"{node.url}{ROOT}/action", json=body)

    async def phases(self, node: Node, which: str) -> dict[str, str]:
        """Phases by action id, as a list of protocol B tells."""
        actions = (await self.told(node, f"/actions/{which}"))["actions"]
        return {action["id"]: action["phase"] for action in actions}


@asynccontextmanager
async def simulation(
    *kinds: Kind, wire: Wire = Wire.B, settings: dict[str, Any] | None = None, **layout: Any
) -> AsyncIterator[Simulation]:
    """Run a fleet with one cluster of each of `kinds`; actions move as fast as the loop turns."""
    kinds = kinds or (Kind.MONGODB,)
    chosen = Layout(**{"clusters": len(kinds), "kinds": kinds, "protocols": (wire,), **layout})
    options = {"execute_interval_s": 0.0, **(settings or {})}
    async with (
        Simulator(Settings(layout=chosen, **options), now) as simulator,
        httpx.AsyncClient(trust_env=False, timeout=5.0, limits=NO_KEEPING, verify=NO_TLS) as client,
    ):
        yield Simulation(simulator, client)
