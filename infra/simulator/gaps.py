"""How long each agent is left alone between two questions: what freshness looks like from the other side.

Two sorts of questions: any about the node or its shards (a probe, or a cycle that passes), and the last one of a full cycle.
Nodes that something is wrong with are left out: only the healthy ones are promised to be fresh. Costs a third of a
microsecond per answer, and a constant amount of memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from infra.simulator.model import Node

STEP_S = 0.05
"""Gaps are counted in steps of so many seconds."""
PROBES = frozenset(b"/api/unstable" + path for path in (b"/info/node", b"/info/shards", b"/info/datastore", b"/shards"))
CYCLE = b"/api/unstable/actions/finished"


@dataclass(slots=True)
class Sort:
    """Gaps between questions of one sort."""

    counts: Counter[int] = field(default_factory=Counter)
    """By length in steps, how many gaps."""
    longest_s: float = 0.0
    node: str | None = None
    """Whose gap was the longest."""

    def note(self, gap_s: float, node: Node) -> None:
        """Count one."""
        self.counts[int(gap_s / STEP_S)] += 1
        if gap_s > self.longest_s:
            self.longest_s, self.node = gap_s, node.name


class Gaps:
    """All gaps since the last `begin`."""

    def __init__(self) -> None:
        self._asked, self._cycled = Sort(), Sort()
        self._began: float | None = None

    def begin(self, nodes: Iterable[Node], now: float) -> None:
        """Count from now on, every node as if it were asked just now."""
        self._asked, self._cycled = Sort(), Sort()
        self._began = now
        for node in nodes:
            node.asked_at = node.cycled_at = now

    def note(self, node: Node, target: bytes, now: float) -> None:
        """An agent was asked, and answered."""
        if self._began is None:
            return
        if target in PROBES:
            self._asked.note(now - node.asked_at, node)
            node.asked_at = now
        elif target == CYCLE:
            self._cycled.note(now - node.cycled_at, node)
            node.cycled_at = now

    def told(self, nodes: Iterable[Node], now: float) -> dict[str, object]:
        """What was counted; and of nodes that nothing is wrong with the longest gap that is not over yet, and how many were never
        asked.
        """
        well = [node for node in nodes if node.fault is None and node.agent_up]
        return {
            "seconds": 0.0 if self._began is None else now - self._began,
            "step_s": STEP_S,
            "asked": _told(self._asked, [node.asked_at for node in well], self._began, now),
            "cycled": _told(self._cycled, [node.cycled_at for node in well], self._began, now),
        }


def _told(sort: Sort, last: list[float], began: float | None, now: float) -> dict[str, object]:
    return {
        "counts": {str(step): number for step, number in sorted(sort.counts.items())},
        "longest_s": sort.longest_s,
        "node": sort.node,
        "open_s": max((now - at for at in last), default=0.0),
        "never": sum(at == began for at in last),
    }
