"""Processes by identity, not by number.

A pid alone is not safe to signal: after the process has died the kernel gives the number to
another one. Here a process is its pid together with the moment it started and the boot it was
started in, and signals go through a pidfd, which never points at a stranger.
"""

import contextlib
import json
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from infra.stack.layout import read_json, write_atomic

MARK = "REPLICORE_STACK_MARK"
"""Environment variable that every process of a stack carries: ``FOLDER:SERVICE``."""

_PROC = Path("/proc")
_STATE, _PARENT, _SESSION, _START, _RSS = 0, 1, 3, 19, 21  # fields of /proc/PID/stat after the name


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def identity(pid: int) -> str | None:
    """Return what tells this process from any other with the same pid; ``None`` when it is dead."""
    fields = _stat(pid)
    if fields is None or fields[_STATE] in "ZX":
        return None
    boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{fields[_START]}"


@dataclass(frozen=True, slots=True)
class Process:
    """One particular process, dead or alive."""

    pid: int
    identity: str
    spec: str = ""
    """Digest of the service description it was started from."""

    @classmethod
    def of(cls, pid: int, spec: str = "") -> Self | None:
        """Return the living process with this pid, or ``None``."""
        found = identity(pid)
        return None if found is None else cls(pid, found, spec)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the process that a pid file names, or ``None`` when it is not alive any more."""
        raw = read_json(path)
        try:
            process = cls(int(raw["pid"]), str(raw["identity"]), str(raw.get("spec", "")))
        except (TypeError, KeyError, ValueError, AttributeError):
            return None
        return process if process.alive else None

    def write(self, path: Path) -> None:
        """Write the pid file."""
        text = json.dumps({"pid": self.pid, "identity": self.identity, "spec": self.spec})
        write_atomic(path, text + "\n")

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return identity(self.pid) == self.identity

    def open(self) -> int | None:
        """Return a pidfd of this very process, or ``None`` when it is gone."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return None
        if not self.alive:
            os.close(descriptor)
            return None
        return descriptor

    def send(self, signum: int) -> bool:
        """Send a signal; ``False`` when the process is gone."""
        descriptor = self.open()
        if descriptor is None:
            return False
        try:
            signal.pidfd_send_signal(descriptor, signum)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def wait(self, seconds: float) -> bool:
        """Wait until the process is gone; ``False`` when it still runs after ``seconds``."""
        descriptor = self.open()
        if descriptor is None:
            return True
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(max(0, int(seconds * 1000))))
        finally:
            os.close(descriptor)

    async def gone(self) -> None:
        """Return as soon as the process is gone."""
        import asyncio  # noqa: PLC0415  # 8 MB that the keeper does without

        descriptor = self.open()
        if descriptor is None:
            return
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        try:
            loop.add_reader(descriptor, done.set)
            await done.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)


def _pids() -> Iterator[int]:
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            yield int(entry.name)


def marked(root: Path, name: str | None = None) -> list[int]:
    """Return the pids of living processes started for this stack (or for one service of it)."""
    wanted = f"{MARK}={root}:{name or ''}".encode()
    found = []
    for pid in _pids():
        try:
            environment = (_PROC / str(pid) / "environ").read_bytes()
        except OSError:  # of another user, or gone meanwhile
            continue
        entries = environment.split(b"\0")
        if wanted in entries or (name is None and any(entry.startswith(wanted) for entry in entries)):
            found.append(pid)
    return found


def kill_marked(root: Path, name: str) -> list[int]:
    """Kill what is left of a service whose main process is gone; return the pids."""
    pids = [pid for pid in marked(root, name) if pid != os.getpid()]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids


def resident_by_session() -> dict[int, int]:
    """Return resident bytes per session id: a service and its children share one session."""
    page = os.sysconf("SC_PAGE_SIZE")
    sizes: dict[int, int] = {}
    for pid in _pids():
        fields = _stat(pid)
        if fields is not None:
            session = int(fields[_SESSION])
            sizes[session] = sizes.get(session, 0) + int(fields[_RSS]) * page
    return sizes


def family(pid: int) -> set[int]:
    """Return the pid, its descendants and all that share its session."""
    parents: dict[int, tuple[int, int]] = {}
    for other in _pids():
        fields = _stat(other)
        if fields is not None:
            parents[other] = (int(fields[_PARENT]), int(fields[_SESSION]))
    members = {pid} | {other for other, (_, session) in parents.items() if session == pid}
    grown = True
    while grown:
        more = {other for other, (parent, _) in parents.items() if parent in members} - members
        grown = bool(more)
        members |= more
    return members
