"""Real clusters of real engines with our agents; what the product makes of them is in `doubles.sight`.

A MongoDB set with a hidden member and an arbiter, an ensemble of three ZooKeepers, three Kafka brokers: the servers are the
stack's own, small, supervised, and gone with the test process. `Cluster.kill` is kill -9, and the process stays dead.
"""

from __future__ import annotations

import os
import shutil
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
from infra.stack import control, kafka, mongod
from infra.stack.context import JVM_FLAGS, Context
from infra.stack.ports import free_block
from infra.stack.processes import Process
from infra.stack.service import Plan, Probe, Service
from infra.stack.settings import StackSettings
from infra.stack.testing import TestStack

HOST = "127.0.0.1"
WITHIN_S = 30.0
QUICK_ELECTIONS = {"electionTimeoutMillis": 1_500, "heartbeatIntervalMillis": 300}


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


def mongods(context: Context, names: tuple[str, ...], first: int) -> list[Service]:
    """Servers that are to become members of a set called `orders`."""
    made = [mongod.empty_member(context, name, first + index, "orders") for index, name in enumerate(names)]
    return [replace(service, restart_after=0.0) for service in made]


def zookeepers(context: Context, names: tuple[str, ...], first: int) -> list[Service]:
    """An ensemble."""
    peers = [
        f"server.{index + 1}={HOST}:{first + 3 * index + 1}:{first + 3 * index + 2};{HOST}:{first + 3 * index}"
        for index in range(len(names))
    ]
    common = ["tickTime=200", "initLimit=25", "syncLimit=10", "maxClientCnxns=0", "admin.enableServer=false"]
    common += ["4lw.commands.whitelist=srvr,conf,mntr,ruok,isro"]
    made = []
    for index, name in enumerate(names):
        data, port = context.layout.data(name), first + 3 * index
        (data / "data").mkdir()
        (data / "data" / "myid").write_text(f"{index + 1}\n", encoding="ascii")
        lines = [*common, f"dataDir={data / 'data'}", *peers]
        (data / "zoo.cfg").write_text("\n".join(lines) + "\n", encoding="utf-8")
        java = (context.java, "-Xms16m", "-Xmx96m", *JVM_FLAGS, f"-Djava.io.tmpdir={context.layout.scratch(name)}")
        main = ("org.apache.zookeeper.server.quorum.QuorumPeerMain", str(data / "zoo.cfg"))
        command = (
            *java,
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            context.class_path("zookeeper"),
            *main,
        )
        made.append(Service(name, command, Probe("zookeeper", HOST, port), (port,), cwd=str(data)))
    return made


BROKER = """
process.roles=broker,controller
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
offsets.topic.replication.factor=3
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=3
share.coordinator.state.topic.replication.factor=3
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=2097152
replica.lag.time.max.ms=3000
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
controller.quorum.election.backoff.max.ms=300
"""


def brokers(context: Context, names: tuple[str, ...], first: int) -> list[Service]:
    """Brokers that are controllers too; the first is formatted, the others are copies with ids of their own."""
    voters = ",".join(f"{index + 1}@{HOST}:{first + 2 * index + 1}" for index in range(len(names)))
    made, cluster_id = [], ""
    for index, name in enumerate(names):
        data, port = context.layout.data(name), first + 2 * index
        listeners = f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{port + 1}"
        lines = [f"node.id={index + 1}", f"log.dirs={data / 'data'}", f"controller.quorum.voters={voters}"]
        lines += [f"listeners={listeners}", f"advertised.listeners={listeners}"]
        properties = data / "server.properties"
        properties.write_text(BROKER + "\n".join(lines) + "\n", encoding="utf-8")
        (data / "log4j2.properties").write_text(kafka._LOG4J, encoding="utf-8")
        scratch = context.layout.scratch(name)
        scratch.mkdir(parents=True, exist_ok=True)
        java: tuple[str, ...] = (context.java, "-Xms48m", "-Xmx256m", *JVM_FLAGS, f"-Djava.io.tmpdir={scratch}")
        java += (f"-Dkafka.logs.dir={data}", f"-Dlog4j2.configurationFile={data / 'log4j2.properties'}")
        java += ("-cp", context.class_path("kafka"))
        if index == 0:
            cluster_id = kafka._format(java, properties, data)
        else:
            _copied(context.layout.data(names[0]), data, index + 1)
        probe = Probe("kafka", HOST, port, expect=cluster_id)
        made.append(Service(name, (*java, "kafka.Kafka", str(properties)), probe, (port, port + 1), cwd=str(data)))
    return made


def _copied(formatted: Path, data: Path, node_id: int) -> None:
    """Give a broker the formatted folder of another, with a node id and a directory id of its own."""
    shutil.copytree(formatted / "data", data / "data")
    meta = data / "data" / "meta.properties"
    own = {"node.id": str(node_id), "directory.id": kafka._new_cluster_id()}
    lines = [line.partition("=")[::2] for line in meta.read_text(encoding="utf-8").splitlines() if "=" in line]
    meta.write_text("".join(f"{key}={own.get(key, value)}\n" for key, value in lines), encoding="utf-8")


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
