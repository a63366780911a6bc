"""What a probe of a node means: nothing, or that its cluster must be looked at now.

A probe brings a *fingerprint*: of the node's own answer (status, identity, version), or of its shards (ids and roles). A
fingerprint that differs from the last one of its kind that was told escalates; so do two misses in a row, and the first
answer after them; so does, of a node that is told as silent, another kind of failure twice in a row. Misses are counted for
the node, and for its shards alone: these may hang where the node answers. A node whose answers differ from one probe to the
next is told of ever more seldom; what is still different when that time is over, or has come twice in a row, is told: no
change is forgotten. A miss counts only when our own loop was on time: a paused or starved worker never declares the fleet
dead.

Whoever begins to watch a node has no last fingerprint: the first answer is compared with what is stored (`differs`), so that
what changed while nobody watched is told as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from blocks.models.look import Glimpse, NodeSeen, roles_of
from blocks.models.node import Node, NodeStatus

MISSES_MAX = 2
"""So many misses in a row are told."""
CONFIRM_S = 1.0
"""So soon after the first miss a node is asked again, in seconds: the second of two misses need not wait for its turn."""
SILENT_EVERY_S = 30.0
"""A node that is told as silent is probed ever more seldom, up to this."""
QUIET_AFTER = 4
"""So many changes are told without a pause: elections and restarts come in rows."""
QUIET_BASE_S = 5.0
QUIET_MAX_S = 300.0
"""A node whose answers differ every time is told of ever more seldom, up to this."""

_DETAIL = re.compile(r"[:(;].*", re.DOTALL)
_NUMBER = re.compile(r"\d[\d.]*")


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
class Silence:
    """Misses in a row."""

    misses: int = 0
    last: str | None = None
    """The kind of the last failure."""
    told: str | None = None
    """The kind that a cycle was last asked for; None: for none yet."""

    def longer(self, kind: str) -> tuple[Silence, bool]:
        """After one more miss of this kind; and whether that is told: the second of all, and the second of another kind."""
        misses = self.misses + 1
        new = misses >= MISSES_MAX if self.told is None else kind == self.last and kind != self.told
        return Silence(misses, kind, kind if new else self.told), new


@dataclass(frozen=True, slots=True)
class Watched:
    """What is remembered of a node between two probes."""

    node: Memory = Memory()
    shards: Memory = Memory()
    silence: Silence = Silence()
    """Of the node: any answer ends it."""
    shards_silence: Silence = Silence()
    """Of its shards: only their answer ends it."""
    probes: int = 0

    @property
    def misses(self) -> int:
        """How many probes of any part in a row had no answer."""
        return self.silence.misses

    def part(self, every: int) -> Part:
        """What to ask for next: the shards every `every`-th time (0: never), a silent node for itself."""
        due = every > 0 and self.misses == 0 and self.probes % every == every - 1
        return Part.SHARDS if due else Part.NODE

    def silent(self, part: Part) -> bool:
        """Whether nobody should wait for the answer to this: there was none last time."""
        return self.misses > 0 or (part is Part.SHARDS and self.shards_silence.misses > 0)

    def every_s(self, interval_s: float) -> float:
        """Seconds from one probe to the next: few after the first miss; of a silent node ever more, about as long as it has been
        silent.
        """
        if 0 < self.misses < MISSES_MAX:
            return min(interval_s, CONFIRM_S)
        if self.misses < MISSES_MAX or interval_s >= SILENT_EVERY_S:
            return interval_s
        return min(SILENT_EVERY_S, interval_s * 2.0 ** min(self.misses - MISSES_MAX, 30))

    def of(self, part: Part) -> Memory:
        """What is remembered of a part."""
        return self.node if part is Part.NODE else self.shards

    def seen(self, part: Part, memory: Memory) -> Watched:
        """After an answer with this part."""
        node, shards = (memory, self.shards) if part is Part.NODE else (self.node, memory)
        deaf = self.shards_silence if part is Part.NODE else Silence()
        return Watched(node, shards, shards_silence=deaf, probes=self.probes + 1)


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
    memory, back = watched.of(part), _back(watched, part)
    steady, new = fingerprint == memory.last, memory.last is None
    last = replace(memory, last=fingerprint)
    if new or back is not None:
        return Verdict(watched.seen(part, replace(last, told=fingerprint)), back)
    if fingerprint == memory.told:
        calm = replace(last, changes=0, quiet_until=0.0) if steady else last
        return Verdict(watched.seen(part, calm))
    if not steady and now_s < memory.quiet_until:
        return Verdict(watched.seen(part, last))
    more = memory.changes - QUIET_AFTER
    quiet_s = min(QUIET_MAX_S, QUIET_BASE_S * 2.0 ** min(more, 10)) if more >= 0 else 0.0
    news = Memory(fingerprint, fingerprint, memory.changes + 1, now_s + quiet_s)
    return Verdict(watched.seen(part, news), f"its {part} changed")


def missed(watched: Watched, part: Part, reason: str, *, on_time: bool) -> Verdict:
    """After a failure.

    Args:
        watched: what was remembered.
        part: what was asked.
        reason: why there was no answer.
        on_time: whether our own loop ran when it should have; otherwise the miss is ours, not the node's.
    """
    if not on_time:
        return Verdict(watched)
    kind = kind_of(reason)
    silence, silent = watched.silence.longer(kind)
    deaf, no_shards = watched.shards_silence.longer(kind) if part is Part.SHARDS else (watched.shards_silence, False)
    seen = replace(watched, silence=silence, shards_silence=deaf, probes=watched.probes + 1)
    if silent:
        return Verdict(seen, f"it does not answer: {reason}")
    return Verdict(seen, f"it does not answer about its shards: {reason}" if no_shards else None)


def kind_of(reason: str) -> str:
    """A failure without what may differ from one time to the next: its numbers and details."""
    return _NUMBER.sub("#", _DETAIL.sub("", reason)).strip()


def differs(stored: Node, part: Part, glimpse: Glimpse) -> bool:
    """Whether the first answer of a node shows another state than the one that is stored.

    What an answer does not say differs from nothing; nor does what a refused node says. An answer that could not be read
    agrees with a part that is stored as stale, and only with that.
    """
    if stored.foreign_id is not None:
        return False
    if part is Part.SHARDS:
        stale = stored.shards_stale_since is not None
        return not stale if glimpse.roles is None else stale or glimpse.roles != roles_of(stored.shards)
    if glimpse.node is None:
        return stored.info_stale_since is None and stored.store_stale_since is None
    return stored.info_stale_since is not None or _other(stored, glimpse.node)


def _other(stored: Node, seen: NodeSeen) -> bool:
    status = stored.pending_status or stored.status  # the one that was seen last, whether it was said yet or not
    said = NodeStatus.HEALTHY if status is NodeStatus.INCOMPLETE else status
    pairs = (
        (seen.status, said),
        (seen.node_id, stored.reported_node_id),
        (seen.cluster_id, stored.reported_cluster_id),
        (seen.agent_version, stored.agent_version),
        (seen.store_id, stored.store_id),
        (seen.store_version, stored.store_version),
    )
    return any(now is not None and now != then for now, then in pairs)


def _back(watched: Watched, part: Part) -> str | None:
    if watched.silence.told is not None:
        return "it answers again"
    if part is Part.SHARDS and watched.shards_silence.told is not None:
        return "it answers about its shards again"
    return None
