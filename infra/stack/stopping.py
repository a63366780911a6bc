"""Stopping: everything that the stack started, in reverse order, and nothing else."""

import asyncio
import signal

from infra.stack.layout import Layout
from infra.stack.processes import Process, kill_marked, marked
from infra.stack.service import Plan, Service

_KILL_WITHIN_S = 10.0
_ROUNDS = 10


async def stop_service(service: Service, layout: Layout, *, graceful: bool = True) -> None:
    """Stop one service: SIGTERM, a bounded wait, SIGKILL; then whatever its children left."""
    path = layout.pid_file(service.name)
    process = Process.read(path)
    if process is not None and graceful:
        process.send(signal.SIGTERM)
        await _gone(process, service.stop_within)
    kill_marked(layout.root, service.name)
    if process is not None:
        process.send(signal.SIGKILL)
        await _gone(process, _KILL_WITHIN_S)
    path.unlink(missing_ok=True)


async def _gone(process: Process, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await process.gone()
    except TimeoutError:
        pass


async def stop_all(plan: Plan, layout: Layout) -> None:
    """Stop every service of the plan, the dependent ones first."""
    for level in reversed(plan.levels()):
        async with asyncio.TaskGroup() as group:
            for service in level:
                group.create_task(stop_service(service, layout, graceful=plan.graceful))


async def sweep(layout: Layout, *spared: int) -> None:
    """Kill processes of this stack that no plan and no pid file names any more."""
    for _ in range(_ROUNDS):  # until none is left: one that was killed may have started another
        rest = [process for pid in marked(layout.root) if pid not in spared and (process := Process.of(pid))]
        if not rest:
            return
        for process in rest:
            process.send(signal.SIGKILL)
        for process in rest:
            await _gone(process, _KILL_WITHIN_S)
