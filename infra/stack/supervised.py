"""The life of one service: start or adopt, wait until ready, notice its end, try again."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from infra.stack.errors import StackError
from infra.stack.ports import listens, require_free
from infra.stack.probes import ready
from infra.stack.processes import MARK, Process, kill_marked
from infra.stack.status import ProcessStatus, State, now

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.stack.layout import Layout
    from infra.stack.service import Service

_FIRST_DELAY_S = 0.2
_DELAY_MAX_S = 30.0
_FAILED_AFTER = 3
"""Attempts in a row without readiness after which a service is called failed."""
_SETTLED_AFTER_S = 10.0
"""A process that was ready for so long starts with the shortest delay again."""
_PROBE_INTERVAL_S = 0.05


def backoff(failures: int) -> float:
    """Return the seconds before the next attempt: doubling, with jitter, bounded."""
    delay = min(_DELAY_MAX_S, _FIRST_DELAY_S * 2 ** min(failures, 16))
    return delay * random.uniform(0.5, 1.0)  # noqa: S311  # no secret


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
        self._failures = 0
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
        self._changed()

    def stopped(self) -> None:
        """Show the service as stopped."""
        self._set(State.STOPPED, pid=None, identity=None, rss=0)

    async def keep(self) -> None:
        """Run the service for ever."""
        while True:
            process = self._adopt()
            try:
                if process is None:
                    process = self._start()
            except (StackError, OSError) as error:
                self._failures += 1
                self._rest(str(error))
            else:
                await self._live(process)
            await asyncio.sleep(backoff(self._failures))
            self._set(State.STARTING, restarts=self.status.restarts + 1)

    def _adopt(self) -> Process | None:
        """Return the living process of an earlier supervisor, if it follows the same description."""
        process = Process.read(self._layout.pid_file(self.service.name))
        if process is None or process.spec != self.service.digest:
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
        with self._layout.log(name).open("ab") as log:
            self._child = subprocess.Popen(
                service.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=service.cwd or None,
                env={**os.environ, **service.env, MARK: f"{self._layout.root}:{name}"},
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
            await asyncio.wait(
                {gone, answers}, timeout=self.service.ready_within, return_when=asyncio.FIRST_COMPLETED
            )
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
        settled = is_ready and loop.time() - since >= _SETTLED_AFTER_S
        self._failures = 0 if settled or (is_ready and not self._failures) else self._failures + 1
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
        self._set(state, error=error, pid=None, identity=None, rss=0, **fields)
