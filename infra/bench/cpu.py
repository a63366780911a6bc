"""How much CPU a process has used, in whole and thread by thread, as the kernel counts it."""

import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What some processes used between two moments."""

    wall_s: float
    cpu_s: Mapping[str, float]
    """By name of a part, seconds of CPU."""

    def share(self, name: str) -> float:
        """Of one core."""
        return self.cpu_s.get(name, 0.0) / self.wall_s if self.wall_s > 0 else 0.0


class Meter:
    """Counts the CPU of named groups of processes; what has ended since is counted with the parent that waited for it."""

    def __init__(self, groups: Mapping[str, list[int]]) -> None:
        self._groups = groups
        self._began = time.monotonic()
        self._before = self._read()

    def read(self) -> Usage:
        """What was used since the beginning."""
        now = self._read()
        used = {name: max(0.0, now[name] - self._before[name]) for name in self._groups}
        return Usage(time.monotonic() - self._began, used)

    def _read(self) -> dict[str, float]:
        return {name: sum(map(cpu_s, pids)) for name, pids in self._groups.items()}


def cpu_s(pid: int) -> float:
    """Seconds of CPU of a process and of those of its children that have ended; 0 when it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system + times.children_user + times.children_system


def rss_mb(pid: int) -> float:
    """Resident memory of a process, in MiB; 0 when it is gone."""
    try:
        return psutil.Process(pid).memory_info().rss / 2**20
    except psutil.Error:
        return 0.0


def threads_s(pid: int) -> dict[int, float]:
    """By thread id, seconds of CPU."""
    found = {}
    for folder in Path(f"/proc/{pid}/task").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[int(folder.name)] = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return found


def thread_names(pid: int) -> dict[int, str]:
    """By thread id, the name that the kernel knows; those of librdkafka begin with `rdk:`."""
    found = {}
    for folder in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[int(folder.name)] = (folder / "comm").read_text().strip()
        except OSError:
            continue
    return found


def spy() -> str:
    """Where py-spy is."""
    beside = Path(sys.executable).parent / "py-spy"
    return str(beside) if beside.exists() else shutil.which("py-spy") or "py-spy"
