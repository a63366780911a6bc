"""From outside the supervisor: give it a plan, wait for services, stop everything."""

import asyncio
import fcntl
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from infra.stack import keeper
from infra.stack.errors import ServiceFailedError, StackError
from infra.stack.layout import Layout
from infra.stack.logs import tail
from infra.stack.ports import require_free
from infra.stack.processes import Process, marked
from infra.stack.service import Plan, Service
from infra.stack.settings import StackSettings
from infra.stack.status import ProcessStatus, State, Status, now
from infra.stack.stopping import stop_all, sweep

_POLL_S = 0.05
_STOP_WITHIN_S = 60.0


@contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """Hold the lock of ``up`` and ``down``.

    Raises:
        StackError: another ``up`` or ``down`` is at work on this folder.
    """
    layout.create()
    with (layout.run / "command.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another `up` or `down` is at work on {layout.root}: wait until it has ended"
            raise StackError(message) from error
        yield


def check_ports(names: Iterable[str], settings: StackSettings) -> None:
    """Raise when a port belongs to another program; ports of our own living processes are fine."""
    layout = settings.layout
    for name in names:
        if Process.read(layout.pid_file(name)) is None and not marked(layout.root, name):
            require_free(settings.host, settings.ports_of(name), name)


def supervise(plan: Plan, layout: Layout) -> None:
    """Make this the plan; start the supervisor if there is none."""
    layout.create()
    plan.write(layout.plan)
    supervisor = Process.read(layout.pid_file("supervisor"))
    if supervisor is None or not supervisor.send(signal.SIGHUP):
        layout.stopping.unlink(missing_ok=True)
        keeper.start_supervisor(layout)


def add(services: Iterable[Service], layout: Layout) -> None:
    """Add services to the plan in force."""
    plan = Plan.read(layout.plan) if is_running(layout) else Plan()
    supervise(plan.with_services(*services), layout)


def wait_ready(
    names: Iterable[str],
    layout: Layout,
    timeout_seconds: float,
    on_ready: Callable[[ProcessStatus], None] = lambda _: None,
) -> None:
    """Wait until all these services are ready.

    Raises:
        ServiceFailedError: one has failed, or the time is over; with the last lines of its log.
    """
    deadline = time.monotonic() + timeout_seconds
    waiting = list(names)
    while waiting:
        status = Status.read(layout.status)
        for name in list(waiting):
            process = status.get(name)
            if process is not None and process.is_ready:
                waiting.remove(name)
                on_ready(process)
            elif process is not None and process.state is State.FAILED and status.supervised:
                raise ServiceFailedError(failure(name, process.error or "it failed", layout))
        if waiting and time.monotonic() > deadline:
            why = f"not ready within {timeout_seconds:.0f} s"
            raise ServiceFailedError(failure(waiting[0], why, layout))
        if waiting:
            time.sleep(_POLL_S)


def wait_stopped(name: str, layout: Layout, timeout_seconds: float) -> None:
    """Wait until the supervisor has stopped a service on purpose."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        process = Status.read(layout.status).get(name)
        if process is not None and process.state is State.STOPPED:
            return
        if time.monotonic() > deadline:
            message = f"{name} did not stop within {timeout_seconds:.0f} s"
            raise StackError(message)
        time.sleep(_POLL_S)


def failure(name: str, why: str, layout: Layout) -> str:
    """Return a sentence on a failed process with the last lines of its log."""
    lines = tail(layout.log(name))
    said = "".join(f"\n    {line}" for line in lines) if lines else " (its log is empty)"
    return f"{name}: {why}. The last lines of {layout.log(name)}:{said}"


def is_running(layout: Layout) -> bool:
    """Return whether anything of this stack runs."""
    return Process.read(layout.pid_file("supervisor")) is not None or bool(marked(layout.root))


def stop(layout: Layout) -> None:
    """Stop everything that this stack started; works with a dead supervisor, too."""
    layout.create()
    layout.stopping.touch()
    supervisor = Process.read(layout.pid_file("supervisor"))
    if supervisor is not None and supervisor.send(signal.SIGTERM) and not supervisor.wait(_STOP_WITHIN_S):
        supervisor.send(signal.SIGKILL)
        supervisor.wait(_STOP_WITHIN_S)
    with ThreadPoolExecutor(1) as pool:  # our caller may have an event loop of its own
        pool.submit(asyncio.run, _stop_rest(layout)).result()
    status = Status.read(layout.status)
    rest = [
        replace(process, state=State.STOPPED, since=now(), pid=None, identity=None, rss=0)
        if process.state is not State.STOPPED
        else process
        for process in status.processes
    ]
    Status.of(rest).write(layout.status)


async def _stop_rest(layout: Layout) -> None:
    await stop_all(Plan.read(layout.plan), layout)
    await sweep(layout)
