"""A problem: something wrong with a cluster that a person should know, with evidence and what to do."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from blocks.models.base import Fact, Id, Text, Utc

PENDING_SHARDS_MAX = 1_000
"""Of so many shards it is known since when each of them has a problem; the rest have one beginning."""


class Severity(StrEnum):
    """How bad a problem is, worst last."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Acknowledgement(Fact):
    """A person has seen a problem, and says so to others; it ends with the problem."""

    who: Text
    why: Text
    at: Utc


class Problem(Fact):
    """One problem, from the cycle that first saw it until the first that no longer does."""

    code: str
    severity: Severity
    node_id: Id | None = None
    """The node it is about; None when it is about the whole cluster."""
    shard_id: Id | None = None
    description: Text
    evidence: Text = ""
    remedy: Text = ""
    since: Utc
    cause: str | None = None
    """The code of the problem that this one is a symptom of; None when it stands for itself."""
    cause_node_id: Id | None = None
    """The node that the cause is about; None when that is the whole cluster."""
    symptoms: int = 0
    """How many other problems are symptoms of this one."""
    acknowledged: Acknowledgement | None = None
    """Who has seen it; None: nobody has said so. It counts for the health all the same."""

    @property
    def root(self) -> bool:
        """Whether it stands for itself; only such problems count for the health."""
        return self.cause is None

    @property
    def identity(self) -> tuple[str, str, str]:
        """Two cycles speak of the same problem when this is equal."""
        return (self.code, self.node_id or "", self.shard_id or "")


class Pending(Fact):
    """What must last for a while before it is a problem, or more of one.

    Of what is about shards it is remembered for as long as it is seen, said or not: each shard has its own beginning.
    """

    code: str
    node_id: Id | None = None
    """The node it is about; None when it is about the whole cluster."""
    since: Utc
    """Since when the first of it is seen."""
    until: Utc | None = None
    """When the next of it will be said, if it lasts; None when all of it is."""
    shards: Annotated[dict[Id, Utc], Field(max_length=PENDING_SHARDS_MAX)] = Field(default_factory=dict)
    """By shard, since when, where it is about shards."""
    rest_since: Utc | None = None
    """Since when there are more shards than that, which are not told apart; None when there are not."""
