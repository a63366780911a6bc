"""What the supervisor knows of its processes, for people and for ``replictl status``."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Self

from infra.stack.layout import read_json, write_atomic
from infra.stack.processes import identity


class State(StrEnum):
    """Where a process is in its life."""

    WAITING = "waiting"
    """Not started yet: another service goes first."""
    STARTING = "starting"
    """Runs, and does not answer yet."""
    READY = "ready"
    """Has answered in its own protocol."""
    BACKOFF = "backoff"
    """Died or could not be started; the next attempt is near."""
    FAILED = "failed"
    """Died several times in a row without becoming ready; still tried, at long intervals."""
    STOPPED = "stopped"
    """Not running, on purpose."""


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process, as ``status.json`` shows it."""

    name: str
    state: State
    since: str
    """When it came into this state, UTC, ISO 8601."""
    pid: int | None = None
    identity: str | None = None
    """Tells the process from a later one with the same pid (see ``processes.identity``)."""
    port: int | None = None
    restarts: int = 0
    last_exit: int | None = None
    """Exit status of the run before this one; negative: the signal; ``None``: not known."""
    rss: int = 0
    """Resident bytes of the process and its children."""
    error: str | None = None
    """Why it is in backoff or failed."""

    @property
    def is_ready(self) -> bool:
        """Whether it was ready and this very process is still alive."""
        return self.state is State.READY and self.pid is not None and identity(self.pid) == self.identity


def now() -> str:
    """Return the time as ``status.json`` writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")  # noqa: TID251  # a clock reading of this machine


@dataclass(frozen=True, slots=True)
class Status:
    """All processes of a stack, the supervisor and its keeper included."""

    updated: str
    processes: tuple[ProcessStatus, ...] = ()

    @property
    def rss(self) -> int:
        """Resident bytes of everything."""
        return sum(process.rss for process in self.processes)

    def get(self, name: str) -> ProcessStatus | None:
        """Return the process of this name."""
        return next((process for process in self.processes if process.name == name), None)

    @property
    def supervised(self) -> bool:
        """Whether the supervisor that wrote this is alive."""
        supervisor = self.get("supervisor")
        return supervisor is not None and supervisor.is_ready

    @classmethod
    def of(cls, processes: Sequence[ProcessStatus]) -> Self:
        """Return the status as of now."""
        return cls(now(), tuple(processes))

    def write(self, path: Path) -> None:
        """Write ``status.json``, atomically."""
        write_atomic(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read ``status.json``; an absent or unreadable one knows no process."""
        raw = read_json(path)
        try:
            processes = [ProcessStatus(**{**p, "state": State(p["state"])}) for p in raw["processes"]]
            return cls(str(raw["updated"]), tuple(processes))
        except (TypeError, KeyError, ValueError):
            return cls("")
