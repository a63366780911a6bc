"""The life of one service: start or adopt, wait until ready, notice its end, try again."""

import asyncio
import logging
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from infra.stack.errors import StackError
from infra.stack.layout import Layout
from infra.stack.ports import listens, require_free
from infra.stack.probes import ready
from infra.stack.processes import MARK, Process, kill_marked
from infra.stack.service import Service
from infra.stack.status import ProcessStatus, State, now
from infra.stack.stopping import stop_service

_log = logging.getLogger("supervisor")
_FIRST_DELAY_S = 0.2
_DELAY_MAX_S = 30.0
_FAILED_AFTER = 3
"""Attempts in a row without readiness after which a service is called failed."""
_SETTLED_AFTER_S = 10.0
"""A process that was ready for so long starts with the shortest delay again."""
_PROBE_INTERVAL_S = 0.05


def backoff(attempts: int) -> float:
    """Return the seconds before the next attempt: doubling, with jitter, bounded."""
    delay = min(_DELAY_MAX_S, _FIRST_DELAY_S * 2 ** max(0, min(attempts, 16)))
    return float(delay * random.uniform(0.5, 1.0))  # noqa: S311  # no secret


def stays_down(service: Service, last_exit: int | None) -> float:
    """Return the seconds that a service stays down on purpose; `last_exit` is None where nobody could see how it ended."""
    return 0.0 if last_exit == 0 else service.restart_after


class Supervised:
    """Keeps one service alive until its task is cancelled; the process itself then lives on.

    Cancelling does not stop the process on purpose: a supervisor that goes away leaves the
    servers to the next one. Stopping is a separate act (``stopping``).
    """

    def __init__(
        self,
        service: Service,
        layout: Layout,
        changed: Callable[[], None],
        before: ProcessStatus | None = None,
    ) -> None:
        self.service = service
        self._layout = layout
        self._changed = changed
        self._failures = 0  # attempts in a row that did not become ready
        self._unsettled = 1  # attempts in a row that did not last
        self._child: subprocess.Popen[bytes] | None = None
        self.is_up = asyncio.Event()
        """Set once the service has been ready."""
        self.status = ProcessStatus(
            name=service.name,
            state=State.WAITING,
            since=now(),
            port=service.ports[0] if service.ports else None,
            restarts=before.restarts if before else 0,
            last_exit=before.last_exit if before else None,
        )

    def _set(self, state: State, **fields: object) -> None:
        self.status = replace(self.status, state=state, since=now(), **fields)  # type: ignore[arg-type]
        _log.info("%s %s%s", self.service.name, state, f": {self.status.error}" if self.status.error else "")
        self._changed()

    def stopped(self) -> None:
        """Show the service as stopped."""
        self._set(State.STOPPED, pid=None, identity=None)

    def reap(self) -> None:
        """Take note of the end of a process that was stopped from outside, so that it is no zombie."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None

    async def keep(self) -> None:
        """Run the service for ever."""
        while True:
            try:
                process = await self._adopt() or self._start()
            except (StackError, OSError) as error:
                self._failures += 1
                self._unsettled += 1
                self._rest(str(error))
            else:
                await self._live(process)
            away = stays_down(self.service, self.status.last_exit)
            await asyncio.sleep(away + backoff(self._unsettled - 1))
            self._set(State.STARTING, restarts=self.status.restarts + 1)

    async def _adopt(self) -> Process | None:
        """Return the living process of an earlier supervisor; stop it if it follows an old description."""
        process = Process.read(self._layout.pid_file(self.service.name))
        if process is None:
            return None
        if process.spec != self.service.digest:
            await stop_service(self.service, self._layout)
            return None
        self._set(State.STARTING, pid=process.pid, identity=process.identity)
        return process

    def _start(self) -> Process:
        service, name = self.service, self.service.name
        kill_marked(self._layout.root, name)  # children that outlived their parent
        if service.probe.kind == "file":
            Path(service.probe.expect).unlink(missing_ok=True)
        if service.ports:
            require_free(service.probe.host, service.ports, name)
        scratch = self._layout.scratch(name)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        with self._layout.log(name).open("ab") as log:
            self._child = subprocess.Popen(
                service.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=service.cwd or None,
                env={**os.environ, "TMPDIR": str(scratch), **service.env, MARK: f"{self._layout.root}:{name}"},
                start_new_session=True,
            )
        process = Process.of(self._child.pid, service.digest)
        if process is None:
            message = f"{name} ended at once, see {self._layout.log(name)}"
            raise StackError(message)
        process.write(self._layout.pid_file(name))
        self._set(State.STARTING, pid=process.pid, identity=process.identity)
        return process

    async def _live(self, process: Process) -> None:
        """Follow one process from its start to its end."""
        loop = asyncio.get_running_loop()
        gone = asyncio.ensure_future(process.gone())
        answers = asyncio.ensure_future(self._until_ready(process))
        try:
            await asyncio.wait({gone, answers}, timeout=self.service.ready_within, return_when=asyncio.FIRST_COMPLETED)
            since = loop.time()
            is_ready = answers.done() and not gone.done()
            if is_ready:
                self._set(State.READY, error=None)
                self.is_up.set()
            elif not gone.done():
                kill_marked(self._layout.root, self.service.name)
            await gone
        finally:
            gone.cancel()
            answers.cancel()
        self._failures = 0 if is_ready else self._failures + 1
        self._unsettled = 0 if is_ready and loop.time() - since >= _SETTLED_AFTER_S else self._unsettled + 1
        self._ended(is_ready=is_ready)

    async def _until_ready(self, process: Process) -> None:
        probe, ports = self.service.probe, self.service.ports
        while True:
            if await ready(probe) and all(listens(process.pid, port) for port in ports):
                return
            await asyncio.sleep(_PROBE_INTERVAL_S)

    def _ended(self, *, is_ready: bool) -> None:
        code = self._child.wait() if self._child else None
        self._child = None
        how = "ended" if code is None else f"ended with status {code}"
        when = "" if is_ready else " before it was ready"
        self._rest(f"{how}{when}", last_exit=code)

    def _rest(self, error: str, **fields: object) -> None:
        state = State.FAILED if self._failures >= _FAILED_AFTER else State.BACKOFF
        self._set(state, error=error, pid=None, identity=None, **fields)
