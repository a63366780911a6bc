"""What a probe of a node means: nothing, or that its cluster must be looked at now.

A probe brings a *fingerprint*: of the node's own answer (status, identity, version), or of its shards (ids and roles). A
fingerprint that differs from the last one of its kind that was told escalates; so do two misses in a row, and the first
answer after them. A node whose answers differ from one probe to the next is told of ever more seldom; what is still different
when that time is over, or has come twice in a row, is told: no change is forgotten. A miss counts only when our own loop was on time: a paused or starved worker never declares the fleet dead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

MISSES_MAX = 2
"""So many misses in a row are told."""
QUIET_AFTER = 4
"""So many changes are told without a pause: elections and restarts come in rows."""
QUIET_BASE_S = 5.0
QUIET_MAX_S = 300.0
"""A node whose answers differ every time is told of ever more seldom, up to this."""


class Part(StrEnum):
    """What a probe asks for."""

    NODE = "node"
    SHARDS = "shards"


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of one part of a node."""

    last: str | None = None
    """The last fingerprint."""
    told: str | None = None
    """The one that a cycle was last asked for, or that was there from the beginning."""
    changes: int = 0
    """How many were told since it was last the same twice in a row."""
    quiet_until: float = 0.0
    """One that differs from the last is not told before this moment."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What is remembered of a node between two probes."""

    node: Memory = Memory()
    shards: Memory = Memory()
    misses: int = 0
    probes: int = 0

    def part(self, every: int) -> Part:
        """What to ask for next: the shards every `every`-th time (0: never), a silent node for itself."""
        due = every > 0 and self.misses == 0 and self.probes % every == every - 1
        return Part.SHARDS if due else Part.NODE

    def of(self, part: Part) -> Memory:
        """What is remembered of a part."""
        return self.node if part is Part.NODE else self.shards

    def seen(self, part: Part, memory: Memory) -> Watched:
        """After an answer with this part."""
        node, shards = (memory, self.shards) if part is Part.NODE else (self.node, memory)
        return Watched(node, shards, probes=self.probes + 1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is remembered now, and why the cluster must be looked at (None: it need not be)."""

    watched: Watched
    escalate: str | None = None


def answered(watched: Watched, part: Part, fingerprint: str, *, now_s: float) -> Verdict:
    """After an answer.

    Args:
        watched: what was remembered.
        part: what was asked.
        fingerprint: what the answer is like.
        now_s: a clock that only goes forward, in seconds.
    """
    memory = watched.of(part)
    steady, new = fingerprint == memory.last, memory.last is None
    last = replace(memory, last=fingerprint)
    if new or watched.misses >= MISSES_MAX:
        known = watched.seen(part, replace(last, told=fingerprint))
        return Verdict(known, "it answers again" if watched.misses >= MISSES_MAX else None)
    if fingerprint == memory.told:
        calm = replace(last, changes=0, quiet_until=0.0) if steady else last
        return Verdict(watched.seen(part, calm))
    if not steady and now_s < memory.quiet_until:
        return Verdict(watched.seen(part, last))
    more = memory.changes - QUIET_AFTER
    quiet_s = min(QUIET_MAX_S, QUIET_BASE_S * 2.0 ** min(more, 10)) if more >= 0 else 0.0
    news = Memory(fingerprint, fingerprint, memory.changes + 1, now_s + quiet_s)
    return Verdict(watched.seen(part, news), f"its {part} changed")


def missed(watched: Watched, reason: str, *, on_time: bool) -> Verdict:
    """After a failure.

    Args:
        watched: what was remembered.
        reason: why there was no answer.
        on_time: whether our own loop ran when it should have; otherwise the miss is ours, not the node's.
    """
    if not on_time:
        return Verdict(watched)
    misses = watched.misses + 1
    seen = replace(watched, misses=misses, probes=watched.probes + 1)
    return Verdict(seen, f"it does not answer: {reason}" if misses == MISSES_MAX else None)
