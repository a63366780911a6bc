"""The longest gap of a client that writes all the time: a rolling restart by the product, and the same restart done by hand.

    PYTHONPATH=tests .venv/bin/python tests/bench/rolling_restart.py --runs 3

runs a real set of three mongods with our agents, in a folder of its own, and takes it down in the end. Prints one JSON object: of
each run the longest time without an acknowledged write, how long the whole restart took, in seconds, and how many writes failed.
With `--no-chaining` secondaries replicate from the primary only.
`rolling` is `node.restart` on each member by the cycle; `by_hand` is SIGTERM to one mongod after the other in the order of their
names, each time waiting until it is a member again, as from a shell; `killed` is the same with SIGKILL.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from pymongo.errors import PyMongoError

from doubles.driven import NAMES, Driven, processes
from doubles.engines import WITHIN_S, Cluster, command, formed, mongodb_cluster, with_agents
from doubles.rollings import rolled
from doubles.writer import writing

SETTLE_S = 1.0
EVERY_S = 0.2
MEMBERS = {1, 2}


async def rolling(servers: Cluster) -> None:
    """By the product."""
    driven = Driven(servers)
    await driven.declare()
    await driven.until_healthy()
    await rolled(driven.world, rolling_id=str(uuid4()), settle_s=SETTLE_S)
    found = await driven.until_over()
    assert found.error is None, found.error


def by_hand(signum: int) -> Callable[[Cluster], Awaitable[None]]:
    """As a person does from a shell, server by server."""

    async def restart(servers: Cluster) -> None:
        for name in NAMES:
            before = processes(servers)[name]
            servers.stack.kill(name, signum)
            ends = time.monotonic() + WITHIN_S
            while not _is_back(servers, name, before):
                assert time.monotonic() < ends, f"{name} did not come back"
                await asyncio.sleep(EVERY_S)
            await asyncio.sleep(SETTLE_S)

    return restart


def _is_back(servers: Cluster, name: str, before: str) -> bool:
    try:
        other = str(command(servers, name, "hello")["topologyVersion"]["processId"]) != before
        return other and command(servers, name, "replSetGetStatus")["myState"] in MEMBERS
    except PyMongoError:
        return False


async def measured(servers: Cluster, restart: Callable[[Cluster], Awaitable[None]]) -> dict[str, Any]:
    """One restart under load."""
    with writing(servers.addresses) as writer:
        await asyncio.sleep(SETTLE_S)
        begun = time.monotonic()
        await restart(servers)
        took_s = time.monotonic() - begun
        await asyncio.sleep(SETTLE_S)
    return {
        "longest_gap_s": round(writer.longest_gap_s, 3),
        "took_s": round(took_s, 1),
        "writes": len(writer.acknowledged),
        "refused": len(writer.refused),
    }


WAYS: dict[str, Callable[[Cluster], Awaitable[None]]] = {
    "rolling": rolling,
    "by_hand": by_hand(signal.SIGTERM),
    "killed": by_hand(signal.SIGKILL),
}


async def compared(servers: Cluster, runs: int) -> dict[str, list[dict[str, Any]]]:
    """Each way so often, one after the other, so that a busy machine is busy for all of them."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    for _ in range(runs):
        for name, way in WAYS.items():
            found[name].append(await measured(servers, way))
    return found


def without_chaining(servers: Cluster) -> None:
    """Let no secondary replicate from another one: where it does, majority writes wait a second while it looks for another source."""
    ends = time.monotonic() + WITHIN_S
    leaders: list[str] = []
    while not leaders:
        assert time.monotonic() < ends, "no primary"
        leaders = [name for name in NAMES if command(servers, name, "hello")["isWritablePrimary"]]
        time.sleep(EVERY_S)
    config = command(servers, leaders[0], "replSetGetConfig")["config"]
    wanted = {**config, "version": config["version"] + 1, "settings": {**config["settings"], "chainingAllowed": False}}
    command(servers, leaders[0], "replSetReconfig", wanted)


def main() -> None:
    """Run it and print what was measured."""
    parser = argparse.ArgumentParser(description="The longest write gap of a rolling restart.")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-chaining", action="store_true", help="secondaries replicate from the primary only")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            mongodb_cluster(folder / "stack", NAMES) as servers,
            with_agents(servers, "mongodb", "orders", folder / "agents", "--execute-interval", "0.2"),
        ):
            formed(servers)
            if given.no_chaining:
                without_chaining(servers)
            found = asyncio.run(compared(servers, given.runs))
    sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")


if __name__ == "__main__":
    main()
