"""Machines as processes of this host: each a mongod and its agent, kept alive until they are stopped on purpose.

The local stack's own supervision does the work: a process is started in a session of its own, asked for in its own
protocol, started again with a bounded backoff when it dies, and adopted by a platform that comes back after a kill -9.
All carry the mark of the stack's folder, so that ``make down`` finds them with the platform dead, too.
"""

import asyncio
import contextlib
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from infra.platform.ledger import Machine
from infra.stack import fleet, mongod
from infra.stack.context import Context
from infra.stack.layout import Layout
from infra.stack.logs import limit
from infra.stack.service import Probe, Service
from infra.stack.stopping import stop_service
from infra.stack.supervised import Supervised, backoff

_log = logging.getLogger(__name__)
_LOOK_AT_LOGS_S = 30.0


class Machines(Protocol):
    """What makes machines real."""

    def check(self) -> None:
        """Find out whether machines can be made here at all.

        Raises:
            StackError: they cannot; the sentence says what is missing.
        """
        ...

    def start(self, machine: Machine) -> None:
        """Keep the machine running from now on; returns at once, and does not fail."""
        ...

    async def stop(self, machine: Machine) -> None:
        """End its processes; its data stays. Done again, it finds nothing to do."""
        ...

    async def erase(self, machine: Machine) -> None:
        """Delete all that a stopped machine has left. Done again, it finds nothing to do.

        Raises:
            OSError: something could not be deleted.
        """
        ...


class LocalMachines:
    """Machines below the folder of a stack."""

    def __init__(self, context: Context) -> None:
        """Start nothing yet."""
        self._context = context
        self._kept: dict[str, Supervised] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def check(self) -> None:
        """Look for the server."""
        mongod.binary()

    def start(self, machine: Machine) -> None:
        """Supervise mongod and agent."""
        for name in _names(machine):
            self._tasks[name] = asyncio.create_task(self._keep(name, machine))

    async def stop(self, machine: Machine) -> None:
        """End the agent, then the mongod: SIGTERM, a bounded wait, SIGKILL."""
        names = _names(machine)
        tasks = [self._tasks.pop(name) for name in names if name in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in reversed(names):
            await stop_service(Service(name, (), Probe("none")), self._context.layout)
            kept = self._kept.pop(name, None)
            if kept is not None:
                kept.reap()

    async def erase(self, machine: Machine) -> None:
        """Delete data, temporary files and logs."""
        for name in _names(machine):
            await asyncio.to_thread(_erase, self._context.layout, name)

    async def keep_logs_small(self) -> None:
        """Limit the logs of all machines, for ever."""
        while True:
            for name in self._tasks:
                with contextlib.suppress(OSError):
                    limit(self._context.layout.log(name))
            await asyncio.sleep(_LOOK_AT_LOGS_S)

    async def _keep(self, name: str, machine: Machine) -> None:
        """Run one process for ever; what goes wrong on the way (disk full) is tried again."""
        failures = 0
        while True:
            try:
                self._kept[name] = Supervised(self._describe(name, machine), self._context.layout, _unobserved)
                await self._kept[name].keep()
            except Exception:  # noqa: BLE001 - a fault in one process must not end the others
                _log.exception("supervision of %s", name)
            await asyncio.sleep(backoff(failures))
            failures += 1

    def _describe(self, name: str, machine: Machine) -> Service:
        context, store_port = self._context, machine.store_port
        store, _ = _names(machine)
        if name == store:  # the name of the set is the cluster's: the agent compares them
            return replace(mongod.empty_member(context, store, store_port, machine.cluster_id), restart_after=0.0)
        address = f"mongodb://{context.settings.host}:{store_port}"
        return fleet.agent(context, name, machine.agent_port, "mongodb", address, machine.node_id, machine.cluster_id)


def _names(machine: Machine) -> tuple[str, str]:
    """Return the names of its processes: the store's, and the agent's."""
    return machine.node_id, f"agent-{machine.node_id}"


def _unobserved() -> None:
    """Nobody is told of states: agents tell them better."""


def _erase(layout: Layout, name: str) -> None:
    log = layout.log(name)
    for folder in (layout.data(name), layout.scratch(name)):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
    for path in (log, log.with_name(log.name + ".1"), layout.pid_file(name)):
        Path(path).unlink(missing_ok=True)
