"""How fast the simulator is alone: ``python -m infra.simulator.measure``, with a client of hand-written protocols.

The simulator has the last core, the client the first. What counts is its CPU per answer: that is what it takes away
from what it measures, whoever asks. Each line: how it was asked, answers per second, and microseconds per answer.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import cast

import uvloop

from infra.simulator.testing import RunningFleet, simulated_process

ROOT = "/api/unstable"
PROBE = (f"{ROOT}/info/node",)
CYCLE = tuple(
    f"{ROOT}{path}" for path in ("/info/node", "/info/store", "/info/shards", "/actions/queue", "/actions/finished")
)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to ask."""

    name: str
    paths: Sequence[str]
    keep: bool


WAYS = (
    Way("probe, kept alive", PROBE, keep=True),
    Way("probe, new connection each", PROBE, keep=False),
    Way("five requests of a cycle, kept alive", CYCLE, keep=True),
)


class Client(asyncio.Protocol):
    """Asks one thing after the other, and says when its connection is lost."""

    def __init__(self, requests: Sequence[bytes], until: float, lost: "asyncio.Future[None]") -> None:
        """Ask `requests` in turn until a moment of the monotonic clock."""
        self._requests = cycle(requests)
        self._until = until
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._left = 0
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        """Ask again when the answer is complete."""
        if self._left == 0:
            end = data.find(b"\r\n\r\n") + 4
            length = data.find(b"content-length: ") + 16
            self._left = end + int(data[length : data.find(b"\r", length)])
        self._left -= len(data)
        if self._left > 0 or self._transport is None:
            return
        self.answers += 1
        if time.monotonic() < self._until:
            self._transport.write(next(self._requests))
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so."""
        del exc
        if not self._lost.done():
            self._lost.set_result(None)


async def ask(addresses: Sequence[str], way: Way, seconds: float, concurrency: int) -> int:
    """Ask agents for some time; return the number of answers.

    Args:
        addresses: Their URLs.
        way: What to ask.
        seconds: For how long.
        concurrency: How many at once.
    """
    loop = asyncio.get_running_loop()
    until = time.monotonic() + seconds
    places = cycle(addresses)
    answers = 0

    async def worker() -> None:
        nonlocal answers
        while time.monotonic() < until:
            host, port = next(places).removeprefix("http://").split(":")
            requests = [_request(path, host, keep=way.keep) for path in way.paths]
            lost: asyncio.Future[None] = loop.create_future()
            end = until if way.keep else 0.0
            _, client = await loop.create_connection(lambda: Client(requests, end, lost), host, int(port))  # noqa: B023 - used before the next turn
            await lost
            answers += client.answers

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return answers


def measure(fleet: RunningFleet, way: Way, seconds: float, concurrency: int) -> tuple[float, float]:
    """Return answers per second, and microseconds of the simulator's CPU per answer."""
    addresses = [str(node["agent_address"]) for node in fleet.nodes()]
    before, began = fleet.status(), time.monotonic()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers = runner.run(ask(addresses, way, seconds, concurrency))
    took = time.monotonic() - began
    spent = cast("float", fleet.status()["cpu_s"]) - cast("float", before["cpu_s"])
    return answers / took, spent / answers * 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each way, and print."""
    parser = argparse.ArgumentParser(prog="infra.simulator.measure", description="How fast the simulator is alone.")
    parser.add_argument("--clusters", type=int, default=3_334)
    parser.add_argument("--kinds", default="mongodb,zookeeper")
    parser.add_argument("--partitions", default="100")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--concurrency", type=int, default=100)
    parsed = parser.parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    layout = ("--clusters", str(parsed.clusters), "--kinds", parsed.kinds, "--partitions", parsed.partitions)
    with simulated_process(*layout) as fleet:
        os.sched_setaffinity(0, cores[:1])
        for way in WAYS:
            rate, cost = measure(fleet, way, parsed.seconds, parsed.concurrency)
            print(f"{way.name:40} {rate:10.0f} /s {cost:8.1f} us")  # noqa: T201 - a command line tool
    return 0


def _request(path: str, host: str, *, keep: bool) -> bytes:
    """Return a request as a client of the product sends it."""
    close = "" if keep else "Connection: close\r\n"
    head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\n"
    return f"{head}User-Agent: replicante-core\r\n{close}\r\n".encode()


if __name__ == "__main__":
    sys.exit(main())
