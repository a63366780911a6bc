"""The simulator for tests and measurements: in a thread of this process, or in a process of its own.

    with simulated(Settings(layout=Layout(clusters=2))) as fleet:
        fleet.kill("mongodb-00000-0")
        ...
        fleet.received("mongodb-00000-1", what="action")

A thread is quick to start; a process (`simulated_process`) does not share the measured program's interpreter.
"""

import asyncio
import http.client
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import uvloop

from infra.agents.kit.models import Json
from infra.simulator.app import now
from infra.simulator.errors import CommandError
from infra.simulator.http import Request, status_of
from infra.simulator.simulator import Settings, Simulator

PROJECT = Path(__file__).parents[2]
WITHIN_S = 30.0

Ask = Callable[[str, str, bytes], tuple[int, bytes]]
"""Method, target and body to status and body: a control port, however it is reached."""


class RunningFleet:
    """A fleet that runs: commands, and what it received."""

    def __init__(self, ask: Ask, discovery_url: str) -> None:
        self._ask = ask
        self.discovery_url = discovery_url
        """Base of ``/discover`` and ``/legacy/discover``."""

    def do(self, do: str, **command: Json) -> list[str]:
        """Carry out any command; return the names of what it was about.

        Raises:
            CommandError: It cannot be carried out.
        """
        (result,) = self._told("POST", "/do", orjson.dumps({"do": do, **command}))
        names: list[str] = result["names"]
        return names

    def kill(self, *names: str, machine: bool = False) -> None:
        """Let agents (or whole machines) be gone."""
        self.do("kill", nodes=list(names), machine=machine)

    def black_hole(self, *names: str) -> None:
        """Let nothing come back."""
        self.do("black_hole", nodes=list(names))

    def heal(self, *names: str) -> None:
        """Let nodes be well; all, if none is named."""
        self.do("heal", nodes=list(names) or "all")

    def received(self, node: str | None = None, what: str = "request", since: float = 0.0) -> list[dict[str, Json]]:
        """Return lines of the record (`record.py`) that are still in memory."""
        query = {"what": what, "since": since, "limit": 0, **({} if node is None else {"node": node})}
        lines: list[dict[str, Json]] = self._told("GET", f"/received?{urlencode(query)}")
        return lines

    def nodes(self, cluster: str | None = None) -> list[dict[str, Json]]:
        """Return all nodes, or those of a cluster."""
        query = {"limit": 10_000_000, **({} if cluster is None else {"cluster": cluster})}
        lines: list[dict[str, Json]] = self._told("GET", f"/nodes?{urlencode(query)}")
        return lines

    def node(self, name: str) -> dict[str, Json]:
        """Return one node."""
        return self.nodes(name)[0]

    def cluster(self, name: str) -> dict[str, Json]:
        """Return one cluster."""
        lines: list[dict[str, Json]] = self._told("GET", "/clusters")
        return next(line for line in lines if line["cluster"] == name)

    def address(self, name: str) -> str:
        """Return where an agent listens."""
        return str(self.node(name)["agent_address"])

    def status(self) -> dict[str, Json]:
        """Return figures: requests, connections, faults, CPU seconds."""
        status: dict[str, Json] = self._told("GET", "/status")
        return status

    def begin_gaps(self) -> None:
        """Count from now on how long nodes are left alone."""
        self._told("POST", "/gaps")

    def gaps(self) -> dict[str, Any]:
        """Return what was counted since (`gaps.py`)."""
        told: dict[str, Any] = self._told("GET", "/gaps")
        return told

    def _told(self, method: str, target: str, body: bytes = b"") -> Any:
        """Ask, and read the answer."""
        status, answer = self._ask(method, target, body)
        value = orjson.loads(answer)
        if status != 200:  # noqa: PLR2004 - what HTTP calls success
            raise CommandError(str(value.get("error")))
        return value


@contextmanager
def simulated(settings: Settings) -> Iterator[RunningFleet]:
    """Run a fleet in a thread of this process; discovery is always served."""
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, Simulator]] = Future()
    settings = replace(settings, discovery=settings.discovery or ("127.0.0.1", 0))
    thread = threading.Thread(target=_thread, args=(settings, ready), name="simulator")
    thread.start()
    loop, ended, simulator = ready.result(WITHIN_S)  # when this raises, the thread has ended

    def ask(method: str, target: str, body: bytes) -> tuple[int, bytes]:
        async def handle() -> bytes:
            return simulator.control.handle(Request(method, target, {}, body))

        answer = asyncio.run_coroutine_threadsafe(handle(), loop).result(WITHIN_S)
        return status_of(answer), answer.partition(b"\r\n\r\n")[2]

    try:
        yield RunningFleet(ask, "http://{}:{}".format(*simulator.addresses["discovery"]))
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(WITHIN_S)


@contextmanager
def simulated_process(*arguments: str) -> Iterator[RunningFleet]:
    """Run a fleet in a process of its own; `arguments` are those of the command line.

    Raises:
        AssertionError: It ended instead of serving.
    """
    command = [sys.executable, "-m", "infra.simulator", "--port", "0", "--control", "127.0.0.1:0"]
    command += ["--discovery", "127.0.0.1:0", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, env=environment)
    try:
        line = process.stdout.readline() if process.stdout is not None else b""
        if not line:
            message = f"the simulator ended with {process.wait(WITHIN_S)}"
            raise AssertionError(message)
        where = orjson.loads(line)
        yield RunningFleet(_over_http(where["control"]), f"http://{where['discovery']}")
    finally:
        process.terminate()
        process.wait(WITHIN_S)
        if process.stdout is not None:
            process.stdout.close()


def _over_http(address: str) -> Ask:
    """Return how a control port is asked."""

    def ask(method: str, target: str, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(address, timeout=WITHIN_S)
        try:
            connection.request(method, target, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    return ask


def _thread(settings: Settings, ready: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, Simulator]]") -> None:
    """Run until told to end."""

    async def run() -> None:
        ended = asyncio.Event()
        async with Simulator(settings, now) as simulator:
            ready.set_result((asyncio.get_running_loop(), ended, simulator))
            await ended.wait()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
    except Exception as error:
        if ready.done():
            raise
        ready.set_exception(error)
