"""The limit: a bare client doing the same requests, with nothing else around it.

It is the client library that the product uses, as the product sets it up, and aiohttp as it comes where that is another one.
"""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

import aiohttp
import uvloop

from infra.bench.errors import BenchError

ROOT = "/api/unstable"
PROBE = {"B": ("/info/node", "/info/shards"), "A": ("/info/datastore", "/shards")}
"""By protocol, what probes ask for in turn."""
LOOK = {
    "B": ("/info/node", "/info/store", "/info/shards", "/actions/queue", "/actions/finished"),
    "A": ("/info/agent", "/info/datastore", "/shards", "/actions/queue", "/actions/finished"),
}
"""By protocol, the five requests of a full look."""
AT_ONCE = 100
"""Nodes asked at once, as the product's `concurrency`."""
KEEPALIVE_S = 4.0
OK = 200

_TRIES = 3
_CLOSE = {"Connection": "close"}


class Get(Protocol):
    """Asks for one URL; `last` lets the agent close the connection."""

    def __call__(self, url: str, *, last: bool) -> Awaitable[None]:
        """Ask."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent is and what it speaks."""

    url: str
    protocol: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """All nodes asked once."""

    nodes: int
    wall_s: float
    cpu_s: float

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU per node."""
        return self.cpu_s / self.nodes * 1e6

    @property
    def nodes_per_s(self) -> float:
        """Nodes per second."""
        return self.nodes / self.wall_s


def bare(places: Sequence[Place], sweeps: int, at_least: int = 600) -> dict[str, list[Sweep]]:
    """Sweep over all nodes, the ways in turn: `probe` (one request each) and `look` (five), each on kept connections and, as
    `probe_new` and `look_new`, with a new connection for each node: what a client has to do that comes again only after
    agents have closed idle ones.

    Args:
        places: the nodes.
        sweeps: how many of each way are kept; one more goes before them and makes connections.
        at_least: small fleets are swept several times at once, so that a sweep asks so many nodes.
    """
    times = max(1, -(-at_least // len(places)))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_bare(list(places), sweeps, times))


async def _bare(places: list[Place], sweeps: int, times: int) -> dict[str, list[Sweep]]:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
    found: dict[str, list[Sweep]] = {way: [] for way in ("probe", "look", "probe_new", "look_new")}
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def get(url: str, *, last: bool) -> None:
            for left in reversed(range(_TRIES)):
                try:
                    async with session.get(url, headers=_CLOSE if last else None) as response:
                        await response.read()
                except aiohttp.ServerDisconnectedError:  # a connection that was kept, closed at the same moment
                    if not left:
                        raise
                    continue
                if response.status != OK:
                    message = f"{url} answered {response.status}"
                    raise BenchError(message)
                return

        for number in range(sweeps + 1):
            for way, sweeps_of in found.items():
                sweep = await _sweep(places * times, way, number, get)
                if number:
                    sweeps_of.append(sweep)
    return found


async def _sweep(places: Sequence[Place], way: str, turn: int, get: Get) -> Sweep:
    waiting = iter(places)

    async def worker() -> None:
        for place in waiting:
            look = way.startswith("look")
            paths = LOOK[place.protocol] if look else PROBE[place.protocol][turn % 2 : turn % 2 + 1]
            for path in paths:
                await get(place.url + ROOT + path, last=way.endswith("_new") and path is paths[-1])

    began, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return Sweep(len(places), time.monotonic() - began, time.process_time() - cpu)
