"""What a probe of a node means: nothing, or that its cluster must be looked at now.

A probe brings a *fingerprint*: of the node's own answer (status, identity, version), or of its shards (ids and roles). A
fingerprint that differs from the last one of its kind escalates; so do two misses in a row, and the first answer after
them. A miss counts only when our own loop was on time: a paused or starved worker never declares the fleet dead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

MISSES_MAX = 2
"""So many misses in a row are told."""
QUIET_BASE_S = 5.0
QUIET_MAX_S = 300.0
"""A node whose answers differ every time is told of ever more seldom, up to this."""


class Part(StrEnum):
    """What a probe asks for."""

    NODE = "node"
    SHARDS = "shards"


@dataclass(frozen=True, slots=True)
class Watched:
    """What is remembered of a node between two probes."""

    fingerprints: tuple[str | None, str | None] = (None, None)
    """The last of the node, the last of its shards."""
    misses: int = 0
    probes: int = 0
    changes: int = 0
    """Changes told in close succession."""
    quiet_until: float = 0.0
    """A change before this moment is remembered and not told."""

    def part(self, every: int) -> Part:
        """What to ask for next: the shards every `every`-th time (0: never), a silent node for itself."""
        due = every > 0 and self.misses == 0 and self.probes % every == every - 1
        return Part.SHARDS if due else Part.NODE


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
    index = 0 if part is Part.NODE else 1
    before = watched.fingerprints[index]
    kept = list(watched.fingerprints)
    kept[index] = fingerprint
    was_down = watched.misses >= MISSES_MAX
    seen = replace(watched, fingerprints=(kept[0], kept[1]), misses=0, probes=watched.probes + 1)
    if was_down:
        return Verdict(seen, "it answers again")
    if before in {None, fingerprint}:
        calm = now_s > watched.quiet_until + QUIET_MAX_S
        return Verdict(replace(seen, changes=0) if calm else seen)
    if now_s < watched.quiet_until:
        return Verdict(seen)
    quiet_s = min(QUIET_MAX_S, QUIET_BASE_S * 2.0 ** min(watched.changes, 10))
    told = replace(seen, changes=watched.changes + 1, quiet_until=now_s + quiet_s)
    return Verdict(told, f"its {part} changed")


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
