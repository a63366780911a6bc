"""The platform: says what machines there are, makes new ones, removes old ones.

First the ledger, then the world: what was begun before a crash is finished after it, and nothing is done that the ledger
does not know of.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from infra.platform.errors import LimitError, OtherClusterError, UnknownGroupError, UnknownNodeError
from infra.platform.ledger import Ledger, Machine
from infra.platform.machines import Machines
from infra.platform.requests import Deprovision, Provision
from infra.platform.templates import require

_log = logging.getLogger(__name__)
_FINISH_WITHIN_S = 15.0
_PORTS_EACH = 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where machines may be, and how many."""

    host: str
    ports: range
    machines_max: int


class Platform:
    """All machines of one ledger; used from one event loop."""

    def __init__(
        self,
        ledger: Ledger,
        machines: Machines,
        place: Place,
        new_id: Callable[[], str],
        is_free: Callable[[str, int], bool],
    ) -> None:
        """Start nothing yet.

        Args:
            ledger: What was told so far.
            machines: What starts, stops and deletes.
            place: Address and limits.
            new_id: Gives ids for nodes.
            is_free: Whether a port of a host is free at this moment.
        """
        self._ledger = ledger
        self._machines = machines
        self._place = place
        self._new_id = new_id
        self._is_free = is_free
        self._removals: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Take up every machine where it was left: kept running, or removed to the end."""
        for machine in self._ledger:
            if machine.leaving:
                self._removal(machine)
            else:
                self._machines.start(machine)

    async def close(self) -> None:
        """Stop every machine and keep its data; removals under way get some time to end."""
        if self._removals:
            await asyncio.wait(self._removals.values(), timeout=_FINISH_WITHIN_S)
        for task in self._removals.values():
            task.cancel()
        stopped = await asyncio.gather(*map(self._machines.stop, self._ledger), return_exceptions=True)
        for machine, failure in zip(self._ledger, stopped, strict=True):
            if failure is not None:
                _log.error("%s is not stopped: %s", machine.node_id, failure)

    def discover(self) -> list[dict[str, object]]:
        """Return the clusters that have machines, sorted, each with its nodes, sorted; without those that leave."""
        there = [machine for machine in self._ledger if not machine.leaving]
        by_cluster: dict[str, list[Machine]] = {}
        for machine in sorted(there, key=lambda each: (each.cluster_id, each.node_group, each.node_id)):
            by_cluster.setdefault(machine.cluster_id, []).append(machine)
        return [
            {"cluster_id": cluster_id, "nodes": [self._wire(machine) for machine in machines]}
            for cluster_id, machines in by_cluster.items()
        ]

    def provision(self, request: Provision) -> list[str]:
        """Begin to make machines, all that were asked for or none, and return their node ids.

        Raises:
            RefusedError: unknown group, no template, no room.
            StackError: machines cannot be made here.
            OSError: the ledger could not be written.
        """
        cluster, wanted = request.cluster, request.provision
        group = cluster.nodes.get(wanted.node_group_id)
        if group is None:
            raise UnknownGroupError(wanted.node_group_id, list(cluster.nodes))
        require(cluster.store, group.store_version or cluster.store_version)
        ports = self._ports_for(wanted.count)
        self._machines.check()
        made = [
            Machine(self._new_id(), cluster.cluster_id, group.node_class, wanted.node_group_id, store, agent)
            for store, agent in zip(ports[::2], ports[1::2], strict=True)
        ]
        self._ledger.add(made)
        for machine in made:
            self._machines.start(machine)
        return [machine.node_id for machine in made]

    async def deprovision(self, request: Deprovision) -> None:
        """Remove a machine and its data; goes on when the caller goes away.

        Raises:
            RefusedError: there is no such node (any more), or it is in another cluster.
            OSError: something could not be written or deleted; told again, it is tried again.
        """
        machine = self._ledger.get(request.node_id)
        if machine is None:
            raise UnknownNodeError(request.node_id)
        if machine.cluster_id != request.cluster_id:
            raise OtherClusterError(request.node_id, request.cluster_id)
        if not machine.leaving:
            self._ledger.leave(machine.node_id)
        await asyncio.shield(self._removal(machine))

    def _ports_for(self, count: int) -> list[int]:
        """Return free ports for so many machines.

        Raises:
            LimitError: there would be too many machines, or there are too few ports.
        """
        place, there = self._place, len(self._ledger)
        if there + count > place.machines_max:
            message = f"this platform has {there} of at most {place.machines_max} nodes: no room for {count} more"
            raise LimitError(message)
        taken = {port for machine in self._ledger for port in machine.ports}
        wanted, found = count * _PORTS_EACH, list[int]()
        for port in place.ports:
            if len(found) < wanted and port not in taken and self._is_free(place.host, port):
                found.append(port)
        if len(found) < wanted:
            message = f"only {len(found)} of {wanted} ports are free from {place.ports[0]} to {place.ports[-1]}"
            raise LimitError(message)
        return found

    def _removal(self, machine: Machine) -> asyncio.Task[None]:
        """Return the one task that removes a machine; begins it if there is none."""
        task = self._removals.get(machine.node_id)
        if task is None:
            task = asyncio.create_task(self._remove(machine))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # it is logged already
            self._removals[machine.node_id] = task
        return task

    async def _remove(self, machine: Machine) -> None:
        try:
            await self._machines.stop(machine)
            await self._machines.erase(machine)
            self._ledger.forget(machine.node_id)
            _log.info("%s of %s is removed", machine.node_id, machine.cluster_id)
        except OSError as error:
            _log.warning("%s is not removed yet: %s", machine.node_id, error)
            raise
        finally:
            del self._removals[machine.node_id]

    def _wire(self, machine: Machine) -> dict[str, object]:
        return {
            "agent_address": f"http://{self._place.host}:{machine.agent_port}",
            "node_id": machine.node_id,
            "node_class": machine.node_class,
            "node_group": machine.node_group,
        }
