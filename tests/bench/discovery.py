"""Discovery at scale: a large source over HTTP, real MongoDB and ZooKeeper, everything new, unchanged, a little changed.

    .venv/bin/python tests/bench/discovery.py --clusters 5000 --nodes 3 --page 500

prints one JSON object: for each run its wall time (and the parts of it), what MongoDB was asked for and wrote, and by how
much the process grew at most while it ran. The source is a process of its own. Takes its own servers up and down.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from growth import Growth
from pydantic import SecretStr
from pymongo import AsyncMongoClient

from blocks.coordinator.settings import ZooKeeper
from blocks.coordinator.zookeeper import ZooKeeperCoordinator
from blocks.models.namespace import Namespace
from blocks.models.record import Change
from blocks.models.source import HttpDiscovery, Source, SourceReport
from blocks.sources.live import LiveSources
from blocks.sources.settings import SourcesSettings
from blocks.store.mongodb import MongoStore
from blocks.store.settings import MongoDb
from flows.discover import discover_source
from flows.entry import utc_now
from flows.steps import Steps
from infra.stack.testing import running

LISTENS_WITHIN_S = 15.0


async def _serve(page_size: int, clusters: int, nodes: int) -> None:
    """Serve the fleet on a free port, which is printed. The body of a request says how many clusters have moved."""

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        first, moved = int(asked.get("cursor") or 0), int(asked["moved"])
        last = min(first + page_size, clusters)
        page = [_cluster(number, nodes, moved=number < moved) for number in range(first, last)]
        body = {"clusters": page, "cursor": str(last) if last < clusters else None}
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the benchmark is gone
    await runner.cleanup()


def _cluster(number: int, nodes: int, *, moved: bool) -> dict[str, Any]:
    return {
        "cluster_id": f"cluster-{number:06}",
        "display_name": f"Cluster {number}",
        "labels": {"env": "prod" if number % 2 else "test", "team": f"team-{number % 50}"},
        "nodes": [
            {
                "node_id": f"node-{node}",
                "agent_address": f"http://10.{number // 65_536}.{number // 256 % 256}.{number % 256}:{8_000 + node + moved}",
                "node_class": "mongodb",
                "labels": {"zone": f"zone-{node % 3}"},
            }
            for node in range(nodes)
        ],
    }


@contextmanager
def _source(arguments: argparse.Namespace) -> Iterator[int]:
    """The source in a process of its own; gives its port."""
    sizes = ["--clusters", str(arguments.clusters), "--nodes", str(arguments.nodes), "--page", str(arguments.page)]
    command = [sys.executable, __file__, *sizes, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        timer = threading.Timer(LISTENS_WITHIN_S, process.kill)
        timer.start()
        try:
            port = process.stdout.readline()
            timer.cancel()
            yield int(port)
        finally:
            process.kill()


@asynccontextmanager
async def _counted(uri: str, into: dict[str, Any]) -> AsyncIterator[None]:
    """Counts what MongoDB is asked for, and how many documents it writes."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
    try:
        before = await client.admin.command("serverStatus")
        yield
        after = await client.admin.command("serverStatus")
    finally:
        await client.close()
    names = ("insert", "update", "delete", "query", "getmore", "command")
    into["operations"] = {name: after["opcounters"][name] - before["opcounters"][name] for name in names}
    kinds = ("inserted", "updated", "deleted", "returned")
    then, now = before["metrics"]["document"], after["metrics"]["document"]
    into["documents"] = {kind: now[kind] - then[kind] for kind in kinds}
    committed = "totalCommitted"
    into["transactions"] = after["transactions"][committed] - before["transactions"][committed]


async def _run(
    coordinator: ZooKeeperCoordinator, store: MongoStore, sources: LiveSources, source: Source, uri: str
) -> dict[str, Any]:
    """One run of discovery, measured."""
    measured: dict[str, Any] = {}
    steps, growth = Steps(), Growth()
    async with _counted(uri, measured):
        growth.start()
        begun, cpu = time.monotonic(), time.process_time()
        report: SourceReport = await discover_source(coordinator, store, sources, source.ref, utc_now, steps)
        measured["wall_s"], measured["cpu_s"] = round(time.monotonic() - begun, 3), round(time.process_time() - cpu, 3)
        growth.stop()
    assert report.error is None, report.error
    measured["phases_s"] = {name: round(ms / 1_000, 3) for name, ms in steps.phases_ms.items()}
    measured["rss_growth_mb"] = round(growth.bytes / 2**20, 1)
    found = ("clusters", "nodes", "new", "changed", "missing", "rejected_total")
    return {**measured, **{name: getattr(report, name) for name in found}}


async def _measure(arguments: argparse.Namespace, port: int, mongodb_uri: str, zookeeper_hosts: str) -> dict[str, Any]:
    settings = MongoDb(uri=SecretStr(mongodb_uri), database="bench")
    runs = {"all new": 0, "unchanged": 0, "unchanged again": 0, "changed": max(1, arguments.clusters // 100)}
    result: dict[str, Any] = {"clusters": arguments.clusters, "nodes": arguments.clusters * arguments.nodes}
    async with (
        MongoStore(settings) as store,
        LiveSources(SourcesSettings()) as sources,
        ZooKeeperCoordinator(ZooKeeper(hosts=zookeeper_hosts)) as coordinator,
    ):
        await store.prepare()
        await store.commit(Change(puts=(Namespace(name="bench", version=1),)), now=utc_now())
        for name, moved in runs.items():
            http = HttpDiscovery.model_validate({"url": f"http://127.0.0.1:{port}/", "body": {"moved": moved}})
            source = Source(namespace="bench", name="source", http=http, version=1)
            await store.commit(Change(puts=(source,)), now=utc_now())
            result[name] = await _run(coordinator, store, sources, source, mongodb_uri)
    return result


def main() -> None:
    """Run the benchmark, or its source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", type=int, default=5_000)
    parser.add_argument("--nodes", type=int, default=3, help="of each cluster")
    parser.add_argument("--page", type=int, default=500, help="clusters of a page")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(_serve(arguments.page, arguments.clusters, arguments.nodes))
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        running(["mongodb", "zookeeper"], Path(folder)) as stack,
        _source(arguments) as port,
        contextlib.suppress(KeyboardInterrupt),
    ):
        result = asyncio.run(_measure(arguments, port, stack.mongodb_uri, stack.zookeeper_hosts))
        sys.stdout.write(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")


if __name__ == "__main__":
    main()
