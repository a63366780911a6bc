"""Several servers of a kind that know each other: for tests and for chaos runs, small and quick to agree.

Servers are described, not started: the supervisor does that. The first of a server's ports is the one for its clients.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from infra.stack import kafka, mongod
from infra.stack.context import JVM_FLAGS, Context
from infra.stack.service import Probe, Service

HOST = "127.0.0.1"
QUICK_ELECTIONS = {"electionTimeoutMillis": 1_500, "heartbeatIntervalMillis": 300}


def mongods(context: Context, names: tuple[str, ...], first: int, replica_set: str = "orders") -> list[Service]:
    """Servers that are to become members of a set."""
    made = [mongod.empty_member(context, name, first + index, replica_set) for index, name in enumerate(names)]
    return [replace(service, restart_after=0.0) for service in made]


def zookeepers(context: Context, names: tuple[str, ...], first: int, tick_ms: int = 200) -> list[Service]:
    """An ensemble; a session lasts 20 ticks at most."""
    peers = [
        f"server.{index + 1}={HOST}:{first + 3 * index + 1}:{first + 3 * index + 2};{HOST}:{first + 3 * index}"
        for index in range(len(names))
    ]
    common = [f"tickTime={tick_ms}", "initLimit=25", "syncLimit=10", "maxClientCnxns=0", "admin.enableServer=false"]
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
        logs = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        command = (*java, logs, "-cp", context.class_path("zookeeper"), *main)
        made.append(Service(name, command, Probe("zookeeper", HOST, port), (port,), cwd=str(data)))
    return made


_BROKER = """
process.roles=broker,controller
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PEERS:PLAINTEXT
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
_FOR_GROUPS = """
min.insync.replicas=2
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=100
"""


def brokers(
    context: Context, names: tuple[str, ...], first: int, advertised: Mapping[str, str] | None = None
) -> list[Service]:
    """Brokers that are controllers too, with two ports each; the first is formatted, the others are copies with ids of their own.

    Args:
        context: where they live.
        names: one for each.
        first: the first of their ports.
        advertised: by name, where clients are told that a broker is (a proxy). Peers then have a door, and a third port, of
            their own, and writes need two replicas.
    """
    step = 2 if advertised is None else 3
    voters = ",".join(f"{index + 1}@{HOST}:{first + step * index + 1}" for index in range(len(names)))
    made, cluster_id = [], ""
    for index, name in enumerate(names):
        data, port = context.layout.data(name), first + step * index
        properties = data / "server.properties"
        lines = [f"node.id={index + 1}", f"log.dirs={data / 'data'}", f"controller.quorum.voters={voters}"]
        lines += _doors(port, None if advertised is None else advertised[name])
        properties.write_text(_BROKER + "\n".join(lines) + "\n", encoding="utf-8")
        (data / "log4j2.properties").write_text(kafka.LOG4J, encoding="utf-8")
        scratch = context.layout.scratch(name)
        scratch.mkdir(parents=True, exist_ok=True)
        java: tuple[str, ...] = (context.java, "-Xms48m", "-Xmx256m", *JVM_FLAGS, f"-Djava.io.tmpdir={scratch}")
        java += (f"-Dkafka.logs.dir={data}", f"-Dlog4j2.configurationFile={data / 'log4j2.properties'}")
        java += ("-cp", context.class_path("kafka"))
        if index == 0:
            cluster_id = kafka.format_storage(java, properties, data)
        else:
            _copied(context.layout.data(names[0]), data, index + 1)
        probe = Probe("kafka", HOST, port, expect=cluster_id)
        ports = tuple(range(port, port + step))
        made.append(Service(name, (*java, "kafka.Kafka", str(properties)), probe, ports, cwd=str(data)))
    return made


def _doors(port: int, advertised: str | None) -> list[str]:
    """Where a broker listens, and what it tells others of that."""
    listeners = f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{port + 1}"
    if advertised is None:
        return ["inter.broker.listener.name=PLAINTEXT", f"listeners={listeners}", f"advertised.listeners={listeners}"]
    peers = f"PEERS://{HOST}:{port + 2}"
    told = f"PLAINTEXT://{advertised},CONTROLLER://{HOST}:{port + 1},{peers}"
    return [
        *("inter.broker.listener.name=PEERS", f"listeners={listeners},{peers}", f"advertised.listeners={told}"),
        *_FOR_GROUPS.split(),
    ]


def _copied(formatted: Path, data: Path, node_id: int) -> None:
    """Give a broker the formatted folder of another, with a node id and a directory id of its own."""
    shutil.copytree(formatted / "data", data / "data")
    meta = data / "data" / "meta.properties"
    own = {"node.id": str(node_id), "directory.id": kafka.new_id()}
    lines = [line.partition("=")[::2] for line in meta.read_text(encoding="utf-8").splitlines() if "=" in line]
    meta.write_text("".join(f"{key}={own.get(key, value)}\n" for key, value in lines), encoding="utf-8")
