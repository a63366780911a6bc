"""One large Kafka cluster: thousands of partitions with three replicas each, through the whole cycle.

    PYTHONPATH=tests .venv/bin/python tests/bench/large_kafka.py --partitions 4000

prints one JSON object: for each cycle its wall time, CPU, phases, events, and by how much the process grew at most. The
brokers are simulated, in a process of their own; MongoDB and ZooKeeper are real and belong to the bench. Cycles: everything
new; nothing changed (twice); one broker gone, so that its partitions are led by others; that broker back.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
import psutil
import uvloop
from growth import Growth
from pydantic import SecretStr

from blocks.agents.client import HttpAgents
from blocks.agents.settings import AgentsSettings
from blocks.coordinator.settings import ZooKeeper
from blocks.coordinator.zookeeper import ZooKeeperCoordinator
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.record import Change
from blocks.models.source import DiscoveredNode
from blocks.store.mongodb import MongoStore
from blocks.store.settings import MongoDb
from doubles.outside import MemoryOutside
from flows.cycle import Mode, cycle
from flows.entry import utc_now
from flows.steps import Steps, Turn
from infra.simulator.testing import RunningFleet, simulated_process
from infra.stack.testing import TestStack, running

REF = ClusterRef(namespace="bench", cluster_id="kafka-00000")


async def _cycle(coordinator: ZooKeeperCoordinator, store: MongoStore, agents: HttpAgents) -> dict[str, Any]:
    """One cycle, measured."""
    growth = Growth()
    growth.start()
    begun, cpu = time.monotonic(), time.process_time()
    turn = Turn(coordinator, store, agents, utc_now, Steps(), MemoryOutside())
    [report] = (await cycle(turn, [REF], Mode.ORCHESTRATE)).reports
    wall_s, cpu_s = time.monotonic() - begun, time.process_time() - cpu
    growth.stop()
    assert report.error is None, report.error
    state = await store.get(ClusterState, REF.key)
    assert state is not None
    return {
        "wall_s": round(wall_s, 3),
        "cpu_s": round(cpu_s, 3),
        "phases_ms": {**report.phases_ms, **{name: round(ms, 1) for name, ms in turn.steps.phases_ms.items()}},
        "rss_growth_mb": round(growth.bytes / 2**20, 1),
        "events": report.events,
        "shards": state.shards,
        "primaries": state.primaries,
        "health": state.health.value,
    }


async def _measure(fleet: RunningFleet, stack: TestStack) -> dict[str, Any]:
    nodes = [
        DiscoveredNode(node_id=str(node["node"]), agent_address=str(node["agent_address"])) for node in fleet.nodes()
    ]
    told = Discovery(namespace=REF.namespace, cluster_id=REF.cluster_id, source="bench/source", nodes=tuple(nodes))
    spec = ClusterSpec(namespace=REF.namespace, cluster_id=REF.cluster_id, version=1)
    result: dict[str, Any] = {"load": [round(one, 2) for one in os.getloadavg()]}
    async with (
        MongoStore(MongoDb(uri=SecretStr(stack.mongodb_uri), database="bench")) as store,
        HttpAgents(AgentsSettings()) as agents,
        ZooKeeperCoordinator(ZooKeeper(hosts=stack.zookeeper_hosts)) as coordinator,
    ):
        await store.prepare()
        await store.commit(Change(puts=(Namespace(name=REF.namespace, version=1), spec, told)), now=utc_now())
        services = (coordinator, store, agents)
        result["all new"] = await _cycle(*services)
        result["unchanged"] = await _cycle(*services)
        result["unchanged again"] = await _cycle(*services)
        fleet.do("kill", nodes=[nodes[-1].node_id], machine=True)
        result["a broker's machine gone"] = await _cycle(*services)
        fleet.heal()
        result["back"] = await _cycle(*services)
    result["rss_mb"] = round(psutil.Process().memory_info().rss / 2**20, 1)
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=4_000, help="with three replicas each, on three brokers")
    arguments = parser.parse_args()
    simulator = ("--clusters", "1", "--kinds", "kafka", "--protocols", "B", "--partitions", str(arguments.partitions))
    with (
        tempfile.TemporaryDirectory() as folder,
        running(["mongodb", "zookeeper"], Path(folder)) as stack,
        simulated_process(*simulator) as fleet,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        result = runner.run(_measure(fleet, stack))
        sys.stdout.write(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")


if __name__ == "__main__":
    main()
