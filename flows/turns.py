"""Whose turn it is to be probed: by time, never twice at once, silent nodes apart from those that answer.

A probe takes a place of its lane. One of a node that answers begins in the lively lane, and is counted as silent as soon as
it lets us wait and there is a place for that. So silent nodes, however many, keep no place from nodes that answer for long.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto


class Lane(Enum):
    """Which places a probe may take."""

    LIVELY = auto()
    SILENT = auto()


@dataclass(slots=True)
class _Running:
    lane: Lane
    begun: float


@dataclass(slots=True)
class Turns:
    """All turns. Moments are seconds of a clock that only goes forward."""

    sizes: dict[Lane, int]
    """By lane, how many probes may be under way at once; more wait for their turn."""
    patience_s: float
    """A probe that takes longer is counted as a silent one."""
    _due: dict[Lane, list[tuple[float, int, str]]] = field(default_factory=lambda: {lane: [] for lane in Lane})
    _valid: dict[str, int] = field(default_factory=dict)
    """By key, the number of its only valid entry: an older one is passed over."""
    _number: int = 0
    _running: dict[str, _Running] = field(default_factory=dict)
    """By key, in the order of their beginning."""
    _taken: Counter[Lane] = field(default_factory=Counter)

    def plan(self, key: str, at: float, *, silent: bool) -> None:
        """Make this its next turn, whatever was planned before."""
        self._number += 1
        self._valid[key] = self._number
        heapq.heappush(self._due[Lane.SILENT if silent else Lane.LIVELY], (at, self._number, key))

    def drop(self, key: str) -> None:
        """Give it no turn any more; a probe that is under way goes on."""
        self._valid.pop(key, None)

    def begin(self, now: float) -> Iterator[tuple[str, float]]:
        """Those that begin now, and when they were due: whose turn it is, and for whom there is a place. One that is still
        under way is passed over: `end` is followed by its next plan.
        """
        for lane, due in self._due.items():
            while due and due[0][0] <= now and self._room(lane, now):
                at, number, key = heapq.heappop(due)
                if self._valid.get(key) != number or key in self._running:
                    continue
                self._running[key] = _Running(lane, now)
                self._taken[lane] += 1
                yield key, at

    def end(self, key: str) -> None:
        """Its probe is over."""
        running = self._running.pop(key)
        self._taken[running.lane] -= 1

    def late_s(self, now: float) -> float:
        """By how much the lively lane is late though it has room: then it is us who are late."""
        due = self._due[Lane.LIVELY]
        return now - due[0][0] if due and self._taken[Lane.LIVELY] < self.sizes[Lane.LIVELY] else 0.0

    def _room(self, lane: Lane, now: float) -> bool:
        if self._taken[lane] >= self.sizes[lane] and lane is Lane.LIVELY:
            self._set_apart(now)
        return self._taken[lane] < self.sizes[lane]

    def _set_apart(self, now: float) -> None:
        """Count as silent who lets us wait, as far as there are places."""
        for running in self._running.values():
            if self._taken[Lane.SILENT] >= self.sizes[Lane.SILENT] or now - running.begun < self.patience_s:
                return  # in the order of their beginning: the others are younger
            if running.lane is Lane.LIVELY:
                running.lane = Lane.SILENT
                self._taken.subtract({Lane.LIVELY: 1, Lane.SILENT: -1})
