"""What asking agents costs: CPU of a probe and of a look, against a bare aiohttp client doing the same requests.

    .venv/bin/python tests/bench/agents_cpu.py --clusters 100 --rounds 7

prints one JSON object: for each way the microseconds of CPU per node (the median of the rounds, which take turns within one
run), and the quotients: a probe against one bare request, a look against its five. uvloop; the agents are simulated, in a
process of their own; connections are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median

import aiohttp
import orjson
import uvloop

from blocks.agents.client import HttpAgents
from blocks.agents.protocol import Target
from blocks.agents.settings import AgentsSettings
from blocks.models.look import Failure, Glimpse, Look, NodeInfo
from blocks.models.node import Protocol
from infra.simulator.testing import RunningFleet, simulated_process

ROOT = "/api/unstable"
PROBE = ("/info/node",)
LOOK = ("/info/node", "/info/store", "/info/shards", "/actions/queue", "/actions/finished")
AT_ONCE = 100
Way = Callable[[Target], Awaitable[None]]


async def _swept(targets: list[Target], way: Way) -> float:
    """Ask every node, a hundred at once; the microseconds of CPU per node."""
    waiting = iter(targets)

    async def worker() -> None:
        for target in waiting:
            await way(target)

    begun = time.process_time()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return (time.process_time() - begun) / len(targets) * 1e6


def _bare(session: aiohttp.ClientSession, paths: tuple[str, ...]) -> Way:
    async def way(target: Target) -> None:
        for path in paths:
            async with session.get(target.agent_address + ROOT + path) as response:
                await response.read()
                assert response.status == 200, response.status

    return way


def _probe(agents: HttpAgents, *, shards: bool) -> Way:
    async def way(target: Target) -> None:
        answer: Glimpse | Failure = await agents.probe(target, shards=shards)
        assert isinstance(answer, Glimpse), answer

    return way


def _look(agents: HttpAgents) -> Way:
    async def way(target: Target) -> None:
        look: Look = await agents.look(target)
        assert isinstance(look.info, NodeInfo), look.info

    return way


async def _measure(fleet: RunningFleet, rounds: int) -> dict[str, object]:
    targets = [
        Target(node_id=str(node["node"]), agent_address=str(node["agent_address"]), protocol=Protocol.B)
        for node in fleet.nodes()
    ]
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with (
        aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
        HttpAgents(AgentsSettings(keepalive_s=60)) as agents,
    ):
        ways = {
            "bare, one request": _bare(session, PROBE),
            "probe of the node": _probe(agents, shards=False),
            "bare, five requests": _bare(session, LOOK),
            "look": _look(agents),
            "bare, the shards": _bare(session, ("/info/shards",)),
            "probe of the shards": _probe(agents, shards=True),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, way in ways.items():
                cost_us = await _swept(targets, way)
                if number > 0:  # the first round makes the connections
                    found[name].append(cost_us)
    cpu_us = {name: round(median(costs), 1) for name, costs in found.items()}
    return {
        "nodes": len(targets),
        "load": [round(one, 2) for one in os.getloadavg()],
        "cpu_us": cpu_us,
        "probe / bare": round(cpu_us["probe of the node"] / cpu_us["bare, one request"], 2),
        "probe of shards / bare": round(cpu_us["probe of the shards"] / cpu_us["bare, the shards"], 2),
        "look / five bare": round(cpu_us["look"] / cpu_us["bare, five requests"], 2),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", type=int, default=100, help="of three nodes each")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with simulated_process("--clusters", str(arguments.clusters), "--kinds", "mongodb", "--protocols", "B") as fleet:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(_measure(fleet, arguments.rounds))
        sys.stdout.write(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")


if __name__ == "__main__":
    main()
