"""The world of a chaos run: three servers of each kind, Prefect, workers, a fleet; everything talks through our network.

MongoDB tells its clients where its members are, and Kafka where its brokers are: they tell the addresses of the network's doors.
An agent's door has the agent's own loopback address and another port. Our own process is subject to no rule.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from infra.chaos.callers import Callers
from infra.chaos.network import Address, Network, to
from infra.chaos.settings import (
    AGENTS,
    BROKERS,
    FREE,
    MAIN,
    MEMBERS,
    MONGODS,
    PREFECT,
    REAL,
    STRICT,
    ZOOKEEPERS,
    Part,
    Settings,
)
from infra.simulator.testing import RunningFleet, simulated_process
from infra.stack import control, fleet, prefect_server
from infra.stack.context import Context
from infra.stack.ensembles import HOST, QUICK_ELECTIONS, brokers, mongods, zookeepers
from infra.stack.layout import PROJECT, write_atomic
from infra.stack.ports import FOR_PRODUCT, free_block
from infra.stack.processes import Process
from infra.stack.service import Plan, Probe, Service
from infra.stack.settings import StackSettings
from infra.stack.status import Status

SET = REAL
TICK_MS = 500
READY_WITHIN_S = 120.0
_ALREADY = 23


@dataclass
class World:
    """A running world."""

    settings: Settings
    stack: StackSettings
    network: Network
    fleet: RunningFleet
    doors: dict[str, Address] = field(default_factory=dict)
    """By target: where it is reached through the network."""
    behind: dict[str, Address] = field(default_factory=dict)
    """By target: where it really listens."""
    nodes: dict[str, dict[str, str]] = field(default_factory=dict)
    """By part and node, the key of its cluster."""

    def environment(self, part: Part) -> dict[str, str]:
        """What a process of the product must know: everything is reached through the network."""
        zookeepers_, brokers_ = (self._listed(names) for names in (ZOOKEEPERS, BROKERS))
        return {
            "PREFECT_API_URL": f"http://{_text(self.doors[PREFECT])}/api",
            "PREFECT_HOME": str(self.stack.layout.root / "prefect-client"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "DO_NOT_TRACK": "1",
            "REPLICORE_ZOOKEEPER_HOSTS": zookeepers_,
            "REPLICORE_KAFKA_BOOTSTRAP": brokers_,
            "REPLICORE_MONGODB_URI": self.mongodb_uri,
            **part.environment,
            "REPLICORE_WORK_QUEUE_REPLICATION_FACTOR": "3",
            "REPLICORE_WORK_QUEUE_PARTITIONS": "6",
            "REPLICORE_EVENT_BUS_REPLICATION_FACTOR": "3",
            "REPLICORE_EVENT_BUS_PARTITIONS": "6",
            "REPLICORE_WORKERS_SEATS": str(self.settings.seats if part.name == MAIN else 1),
            "REPLICORE_WORKERS_SHIFT_S": "120",
        }

    @property
    def mongodb_uri(self) -> str:
        """The replica set."""
        options = f"replicaSet={SET}&heartbeatFrequencyMS=1000&serverSelectionTimeoutMS=8000"
        return f"mongodb://{self._listed(MONGODS)}/?{options}"

    @property
    def bootstrap(self) -> str:
        """The brokers."""
        return self._listed(BROKERS)

    def _listed(self, names: Iterable[str]) -> str:
        return ",".join(_text(self.doors[name]) for name in names)

    def clock_of(self, worker: str) -> Path:
        """The file that says by how much a worker's clock is wrong."""
        return self.settings.home / f"clock-{worker}"

    def pid(self, name: str) -> int | None:
        """The process of a service, if it runs."""
        process = Process.read(self.stack.layout.pid_file(name))
        return process.pid if process is not None else None

    def owns(self, pid: int) -> bool:
        """Whether a process is one of this world: nothing else is ever harmed."""
        return bool(self.network.callers.service_of(pid))

    def ready(self, name: str) -> bool:
        """Whether a service is ready, as its supervisor knows it."""
        found = Status.read(self.stack.layout.status).get(name)
        return found is not None and found.is_ready

    async def hold(self, *names: str) -> None:
        """Take services down and keep them down."""
        await asyncio.to_thread(self._held, set(names), set())

    async def release(self, *names: str) -> None:
        """Let services come back."""
        await asyncio.to_thread(self._held, set(), set(names))

    def _held(self, more: set[str], fewer: set[str]) -> None:
        plan = Plan.read(self.stack.layout.plan)
        held = tuple(sorted((set(plan.held) | more) - fewer))
        control.supervise(replace(plan, held=held), self.stack.layout)

    def primary(self) -> str | None:
        """Which mongod takes writes."""
        for name in MONGODS:
            try:
                with self.mongod(name) as client:
                    if client.admin.command("hello").get("isWritablePrimary"):
                        return name
            except PyMongoError:
                continue
        return None

    def mongod(self, name: str) -> MongoClient[dict[str, Any]]:
        """A client of one mongod, past the network."""
        host, port = self.behind[name]
        return MongoClient(host, port, directConnection=True, timeoutMS=2_000)


@asynccontextmanager
async def world(settings: Settings) -> AsyncIterator[World]:
    """Everything that a run needs but its workers: see `hire`."""
    settings.home.mkdir(parents=True, exist_ok=True)
    stack = StackSettings.free(settings.home / "stack", FOR_PRODUCT)
    stack.layout.create()
    record = settings.home / "agents.jsonl"
    clusters = sum(part.clusters for part in settings.parts)
    simulator = simulated_process(
        *("--clusters", str(clusters), "--kinds", "mongodb,zookeeper,kafka", "--protocols", "B,A,B"),
        *("--partitions", "12", "--seed", str(settings.seed), "--record", str(record), "--execute-interval", "0.4"),
        *("--base-address", "127.60.0.0"),
    )
    threads = ThreadPoolExecutor(1)  # one thread for what must be left by the thread that entered it
    loop = asyncio.get_running_loop()
    running = await loop.run_in_executor(threads, simulator.__enter__)
    try:
        async with Network(Callers(stack.layout.root)) as network:
            made = World(settings, stack, network, running)
            try:
                await _servers(made)
                await _fleet(made)
                yield made
            finally:
                network.lift_all()
                await asyncio.to_thread(control.stop, stack.layout)
    finally:
        await loop.run_in_executor(threads, simulator.__exit__, None, None, None)
        threads.shutdown()


async def _servers(made: World) -> None:
    """Start all servers behind their doors."""
    context = Context(made.stack)
    first = free_block(HOST, 9 + 9 + 3, FOR_PRODUCT)
    for names, offset, step in ((ZOOKEEPERS, 0, 3), (BROKERS, 9, 3), (MONGODS, 18, 1)):
        made.behind.update({name: (HOST, first + offset + index * step) for index, name in enumerate(names)})
    made.behind[PREFECT] = (HOST, made.stack.prefect_port)
    for name, address in made.behind.items():
        made.doors[name] = await made.network.listen(HOST, 0, to(name, address))
    me = Process.of(os.getpid())
    plan = Plan(parent_pid=os.getpid(), parent_identity=me.identity if me else "", graceful=False)

    def start() -> None:
        advertised = {name: _text(made.doors[name]) for name in BROKERS}
        services = [prefect_server.service(context), *mongods(context, MONGODS, first + 18, SET)]
        control.supervise(plan.with_services(*services), made.stack.layout)
        services += [
            *zookeepers(context, ZOOKEEPERS, first, TICK_MS),
            *brokers(context, BROKERS, first + 9, advertised),
        ]
        control.supervise(plan.with_services(*services), made.stack.layout)
        control.wait_ready([name for names in MEMBERS.values() for name in names], made.stack.layout, READY_WITHIN_S)
        _form(made)
        control.wait_ready([PREFECT], made.stack.layout, READY_WITHIN_S)

    await asyncio.to_thread(start)


def _form(made: World) -> None:
    """Make the mongods one set, whose members know each other by their doors."""
    members = [{"_id": index, "host": _text(made.doors[name])} for index, name in enumerate(MONGODS)]
    config = {"_id": SET, "members": members, "settings": QUICK_ELECTIONS}
    with MongoClient[dict[str, Any]](*made.behind[MONGODS[0]], directConnection=True, timeoutMS=20_000) as client:
        try:
            client.admin.command("replSetInitiate", config)
        except OperationFailure as error:
            if error.code != _ALREADY:
                raise


async def _fleet(made: World) -> None:
    """Open a door for every agent, and write down the fleet as sources of files."""
    nodes = await asyncio.to_thread(made.fleet.nodes)
    real = {str(node["agent_address"]).removeprefix("http://"): str(node["node"]) for node in nodes}
    names = {address.partition(":")[0]: name for address, name in real.items()}
    port = int(next(iter(real)).rpartition(":")[2])
    _, door = await made.network.listen("0.0.0.0", 0, lambda called: _agent(names, called, port))
    told: dict[str, list[dict[str, str]]] = {}
    for node in nodes:
        host = str(node["agent_address"]).removeprefix("http://").partition(":")[0]
        listed = told.setdefault(str(node["cluster"]), [])
        listed.append({"node_id": str(node["node"]), "agent_address": f"http://{host}:{door}"})
    left = list(told.items())
    for part in made.settings.parts:
        own, left = left[: part.clusters], left[part.clusters :]
        homes = {STRICT: dict(own[: part.clusters // 2]), FREE: dict(own[part.clusters // 2 :])}
        if part.name == MAIN:
            homes[FREE][REAL] = await _real(made)
        _write_down(made, part, homes)


def _write_down(made: World, part: Part, homes: dict[str, dict[str, list[dict[str, str]]]]) -> None:
    """Write the sources of a part, a file for each namespace."""
    folder = made.settings.home_of(part)
    folder.mkdir(parents=True, exist_ok=True)
    made.nodes[part.name] = {
        node["node_id"]: f"{home}/{cluster}"
        for home, clusters in homes.items()
        for cluster, listed in clusters.items()
        for node in listed
    }
    for home, clusters in homes.items():
        document = [{"cluster_id": cluster, "nodes": listed} for cluster, listed in clusters.items()]
        write_atomic(folder / f"{home}.json", orjson.dumps({"clusters": document}).decode())


def _agent(names: dict[str, str], called: Address, port: int) -> tuple[str, Address] | None:
    name = names.get(called[0])
    return None if name is None else (AGENTS + name, (called[0], port))


async def _real(made: World) -> list[dict[str, str]]:
    """Start agents for the members of our own replica set."""
    context = Context(made.stack)
    first = free_block(HOST, len(MONGODS), FOR_PRODUCT)
    services, listed = [], []
    for index, name in enumerate(MONGODS):
        host, port = made.behind[name]
        store = f"mongodb://{host}:{port}"
        services.append(fleet.agent(context, f"agent-{name}", first + index, "mongodb", store, name, REAL))
        door = await made.network.listen(HOST, 0, to(f"{AGENTS}{name}", (HOST, first + index)))
        listed.append({"node_id": name, "agent_address": f"http://{_text(door)}"})
    await asyncio.to_thread(control.add, services, made.stack.layout)
    return listed


async def hire(made: World, *services: Service) -> None:
    """Start workers and serving processes; returns when all of them have begun."""

    def start() -> None:
        control.add(services, made.stack.layout)
        control.wait_ready([service.name for service in services], made.stack.layout, READY_WITHIN_S)

    await asyncio.to_thread(start)


async def dismiss(made: World, *names: str) -> None:
    """End workers, cleanly."""
    await made.hold(*names)
    for name in names:
        await asyncio.to_thread(control.wait_stopped, name, made.stack.layout, 60.0)


def worker(made: World, name: str, part: Part) -> Service:
    """A worker without Prefect."""
    return _worker(made, name, part, "--clock", str(made.clock_of(name)))


def saboteurs(made: World, name: str, parts: Sequence[Part]) -> Service:
    """One process with a dishonest shift for each part: to start as many processes would take minutes on a small machine."""
    switches = (part.name for part in parts)
    return _worker(made, name, parts[0], "--home", str(made.settings.home), "--sabotage", *switches)


def _worker(made: World, name: str, part: Part, *arguments: str) -> Service:
    ready = made.stack.layout.run / f"{name}.ready"
    command = (sys.executable, "-m", "infra.chaos.worker", *arguments)
    environment = {**made.environment(part), "REPLICORE_READY_FILE": str(ready)}
    return Service(name, command, Probe("file", expect=str(ready)), (), environment, str(PROJECT), stop_within=30.0)


def serving(made: World, name: str, part: Part) -> Service:
    """The product's serving process."""
    ready = made.stack.layout.run / f"{name}.ready"
    command = (sys.executable, "-m", "deployments.serve")
    environment = {**made.environment(part), "REPLICORE_READY_FILE": str(ready)}
    probe = Probe("file", expect=str(ready))
    return Service(name, command, probe, (), environment, str(PROJECT), ready_within=120.0, stop_within=40.0)


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
