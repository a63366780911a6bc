"""A problem: something wrong with a cluster that a person should know, with evidence and what to do."""

from __future__ import annotations

from enum import StrEnum

from blocks.models.base import Fact, Id, Text, Utc


class Severity(StrEnum):
    """How bad a problem is, worst last."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


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

    @property
    def root(self) -> bool:
        """Whether it stands for itself; only such problems count for the health."""
        return self.cause is None

    @property
    def identity(self) -> tuple[str, str, str]:
        """Two cycles speak of the same problem when this is equal."""
        return (self.code, self.node_id or "", self.shard_id or "")


class Pending(Fact):
    """A problem that is not one yet: it must last for a while first."""

    code: str
    since: Utc
