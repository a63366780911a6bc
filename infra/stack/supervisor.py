"""The supervisor: keeps the processes of the plan alive until it is told to stop.

It is a daemon in a session of its own. Its signals: SIGHUP reads the plan again, SIGTERM stops
everything. Killed with -9, it is started again by the keeper, and the new one adopts the living
processes by their pid files: servers are not restarted because their supervisor was.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from infra.stack.layout import PROJECT, Layout
from infra.stack.logs import limit
from infra.stack.processes import Process, resident_by_session
from infra.stack.service import Plan, Probe, Service
from infra.stack.status import ProcessStatus, State, Status, now
from infra.stack.stopping import stop_all, stop_service, sweep
from infra.stack.supervised import Supervised

_log = logging.getLogger("supervisor")
_REFRESH_S = 5.0
_AFTER_A_BUG_S = 1.0


class Supervisor:
    """All supervised services of one stack."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._plan = Plan()
        self._kept: dict[str, Supervised] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._stop = False
        self._graceful: bool | None = None
        self._write_is_due = False
        self._before = Status.read(layout.status)
        self._self = self._own_status()

    def _own_status(self) -> ProcessStatus:
        me = Process.of(os.getpid())
        before = self._before.get("supervisor")
        died = before is not None and before.state is not State.STOPPED
        return ProcessStatus(
            name="supervisor",
            state=State.READY,
            since=now(),
            pid=os.getpid(),
            identity=me.identity if me else None,
            restarts=before.restarts + 1 if before and died else 0,
        )

    # --- life -------------------------------------------------------------------------------------

    async def run(self, on_started: Callable[[], None]) -> None:
        """Serve until SIGTERM, or until the parent that the plan names is gone."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._shut_down)
        loop.add_signal_handler(signal.SIGHUP, self._wake.set)
        me = Process.of(os.getpid())
        if me is not None:  # from here on others may signal us
            me.write(self._layout.pid_file("supervisor"))
        on_started()
        if self._layout.stopping.exists():  # `down` may have looked before the line above
            return
        keeper = self._start(self._keeper())
        refresh = asyncio.create_task(self._refresh())
        parent: asyncio.Task[None] | None = None
        self._wake.set()
        while not self._stop:
            await self._wake.wait()
            self._wake.clear()
            if not self._stop:
                await self._apply(Plan.read(self._layout.plan))
            if parent is None and self._plan.parent_pid:
                parent = asyncio.create_task(self._outlive(self._plan))
        for task in filter(None, (keeper, refresh, parent)):
            task.cancel()
        await self._stop_everything()

    def _shut_down(self) -> None:
        self._stop = True
        self._wake.set()

    async def _outlive(self, plan: Plan) -> None:
        await Process(plan.parent_pid, plan.parent_identity).gone()
        _log.info("the parent process %d is gone", plan.parent_pid)
        self._graceful = False
        self._shut_down()

    async def _stop_everything(self) -> None:
        self._layout.create()
        self._layout.stopping.touch()
        for task in self._tasks.values():
            task.cancel()
        await stop_service(self._keeper(), self._layout, graceful=False)
        plan = self._plan if self._graceful is None else replace(self._plan, graceful=self._graceful)
        await stop_all(plan, self._layout)
        await sweep(self._layout, os.getpid())
        for kept in self._kept.values():
            kept.stopped()
        self._self = replace(self._self, state=State.STOPPED, since=now(), pid=None, identity=None, rss=0)
        self._write()

    # --- plan -------------------------------------------------------------------------------------

    def _keeper(self) -> Service:
        command = (sys.executable, "-m", "infra.stack.keeper", str(self._layout.root))
        return Service("keeper", command, Probe("none"), cwd=str(PROJECT))

    async def _apply(self, plan: Plan) -> None:
        """Start what is new in the plan, stop what is not in it any more."""
        self._plan = plan
        wanted = {s.name: s for s in plan.services if s.name not in plan.held}
        for name in list(self._tasks):
            kept = self._kept[name]
            if name != "keeper" and (name not in wanted or wanted[name].digest != kept.service.digest):
                self._tasks.pop(name).cancel()
                await stop_service(kept.service, self._layout, graceful=plan.graceful)
                kept.stopped()
        for service in wanted.values():
            if service.name not in self._tasks:
                self._start(service)
        known = {*plan.names, "keeper"}
        self._kept = {name: kept for name, kept in self._kept.items() if name in known}

    def _start(self, service: Service) -> asyncio.Task[None]:
        before = self._kept.get(service.name)
        status = before.status if before else self._before.get(service.name)
        self._kept[service.name] = Supervised(service, self._layout, self._changed, status)
        task = asyncio.create_task(self._keep(self._kept[service.name]))
        self._tasks[service.name] = task
        return task

    async def _keep(self, kept: Supervised) -> None:
        for name in kept.service.after:
            if name in self._kept:
                await self._kept[name].is_up.wait()
        while True:
            try:
                await kept.keep()
            except Exception:  # noqa: BLE001  # a fault of ours in one service must not end the others
                _log.exception("supervision of %s", kept.service.name)
                await asyncio.sleep(_AFTER_A_BUG_S)

    # --- status -----------------------------------------------------------------------------------

    def _changed(self) -> None:
        if not self._write_is_due:
            self._write_is_due = True
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        self._write_is_due = False
        sizes = resident_by_session()
        statuses = [self._self, *(kept.status for kept in self._kept.values())]
        processes = [replace(status, rss=sizes.get(status.pid or 0, 0)) for status in statuses]
        try:
            Status.of(processes).write(self._layout.status)
        except OSError as error:  # disk full: the servers matter more than their status
            _log.warning("status.json not written: %s", error)

    async def _refresh(self) -> None:
        """Keep memory figures fresh and log files small; end when the folder of the stack is gone."""
        while True:
            if not self._layout.run.exists():
                _log.warning("%s is gone", self._layout.run)
                self._shut_down()
                return
            for kept in self._kept.values():
                with contextlib.suppress(OSError):
                    limit(self._layout.log(kept.service.name))
            self._write()
            await asyncio.sleep(_REFRESH_S)


def main(root: Path) -> None:
    """Become the supervisor of the stack in ``root``, unless there is one.

    Returns in the parent when the daemon has written its pid file, so that whoever started it may
    signal it.
    """
    layout = Layout(root)
    layout.create()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    with layout.supervisor_lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("another supervisor is alive")
            return
        read_end, write_end = os.pipe()
        if os.fork():
            os.close(write_end)
            os.read(read_end, 1)  # ends when the daemon closes its end
            os._exit(0)
        os.close(read_end)
        os.setsid()
        asyncio.run(_run(layout, lambda: os.close(write_end)))


async def _run(layout: Layout, on_started: Callable[[], None]) -> None:
    await Supervisor(layout).run(on_started)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
