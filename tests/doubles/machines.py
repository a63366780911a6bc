"""Machines of the platform without processes: every call is noted, and failures can be put in."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from infra.platform.api import platform_app
from infra.platform.ledger import Ledger, Machine
from infra.platform.machines import Machines
from infra.platform.platform import Place, Platform
from infra.stack.errors import StackError

HOST = "127.0.0.1"


class MemoryMachines(Machines):
    """Knows what runs and what was erased; `noted` has what the ledger's file said of a machine when it was started."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.running: list[str] = []
        self.erased: Counter[str] = Counter()
        self.noted: dict[str, bool] = {}
        self.missing = ""
        """Why machines cannot be made."""
        self.erase_failures = 0
        """How many times deleting still fails."""
        self.gate = asyncio.Event()
        """Stopping waits for it."""
        self.gate.set()

    def check(self) -> None:
        """Fail as told."""
        if self.missing:
            raise StackError(self.missing)

    def start(self, machine: Machine) -> None:
        """Note it, and what the file says."""
        self.noted[machine.node_id] = Ledger(self.path).get(machine.node_id) == machine
        self.running.append(machine.node_id)

    async def stop(self, machine: Machine) -> None:
        """Wait for the gate."""
        await self.gate.wait()
        if machine.node_id in self.running:
            self.running.remove(machine.node_id)

    async def erase(self, machine: Machine) -> None:
        """Fail as told, or note it."""
        if self.erase_failures:
            self.erase_failures -= 1
            message = "the disk is on fire"
            raise OSError(message)
        self.erased[machine.node_id] += 1


class MemoryPlatform:
    """A platform on such machines, with node ids that count up; `taken` are ports of others."""

    def __init__(self, path: Path, *, ports: range = range(1000, 1040), machines_max: int = 9) -> None:
        self.machines = MemoryMachines(path)
        self.taken: set[int] = set()
        self.ledger = Ledger(path)
        self._made = len(self.ledger)
        place = Place(HOST, ports, machines_max)
        self.platform = Platform(self.ledger, self.machines, place, self._new_id, self._is_free)

    def _new_id(self) -> str:
        self._made += 1
        return f"machine-{self._made}"

    def _is_free(self, host: str, port: int) -> bool:
        return host == HOST and port not in self.taken


def client_of(made: MemoryPlatform, body_within_s: float = 5.0) -> httpx.AsyncClient:
    """Return a client of its API."""
    transport = httpx.ASGITransport(app=platform_app(made.platform, body_within_s))
    return httpx.AsyncClient(transport=transport, base_url="http://platform")


def wanted(count: int | None = 1, group: str = "main", **cluster: Any) -> dict[str, Any]:
    """Return the body of a provision request."""
    nodes = {"main": {"desired_count": 3, "node_class": "small"}, "spare": {"desired_count": 0, "node_class": "tiny"}}
    described = {"cluster_id": "shop", "store": "mongo.replica", "store_version": "6.0", "nodes": nodes, **cluster}
    counted = {} if count is None else {"count": count}
    return {"cluster": described, "provision": {"node_group_id": group, **counted}}
