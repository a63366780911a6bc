"""Everything that is measured, running: servers, simulated agents, and workers as the product starts them."""

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from blocks.fleet import Fleet as Settings
from blocks.fleet import connect
from flows.apply import apply_at_once
from flows.entry import utc_now
from flows.submit import hand_in
from infra.bench.cpu import Meter
from infra.bench.errors import BenchError
from infra.simulator.testing import RunningFleet, simulated_process
from infra.stack import compose, control, fleet, steps
from infra.stack.context import Context
from infra.stack.service import Plan
from infra.stack.testing import TestStack, running

NAMESPACE = "bench"
SOURCE = "simulator"
WORKER = "prefect.engine"
"""What the command line of a run's process says."""
LOOK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is simulated."""

    nodes: int
    """At least so many, in clusters of three."""
    kinds: str = ",".join((*5 * ("mongodb", "mongodb", "zookeeper"), "kafka"))
    protocols: str = "B,B,A"
    partitions: str = "100,100,100,1000"
    """Of the Kafka clusters, in turn, each with three replicas."""
    refusable: int = 0
    """So many can refuse connections as a dead process does."""
    execute_interval_s: float = 0.2

    @property
    def clusters(self) -> int:
        """How many."""
        return max(1, -(-self.nodes // 3))

    def arguments(self) -> tuple[str, ...]:
        """For the command line of the simulator."""
        layout = ("--clusters", str(self.clusters), "--kinds", self.kinds, "--protocols", self.protocols)
        more = ("--partitions", self.partitions, "--refusable", str(min(self.refusable, self.clusters * 3)))
        return (*layout, *more, "--execute-interval", str(self.execute_interval_s), "--page-size", "500")


@dataclass(slots=True)
class Rig:
    """What runs."""

    stack: TestStack
    fleet: RunningFleet
    shape: Fleet
    simulator_pid: int
    serving: list[str] = field(default_factory=list)
    """Names of the serving processes."""

    def serve(self, number: int = 1, **environment: str) -> None:
        """Start serving processes; each starts a shift at once. `environment` are settings of the product."""
        context = Context(self.stack.settings)
        plan = Plan.read(self.stack.layout.plan)
        service = fleet.serve(context)
        for index in range(len(self.serving), len(self.serving) + number):
            name = f"{service.name}-{index}"
            ready = str(self.stack.layout.run / f"{name}.ready")
            own = {**service.env, "REPLICORE_WORKERS_SHIFT_S": "3600", **environment, "REPLICORE_READY_FILE": ready}
            if index:
                own.pop("REPLICORE_METRICS_PORT")
            plan = plan.with_services(
                replace(
                    service,
                    name=name,
                    env=own,
                    ports=service.ports if index == 0 else (),
                    probe=replace(service.probe, expect=ready),
                )
            )
            self.serving.append(name)
        control.supervise(plan, self.stack.layout)
        self.stack.wait_ready(*self.serving)

    def stop_serving(self) -> None:
        """End all serving processes in good order."""
        for name in self.serving:
            self.stack.stop(name)
        self.serving.clear()

    def serving_pids(self) -> list[int]:
        """The serving processes."""
        return [self.stack.pid(name) for name in self.serving]

    def workers(self) -> list[psutil.Process]:
        """The processes of flow runs that run now, the oldest first."""
        found = []
        for pid in self.serving_pids():
            for child in psutil.Process(pid).children(recursive=True):
                try:
                    if any(WORKER in word for word in child.cmdline()):
                        found.append(child)
                except psutil.Error:
                    continue
        return sorted(found, key=lambda process: process.create_time())

    def wait_workers(self, number: int, within_s: float = 60.0) -> list[int]:
        """Wait until so many workers run; their pids."""
        wait(lambda: len(self.workers()) >= number, f"{number} workers run", within_s)
        return [process.pid for process in self.workers()[:number]]

    def cycled(self) -> int:
        """How many full cycles of nodes there were since gaps are counted."""
        return sum(map(int, self.fleet.gaps()["cycled"]["counts"].values()))

    def asked(self) -> int:
        """How often agents were probed (or cycled) since gaps are counted."""
        return sum(map(int, self.fleet.gaps()["asked"]["counts"].values()))

    def wait_all_cycled(self, within_s: float) -> float:
        """Wait until every node was cycled since gaps are counted; seconds that it took."""
        return wait(lambda: not self.fleet.gaps()["cycled"]["never"], "every node was cycled once", within_s, 0.25)

    def meter(self, workers: Sequence[int]) -> Meter:
        """Begin to count the CPU of everything that runs."""
        servers = {name: self._family(self.stack.pid(name)) for name in compose.SERVERS}
        ours = {"worker": list(workers), "serve": self.serving_pids()}
        return Meter({**ours, **servers, "simulator": [self.simulator_pid]})

    def apply(self, manifests: str) -> float:
        """Apply manifests, in this process; seconds that it took.

        Raises:
            BenchError: they were refused.
        """
        settings, began = Settings().with_environment(self.stack.environment), time.monotonic()

        async def applied() -> str | None:
            async with connect(settings) as connections:
                store, queue = await connections.store(), await connections.work_queue()
                handed_in = await hand_in(store, manifests, "bench", utc_now())
                secrets = await connections.secrets()
                return (await apply_at_once(store, queue, secrets, handed_in.key, utc_now)).error

        error = asyncio.run(applied())
        if error is not None:
            message = f"manifests were refused: {error}"
            raise BenchError(message)
        return time.monotonic() - began

    def timetable(self, *, cycle_s: float, probe_s: float, agent_timeout_s: float = 10.0) -> float:
        """Set how often clusters are cycled and nodes are probed (0: never)."""
        return self.apply(namespace(cycle_s, probe_s, agent_timeout_s))

    def _family(self, pid: int) -> list[int]:
        try:
            return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        except psutil.Error:
            return [pid]


def namespace(cycle_s: float, probe_s: float, agent_timeout_s: float) -> str:
    """The manifest of the namespace that everything is in."""
    return f"""\
apiVersion: replicante.io/v0
kind: Namespace
metadata: {{name: {NAMESPACE}}}
spec:
  settings: {{orchestrate_interval: {cycle_s:g}, probe_interval: {probe_s:g}, discovery_interval: 3600,
    agent_timeout: {agent_timeout_s:g}, disruption_max_cluster: 1000}}
"""


def source(url: str) -> str:
    """The manifest of the one source."""
    return f"""\
apiVersion: replicante.io/v0
kind: DiscoverySettings
metadata: {{namespace: {NAMESPACE}, name: {SOURCE}}}
spec: {{backend: http, interval: 3600, url: "{url}"}}
"""


@contextmanager
def rig(shape: Fleet, folder: Path | None = None) -> Iterator[Rig]:
    """Servers and agents, and nothing of the product yet but what `deployments.register` makes; gone with this process."""
    with ExitStack() as stack:
        where = folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix=f"bench-{secrets.token_hex(2)}-"))
        )
        servers = stack.enter_context(running(compose.SERVERS, where))
        before = set(psutil.Process(os.getpid()).children())
        agents = stack.enter_context(simulated_process(*shape.arguments()))
        (simulator,) = set(psutil.Process(os.getpid()).children()) - before
        with steps.started(steps.REGISTER, servers.settings) as register:
            register.finish()
        made = Rig(servers, agents, shape, simulator.pid)
        yield made


def wait(is_it: Callable[[], bool], what: str, within_s: float, every_s: float = LOOK_EVERY_S) -> float:
    """Wait until something is so; seconds that it took.

    Raises:
        BenchError: it was not so in time.
    """
    begun = time.monotonic()
    while not is_it():
        if time.monotonic() - begun > within_s:
            message = f"not within {within_s:g} s: {what}"
            raise BenchError(message)
        time.sleep(every_s)
    return time.monotonic() - begun
