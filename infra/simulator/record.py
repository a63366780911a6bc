"""Everything the fleet received and did, bounded in memory, optionally written to a file of JSON lines.

Each line has `at` (seconds of CLOCK_MONOTONIC, the same clock in every process of a machine) and `what`:

- ``request``: node, method, path, status (0: not answered); of anything but a GET also body, answer, fence
- ``refused``: a connection to a node whose agent is down (only where its port cannot really be closed)
- ``action``: node, id, kind, phase, fence: every step of an action on its agent
- ``fault``: node, fault (null: well again); ``election``: cluster, leader (null: nobody leads)
- ``command``: the command, and how many nodes it was about; ``began``: `utc`, the wall clock at `at`

Reads are counted in a ring of their own, so that they never push out what matters to a history checker.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, TypeAlias

import orjson

from infra.simulator.errors import SimulatorError
from infra.simulator.gaps import Gaps
from infra.simulator.model import Node

log = logging.getLogger(__name__)

Read: TypeAlias = tuple[float, Node, bytes, int]
Line: TypeAlias = dict[str, object]

READS_MAX = 100_000
HISTORY_MAX = 100_000
PENDING_MAX = 10_000
REFUSED = -1
ANSWERED = 200


class Record:
    """What happened; `close` it when there is a file."""

    def __init__(self, began: datetime, reads_max: int = READS_MAX, history_max: int = HISTORY_MAX) -> None:
        self._reads: deque[Read] = deque(maxlen=reads_max)
        self._history: deque[Line] = deque(maxlen=history_max)
        self._pending: list[Read | Line] = []
        self._file: BinaryIO | None = None
        self.failed: str | None = None
        """Why the file is not complete."""
        self.counts: Counter[str] = Counter()
        self.gaps = Gaps()
        self._began: Line = {"at": time.monotonic(), "what": "began", "utc": began.isoformat()}

    def open(self, path: Path) -> None:
        """Write to a new file at `path` from now on.

        Raises:
            SimulatorError: It cannot be written.
        """
        try:
            self._file = path.open("wb")
        except OSError as error:
            message = f"cannot write the record to {path}: {error.strerror}"
            raise SimulatorError(message) from error
        self._pending.append(self._began)

    def read(self, node: Node, target: bytes, status: int) -> None:
        """Note a GET."""
        now = time.monotonic()
        entry = (now, node, target, status)
        self._reads.append(entry)
        if status == ANSWERED:
            self.gaps.note(node, target, now)
        if self._file is not None:
            self._write(entry)

    def note(self, what: str, **fields: object) -> None:
        """Note anything else."""
        line: Line = {"at": time.monotonic(), "what": what, **fields}
        self.counts[what] += 1
        self._history.append(line)
        if self._file is not None:
            self._write(line)

    def flush(self) -> None:
        """Write what is waiting; a file that fails is given up and said so, for its history has a hole."""
        pending, self._pending = self._pending, []
        if self._file is None or not pending:
            return
        try:
            self._file.write(b"".join(orjson.dumps(_line(entry)) + b"\n" for entry in pending))
            self._file.flush()
        except OSError as error:
            self.failed = f"the record is not complete: {error.strerror}"
            log.exception("the record is not complete")
            with suppress(OSError):
                self._file.close()
            self._file = None

    def close(self) -> None:
        """Write the rest and close the file."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def lines(self, node: str | None = None, what: str | None = None, since: float = 0.0) -> Iterator[Line]:
        """Return what is still in memory, in order of time: of one node, of one sort, from a moment on."""
        both = sorted([*map(_line, self._reads), *self._history], key=_at)
        for line in both:
            wanted = (node is None or line.get("node") == node) and (what is None or line["what"] == what)
            if wanted and _at(line) >= since:
                yield line

    def _write(self, entry: Read | Line) -> None:
        """Put into the file, some at a time."""
        self._pending.append(entry)
        if len(self._pending) >= PENDING_MAX:
            self.flush()


def _at(line: Line) -> float:
    """Return when."""
    at = line["at"]
    return at if isinstance(at, float) else 0.0


def _line(entry: Read | Line) -> Line:
    """Return the form that is told and written."""
    if isinstance(entry, dict):
        return entry
    at, node, target, status = entry
    if status == REFUSED:
        return {"at": at, "what": "refused", "node": node.name}
    path = target.decode("latin-1")
    return {"at": at, "what": "request", "node": node.name, "method": "GET", "path": path, "status": status}
