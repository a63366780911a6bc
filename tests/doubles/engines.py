"""Real clusters of real engines with our agents; what the product makes of them is in `doubles.sight`.

A MongoDB set with a hidden member and an arbiter, an ensemble of three ZooKeepers, three Kafka brokers: the servers are the
stack's own, small, supervised, and gone with the test process. `Cluster.kill` is kill -9, and the process stays dead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from infra.agents.testing import AgentProcess
from infra.agents.testing import running as running_agent
from infra.stack import control
from infra.stack.context import Context
from infra.stack.ensembles import HOST, QUICK_ELECTIONS, brokers, mongods, zookeepers
from infra.stack.ports import free_block
from infra.stack.processes import Process
from infra.stack.service import Plan, Service
from infra.stack.settings import StackSettings
from infra.stack.testing import TestStack

WITHIN_S = 30.0


@dataclass
class Cluster:
    """Servers that run; `ports` by name, in the order of their numbers."""

    stack: TestStack
    ports: dict[str, int]
    agents: dict[str, AgentProcess] = field(default_factory=dict)

    def address(self, name: str) -> str:
        """Where a server listens for clients."""
        return f"{HOST}:{self.ports[name]}"

    @property
    def addresses(self) -> str:
        """All of them, with commas between."""
        return ",".join(self.address(name) for name in self.ports)

    def kill(self, *names: str) -> None:
        """Kill -9 servers, which stay dead."""
        for name in names:
            self.stack.stop(name)

    def start(self, *names: str) -> None:
        """Start servers that were killed, and wait until they serve."""
        plan = Plan.read(self.stack.layout.plan)
        held = tuple(other for other in plan.held if other not in names)
        control.supervise(replace(plan, held=held), self.stack.layout)
        self.stack.wait_ready(*names)


@contextmanager
def cluster(folder: Path, names: Iterable[str], ports: int, made: Callable[..., list[Service]]) -> Iterator[Cluster]:
    """Run the servers that `made` describes, given a context, the names and the first of `ports` free ports for each."""
    settings, known = StackSettings.free(folder), tuple(names)
    first = free_block(HOST, ports * len(known))
    services = made(Context(settings), known, first)
    me = Process.of(os.getpid())
    plan = Plan(parent_pid=os.getpid(), parent_identity=me.identity if me else "", graceful=False)
    try:
        control.supervise(plan.with_services(*services), settings.layout)
        stack = TestStack(settings)
        stack.wait_ready(*known)
        yield Cluster(stack, {service.name: service.ports[0] for service in services})
    finally:
        control.stop(settings.layout)


@contextmanager
def with_agents(made: Cluster, kind: str, cluster_id: str, folder: Path, *extra: str) -> Iterator[Cluster]:
    """Run an agent for each server, all started at once; on a server's name follows the node's."""
    with ExitStack() as exits, ThreadPoolExecutor(len(made.ports)) as pool:
        starts = {
            name: running_agent(
                kind, folder / name, *extra, store=made.address(name), node_id=name, cluster_id=cluster_id
            )
            for name in made.ports
        }
        begun = {name: pool.submit(start.__enter__) for name, start in starts.items()}
        for start in starts.values():
            exits.push(start)
        made.agents.update({name: one.result(WITHIN_S) for name, one in begun.items()})
        yield made


def command(made: Cluster, name: str, *command: Any, **fields: Any) -> dict[str, Any]:
    """Run a command on one mongod, and on no other."""
    uri = f"mongodb://{made.address(name)}"
    with MongoClient[dict[str, Any]](uri, directConnection=True, timeoutMS=10_000) as client:
        return client.admin.command(*command, **fields)


def formed(made: Cluster, **members: Mapping[str, Any]) -> None:
    """Make mongods members of one set, with what the configuration says of each beyond its address."""
    wanted = [
        {"_id": index, "host": made.address(name), **members.get(name.replace("-", "_"), {})}
        for index, name in enumerate(made.ports)
    ]
    config = {"_id": "orders", "members": wanted, "settings": QUICK_ELECTIONS}
    command(made, next(iter(made.ports)), "replSetInitiate", config)


mongodb_cluster = partial(cluster, ports=1, made=mongods)
zookeeper_cluster = partial(cluster, ports=3, made=zookeepers)
kafka_cluster = partial(cluster, ports=2, made=brokers)
