"""The files in which processes count: those of the living are added up, those of the dead are kept as one.

Each process has files of its own in the folder of the process that serves it, so that nobody waits for anybody and a
kill -9 loses nothing. Shifts come and go every few minutes: what the dead have counted is folded into one file per kind,
else every scrape would read all that ever ran. Files of processes that are alive are never touched: the shifts of a killed
serving process go on, and are counted by the next one.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import struct
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from blocks.errors import InvalidInputError
from blocks.metrics.families import PREFIX

_NOBODY = 0
"""The pid in the names of the files of the dead."""
_BROKEN = (RuntimeError, ValueError, OSError, struct.error, KeyError)

_merge: Any = MultiProcessCollector.merge  # the library has no types here

_logger = logging.getLogger("replicore.metrics")


def prepared(folder: Path) -> Path:
    """The folder, ours alone, without what processes that are gone have left there: counters begin at zero.

    Raises:
        InvalidInputError: it is somebody else's, or cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            message = f"the folder for metrics, {folder}, belongs to somebody else: remove it, or set TMPDIR"
            raise InvalidInputError(message)
        folder.chmod(0o700)
        for file in folder.glob("*.db"):
            if not _alive(_pid(file)):
                file.unlink(missing_ok=True)
    except OSError as error:
        message = f"the folder for metrics, {folder}, cannot be used: {error.strerror}"
        raise InvalidInputError(message) from error
    return folder


class Processes(Collector):
    """All processes that count in a folder, as one."""

    def __init__(self, folder: Path) -> None:
        """Read nothing yet."""
        self._folder = folder
        self._lock = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        """What they have counted, together."""
        with self._lock:
            self._fold()
            return _merged(sorted(self._folder.glob("*.db")))

    def fold(self) -> None:
        """Fold what the dead have counted into one file per kind."""
        with self._lock:
            self._fold()

    def _fold(self) -> None:
        # Whoever empties temporary files must not break processes: what they import opens a file there.
        self._folder.mkdir(mode=0o700, exist_ok=True)
        dead = [file for file in self._folder.glob("*.db") if _pid(file) != _NOBODY and not _alive(_pid(file))]
        for kind in ("counter", "histogram"):
            files = [file for file in dead if file.name.startswith(f"{kind}_")]
            if files:
                self._keep(kind, files)
        for file in dead:
            file.unlink(missing_ok=True)

    def _keep(self, kind: str, files: list[Path]) -> None:
        """Replace the file of the dead by one that has these too. Gauges die with their process."""
        kept, made = self._folder / f"{kind}_{_NOBODY}.db", self._folder / f"{kind}.new"
        made.unlink(missing_ok=True)
        values: Any = MmapedDict(str(made))  # type: ignore[no-untyped-call]  # nor here
        try:
            for metric in _merged([*([kept] if kept.exists() else []), *files], accumulate=False):
                for sample in metric.samples:
                    # The library's own key, which it makes for label names and values in two lists.
                    key = json.dumps([metric.name, sample.name, sample.labels, metric.documentation], sort_keys=True)
                    values.write_value(key, sample.value, 0.0)
        finally:
            values.close()
        made.replace(kept)


def _merged(files: list[Path], *, accumulate: bool = True) -> list[Metric]:
    """Our metrics in files; one that cannot be read (its process has just made it) is left out, and costs the others nothing."""
    try:
        merged = _merge([str(file) for file in files], accumulate=accumulate)
    except _BROKEN as error:
        readable = [file for file in files if _readable(file)]
        if len(readable) == len(files):
            _logger.warning("metrics cannot be read: %s", error)
            return []
        return _merged(readable, accumulate=accumulate)
    return [metric for metric in merged if metric.name.startswith(PREFIX)]


def _readable(file: Path) -> bool:
    try:
        _merge([str(file)])
    except _BROKEN:
        return False
    return True


def _pid(file: Path) -> int:
    number = file.stem.rpartition("_")[2]
    return int(number) if number.isdecimal() else _NOBODY


def _alive(pid: int) -> bool:
    """Whether a process still counts: it exists and is more than its exit status."""
    if pid == _NOBODY:
        return False
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}
