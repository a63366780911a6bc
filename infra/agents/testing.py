"""Agents for tests: one in this process on a stub of a store, and real ones as processes of their own.

async with api(tmp_path) as agent:                                   # unit: no socket, the clock stands still
answer = await agent.client.get("/info/node")

with running("mongodb", tmp_path, store="127.0.0.1:27017") as agent:  # a process; ended with the block
httpx.get(f"{agent.url}/api/unstable/info/node")
"""

import asyncio
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from infra.agents.kit.actions import ActionStore, Limits
from infra.agents.kit.database import open_database
from infra.agents.kit.executor import Executor
from infra.agents.kit.handlers import TEST_ACTIONS, ActionHandler, Handlers
from infra.agents.kit.models import Identity, NodeReport, Shard, Status, StoreReport, Version
from infra.agents.kit.server import ROOT, Api
from infra.agents.kit.store import Reader

PROJECT = Path(__file__).parents[2]
_LISTENS = re.compile(r" on \S*?:([0-9]+)$")
_STOP_WITHIN_S = 15.0


@dataclass
class TestClock:
    """A clock that a test moves."""

    __test__ = False

    now: datetime = datetime(2026, 11, 25, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def advance(self, **by: float) -> None:
        """Move on, by the arguments of a timedelta."""
        self.now += timedelta(**by)


@dataclass
class StubStore:
    """A store that answers what a test put in; an exception is raised, and `gate` holds answers back."""

    store_id: str = "stub"
    address: str = "127.0.0.1:1"
    node_answer: NodeReport | Exception = field(
        default_factory=lambda: NodeReport(Status.HEALTHY, Version("1.2.3"), {"stub.example/odd": True})
    )
    store_answer: StoreReport | Exception = field(default_factory=lambda: StoreReport("cluster"))
    shards_answer: list[Shard] | Exception = field(default_factory=list)
    handlers: Mapping[str, ActionHandler] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    async def node(self) -> NodeReport:
        """Return or raise what was put in."""
        await self._pass()
        if isinstance(self.node_answer, Exception):
            raise self.node_answer
        return self.node_answer

    async def store(self) -> StoreReport:
        """Return or raise what was put in."""
        await self._pass()
        if isinstance(self.store_answer, Exception):
            raise self.store_answer
        return self.store_answer

    async def shards(self) -> list[Shard]:
        """Return or raise what was put in."""
        await self._pass()
        if isinstance(self.shards_answer, Exception):
            raise self.shards_answer
        return self.shards_answer

    def actions(self) -> Handlers:
        """Return the handlers that were put in."""
        return self.handlers

    async def close(self) -> None:
        """Do nothing."""

    async def _pass(self) -> None:
        """Count, and wait for the gate."""
        self.asked += 1
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()


@dataclass
class LocalAgent:
    """An agent in this process; its executor only moves when a test calls ``executor.turn()``."""

    client: httpx.AsyncClient
    actions: ActionStore
    executor: Executor
    clock: TestClock
    store: StubStore

    async def schedule(self, **body: object) -> httpx.Response:
        """POST /action."""
        return await self.client.post("/action", json=body)

    async def settle(self, limit: int = 100) -> None:
        """Take turns until nothing is left to do."""
        for _ in range(limit):
            if not await self.executor.turn():
                return
        message = f"still busy after {limit} turns"
        raise AssertionError(message)


@asynccontextmanager
async def api(
    folder: Path,
    store: StubStore | None = None,
    *,
    clock: TestClock | None = None,
    limits: Limits | None = None,
    deadline: float = 5.0,
    answer_deadline: float = 5.0,
) -> AsyncIterator[LocalAgent]:
    """Run an agent of node ``node`` in cluster ``cluster`` on the database in `folder`, without a socket."""
    store, clock = store or StubStore(), clock or TestClock()
    database = await open_database(folder)
    actions = ActionStore(database, "cluster", limits)
    executor = Executor(actions, {**TEST_ACTIONS, **store.actions()}, clock, 0.0, deadline)
    identity = Identity("node", store.store_id, client=store.address, member=store.address)
    app = Api(identity, Reader(store, answer_deadline), actions, executor, clock).app()
    transport = httpx.ASGITransport(app=app)
    try:
        async with httpx.AsyncClient(transport=transport, base_url=f"http://agent{ROOT}") as client:
            yield LocalAgent(client, actions, executor, clock, store)
    finally:
        await database.close()


@dataclass
class AgentProcess:
    """A real agent: where it listens, and ways to hurt it."""

    url: str
    process: "subprocess.Popen[str]"
    log: list[str]

    @property
    def api(self) -> str:
        """Return the root of protocol B."""
        return self.url + ROOT

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait(_STOP_WITHIN_S)

    def stop(self) -> int:
        """End it cleanly and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_WITHIN_S)


@contextmanager
def running(
    kind: str,
    folder: Path,
    *extra: str,
    store: str | None = None,
    node_id: str = "node",
    cluster_id: str = "cluster",
) -> Iterator[AgentProcess]:
    """Run an agent (or ``discovery``) on a free port; `extra` goes to its command line.

    Raises:
        AssertionError: It ended instead of serving; the text is what it said.
    """
    command = [sys.executable, "-m", "infra.agents", kind, "--listen", "127.0.0.1:0", *extra]
    if store is not None:
        command += ["--store", store, "--node-id", node_id, "--cluster-id", cluster_id, "--data", str(folder)]
    process = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True)
    log: list[str] = []
    drain = threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
    try:
        port = _port(process, log)
        drain.start()
        scheme = "https" if "--tls-cert" in extra else "http"
        yield AgentProcess(f"{scheme}://127.0.0.1:{port}", process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(_STOP_WITHIN_S)
        if drain.ident is not None:
            drain.join(_STOP_WITHIN_S)
        if process.stderr is not None:
            process.stderr.close()


def _port(process: "subprocess.Popen[str]", log: list[str]) -> int:
    """Read what the agent says until it says where it listens."""
    for line in process.stderr or ():
        log.append(line)
        match = _LISTENS.search(line.rstrip())
        if match:
            return int(match[1])
    message = f"the agent ended with {process.wait(_STOP_WITHIN_S)}: {''.join(log)}"
    raise AssertionError(message)
