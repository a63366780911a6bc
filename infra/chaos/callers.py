"""Who is at the other end of a connection: the process, and the service of our stack that it belongs to.

Every process of a stack carries the stack's mark in its environment, and so do its children. The kernel tells which socket
has a port (`/proc/net/tcp`) and which process has a socket (`/proc/PID/fd`). That costs milliseconds, so many connections are
looked up at once, off the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.stack.processes import MARK

_PROC = Path("/proc")
_GATHER_S = 0.02
_TRIES_MAX = 3
_LOCAL, _REMOTE, _INODE = 1, 2, 9

Ports = tuple[int, int]
"""Local and remote, as the caller has them."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A process that opened a connection."""

    pid: int = 0
    """0: nobody knows."""
    service: str = ""
    """Of our stack; empty for a stranger."""


class Callers:
    """Finds out, for the processes whose mark is of the stack in `root`."""

    def __init__(self, root: Path) -> None:
        self._prefix = f"{root}:"
        self._waiting: dict[Ports, asyncio.Future[Caller]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._services: dict[int, str] = {}

    async def of(self, ports: Ports) -> Caller:
        """Who has a connection with these ports."""
        future = self._waiting.get(ports)
        if future is None:
            future = self._waiting[ports] = asyncio.get_running_loop().create_future()
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(future)

    async def _look(self) -> None:
        while self._waiting:
            await asyncio.sleep(_GATHER_S)
            asked, self._waiting = self._waiting, {}
            found: dict[Ports, Caller] = {}
            with contextlib.suppress(OSError):
                found = await asyncio.to_thread(self._find, set(asked))
            for ports, future in asked.items():
                if not future.done():
                    future.set_result(found.get(ports, Caller()))

    def _find(self, asked: set[Ports]) -> dict[Ports, Caller]:
        inodes = dict(_inodes(asked))
        found: dict[Ports, Caller] = {}
        for pid, service in self._marked():
            for inode in _sockets(pid):
                ports = inodes.get(inode)
                if ports is not None:
                    found[ports] = Caller(pid, service)
            if len(found) == len(inodes):
                break
        return found

    def _marked(self) -> Iterator[tuple[int, str]]:
        """Our processes; what a process is is read once."""
        living = [int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdigit()]
        self._services = {pid: self._services[pid] for pid in living if self._services.get(pid)}
        yield os.getpid(), ""
        for pid in living:
            service = self._services.get(pid) or self.service_of(pid)
            if service:
                self._services[pid] = service
                yield pid, service

    def service_of(self, pid: int) -> str:
        """The service that a process belongs to; empty for a stranger."""
        with contextlib.suppress(OSError):
            for entry in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                name, _, value = entry.decode("utf-8", "replace").partition("=")
                if name == MARK and value.startswith(self._prefix):
                    return value.removeprefix(self._prefix)
        return ""


def _inodes(asked: set[Ports]) -> Iterator[tuple[str, Ports]]:
    """By socket, the ports of each connection that was asked about."""
    for line in (_PROC / "net" / "tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        ports = (_port(fields[_LOCAL]), _port(fields[_REMOTE]))
        if ports in asked and fields[_INODE] != "0":
            yield fields[_INODE], ports


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _sockets(pid: int) -> Iterable[str]:
    """The inodes of the sockets of a process."""
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                target = os.readlink(entry.path)  # noqa: PTH115 - thousands of them
                if target.startswith("socket:["):
                    yield target[8:-1]
