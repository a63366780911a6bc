"""A work item: one per kind and subject. It is the timetable (when next) and the queue (what now) in one record."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated

from pydantic import Field

from blocks.models.base import Fact, Seconds, Text, Utc


class WorkKind(StrEnum):
    """What can be asked for. Stored as text: an older worker leaves kinds it does not know alone."""

    DISCOVER = "discover"
    """Subject: a source's key."""
    ORCHESTRATE = "orchestrate"
    """Subject: a cluster's key."""
    APPLY = "apply"
    """Subject: a submission's id."""


class WorkState(StrEnum):
    """Where a work item stands."""

    IDLE = "idle"
    """Waiting for `next_at`."""
    QUEUED = "queued"
    """Due; a pointer to it is on its way. A failed one is queued again with `not_before`."""
    CLAIMED = "claimed"
    """A worker has it."""
    DEAD = "dead"
    """Failed, or killed its worker, too often; waits for a person (`replictl work retry`)."""


class Priority(IntEnum):
    """Who goes first; lower first."""

    URGENT = 0
    PERSON = 1
    ROUTINE = 5


class Request(Fact):
    """A work item."""

    kind: str
    subject: str
    state: WorkState = WorkState.IDLE
    priority: Priority = Priority.ROUTINE
    active: bool = True
    """Whether the timetable queues it; a person may still."""
    interval: Seconds | None = None
    """Seconds between two wanted starts; None means only on request."""
    next_at: Utc | None = None
    """Wanted start of the next turn by the timetable; of the present one until it has succeeded."""
    wanted_at: Utc | None = None
    """Wanted start of the present turn: `next_at`, or the moment somebody asked; None while idle."""
    not_before: Utc | None = None
    """A failed item is not claimed before this moment."""
    queued_at: Utc | None = None
    sent_at: Utc | None = None
    """When its pointer was last put on the queue."""
    claimed_at: Utc | None = None
    owner: str | None = None
    """The worker that claimed it."""
    again: bool = False
    """Asked for once more while claimed: queued again when finished."""
    again_by_person: bool = False
    """A person asked for that: it does not wait, even if the running turn fails."""
    by_person: bool = False
    """A person asked for the present turn: a pause does not take it away."""
    attempts: int = 0
    """Failures since the last success that say something about the item; an item without interval dies of them."""
    failures: int = 0
    """All failures since the last success, transient ones too; the wait before the next try grows with them."""
    orphaned: int = 0
    """How often its worker died while running it, since the last success."""
    error: Text | None = None
    finished_at: Utc | None = None
    started_at: Utc | None = None
    """When the last turn (or the present one) really started."""
    late_s: Annotated[float, Field(ge=0)] = 0.0
    """By how much that was after its wanted start."""
    paused_until: Utc | None = None
    """The timetable leaves it alone until then; who asks for it by name is served all the same."""
    paused_by: Text | None = None
    paused_why: Text | None = None
    version: int = 0

    @property
    def key(self) -> str:
        """Its key in the store."""
        return work_key(self.kind, self.subject)


class Pointer(Fact):
    """What travels through Kafka: where the work item is, nothing more."""

    key: str
    kind: str
    subject: str
    priority: Priority = Priority.ROUTINE


class Ended(Fact):
    """How a claimed work item ended."""

    key: str
    error: Text | None = None
    """None after success."""
    transient: bool = False
    """The failure says nothing about the item: a dependency was away, the holder was superseded."""
    next_at: Utc | None = None
    """After success: have the next turn then, if that is sooner than the timetable says."""


def work_key(kind: str, subject: str) -> str:
    """A work item's key: one per kind and subject, so that work coalesces."""
    return f"{kind}:{subject}"
