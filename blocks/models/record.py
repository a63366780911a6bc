"""What the store keeps and how a change to it is described: as data, so that pure functions can return one."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.models.action import Action
from blocks.models.base import Fact
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.event import EventDraft
from blocks.models.gate import Disruptions, Gate
from blocks.models.namespace import Namespace
from blocks.models.node import Node
from blocks.models.report import Report
from blocks.models.request import Request
from blocks.models.rolling import Rolling
from blocks.models.source import Source, SourceReport
from blocks.models.submission import Submission

Record = (
    Namespace
    | Source
    | SourceReport
    | ClusterSpec
    | Discovery
    | ClusterState
    | Node
    | Action
    | Report
    | Submission
    | Gate
    | Disruptions
    | Rolling
)


@dataclass(frozen=True, slots=True)
class RecordKey:
    """Which record, of which type."""

    record_type: type[Record]
    key: str


@dataclass(frozen=True, slots=True)
class Change:
    """One all-or-nothing change of the store: records, the events that tell of them, and the work that they make."""

    puts: tuple[Record, ...] = ()
    """Inserted or replaced by key, whatever was there: only right under a lock and its fence."""
    swaps: tuple[Record, ...] = ()
    """Compare-and-set: `version` is what the record will have; one less must be stored (nothing, when it is 1)."""
    deletes: tuple[RecordKey, ...] = ()
    drafts: tuple[EventDraft, ...] = ()
    work: tuple[Request, ...] = ()
    """New work items. One that is there already stays as it is: of something new there is none."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.puts or self.swaps or self.deletes or self.drafts or self.work)

    def __add__(self, other: Change) -> Change:
        return Change(
            puts=self.puts + other.puts,
            swaps=self.swaps + other.swaps,
            deletes=self.deletes + other.deletes,
            drafts=self.drafts + other.drafts,
            work=self.work + other.work,
        )


class Fence(Fact):
    """The right to write about a subject: the newest `(generation, token)` wins, older ones write nothing."""

    subject: str
    """The lock's name: a cluster's key, or `source:` and a source's key."""
    generation: int
    """Counts how often ZooKeeper was started from nothing; raised by an operator."""
    token: int
    """The lock node's creation zxid."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An unchanged cluster: only when it was seen, and facts that change all the time and make no event."""

    fence: Fence
    state: ClusterState
    nodes: tuple[Node, ...] = ()
    """Nodes whose offsets or lag alone moved."""
