"""Real servers for tests: on free ports, in a folder of their own, gone with the test process.

with running(["zookeeper", "kafka"], tmp_path / "stack") as stack:
    client = KazooClient(hosts=stack.zookeeper_hosts)
    stack.kill("zookeeper")  # -9; the supervisor starts it again
    stack.wait_ready("zookeeper")
"""

import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from infra.stack import certificates, compose, control, endpoints, mongod
from infra.stack.context import Context, Security
from infra.stack.errors import StackError
from infra.stack.layout import Layout
from infra.stack.processes import Process
from infra.stack.service import Plan
from infra.stack.settings import StackSettings
from infra.stack.status import ProcessStatus, Status

_READY_WITHIN_S = 150.0
_GONE_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class TestStack:
    """A running stack: its addresses, and ways to hurt it."""

    __test__ = False  # not a test class, whatever its name

    settings: StackSettings
    security: Security | None = None
    """Certificates and the user, when the stack was asked to be secure."""

    @property
    def layout(self) -> Layout:
        """Its folders."""
        return self.settings.layout

    @property
    def environment(self) -> dict[str, str]:
        """The addresses as environment variables, as ``make up`` writes them."""
        return endpoints.environment(self.settings, self.security)

    @property
    def zookeeper_hosts(self) -> str:
        """Host and port, as kazoo takes them."""
        return self.environment["REPLICORE_ZOOKEEPER_HOSTS"]

    @property
    def kafka_bootstrap(self) -> str:
        """Host and port of the broker."""
        return self.environment["REPLICORE_KAFKA_BOOTSTRAP"]

    @property
    def mongodb_uri(self) -> str:
        """The URI of the replica set."""
        return self.environment["REPLICORE_MONGODB_URI"]

    @property
    def prefect_api_url(self) -> str:
        """The URL of the Prefect API."""
        return self.environment["PREFECT_API_URL"]

    def status(self, name: str) -> ProcessStatus:
        """Return what the supervisor knows of a process (``supervisor`` and ``keeper`` included)."""
        found = Status.read(self.layout.status).get(name)
        if found is None:
            message = f"the stack in {self.layout.root} has no {name}"
            raise StackError(message)
        return found

    def pid(self, name: str) -> int:
        """Return the pid of a process that runs."""
        process = Process.read(self.layout.pid_file(name))
        if process is None:
            message = f"{name} does not run"
            raise StackError(message)
        return process.pid

    def restarts(self, name: str) -> int:
        """Return how often the supervisor has started the process again."""
        return self.status(name).restarts

    def kill(self, name: str, signum: int = signal.SIGKILL) -> None:
        """Send a signal; after SIGKILL, return when the process is gone."""
        process = Process.read(self.layout.pid_file(name))
        if process is None or not process.send(signum):
            message = f"{name} does not run"
            raise StackError(message)
        if signum == signal.SIGKILL:
            process.wait(_GONE_WITHIN_S)

    def wait_ready(self, *names: str, timeout_seconds: float = _READY_WITHIN_S) -> None:
        """Wait until the processes serve (again)."""
        control.wait_ready(names, self.layout, timeout_seconds)

    def stop(self, name: str) -> None:
        """Stop a service cleanly and keep it down until ``start``."""
        plan = Plan.read(self.layout.plan)
        control.supervise(replace(plan, held=(*plan.held, name)), self.layout)
        control.wait_stopped(name, self.layout, _GONE_WITHIN_S)

    def start(self, name: str) -> None:
        """Start a service that was stopped, and wait until it serves."""
        plan = Plan.read(self.layout.plan)
        held = tuple(other for other in plan.held if other != name)
        control.supervise(replace(plan, held=held), self.layout)
        self.wait_ready(name)

    def wipe(self, name: str) -> None:
        """Have a server lose everything that it keeps: stopped, emptied, started as a new one."""
        self.stop(name)
        shutil.rmtree(self.layout.data(name) / "data")
        made = compose.services(Context(self.settings, security=self.security), [name])
        control.supervise(Plan.read(self.layout.plan).with_services(*made), self.layout)
        self.start(name)


@contextmanager
def running(names: Iterable[str], folder: Path, *, secure: bool = False) -> Iterator[TestStack]:
    """Run services (or groups: ``servers``, ``fleet``) until the block ends or this process dies.

    With ``secure`` ZooKeeper wants TLS with a client certificate and SASL (DIGEST-MD5), Kafka
    SASL_SSL (SCRAM-SHA-512) and rights, MongoDB TLS and a user, Prefect HTTPS and its one user: see
    ``TestStack.security``. The environment is that of the product's user, whom nobody has given rights yet.
    """
    settings = StackSettings.free(folder)
    layout = settings.layout
    security = certificates.make(folder / "certificates") if secure else None
    context = Context(settings, security=security)
    me = Process.of(os.getpid())
    plan = Plan(parent_pid=os.getpid(), parent_identity=me.identity if me else "", graceful=False)
    try:
        for service in compose.services(context, compose.expand(names)):
            plan = plan.with_services(service)
            control.supervise(plan, layout)
        endpoints.write(settings)
        stack = TestStack(settings, security)
        stack.wait_ready(*plan.names)
        if security is not None and mongod.NAME in plan.names:
            mongod.create_user(stack.mongodb_uri, security)
        yield stack
    finally:
        control.stop(layout)
