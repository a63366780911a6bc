"""What one cycle of one cluster did: the latest is kept."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from blocks.models.base import Fact, Id, Name, Text, Utc
from blocks.models.gate import Block
from blocks.models.ids import ClusterRef

BLOCKED_MAX = 50


class CycleOutcome(StrEnum):
    """How a cycle ended."""

    SUCCESS = "success"
    SKIPPED = "skipped"
    """Somebody else held the cluster's lock."""
    FAILED = "failed"


class Choice(Fact):
    """What may start on a cluster now, and why not the rest."""

    block_nodes: bool = False
    """No node action is sent."""
    block_exclusive: bool = False
    """No exclusive cluster action is started."""
    block_parallel: bool = False
    """No cluster action that nodes' own may run beside is started."""
    reasons: tuple[str, ...] = ()
    blocked: Annotated[dict[str, tuple[Block, ...]], Field(max_length=BLOCKED_MAX)] = Field(default_factory=dict)
    """By id, approved actions that could begin if these rules did not keep them; the oldest ones."""


class Report(Fact):
    """What one cycle of one cluster did."""

    namespace: Name
    cluster_id: Id
    started_at: Utc
    outcome: CycleOutcome
    error: Text | None = None
    phases_ms: dict[str, float] = Field(default_factory=dict)
    """How long each phase took, in milliseconds."""
    choice: Choice = Choice()
    nodes_synced: int = 0
    nodes_failed: int = 0
    actions_sent: int = 0
    actions_send_failed: int = 0
    actions_lost: int = 0
    cluster_actions_progressed: int = 0
    events: int = 0
    notes: tuple[Text, ...] = ()
    version: int = 0

    @property
    def cluster(self) -> ClusterRef:
        """The cluster it is about."""
        return ClusterRef(namespace=self.namespace, cluster_id=self.cluster_id)

    @property
    def key(self) -> str:
        """Its key in the store: the cluster's."""
        return self.cluster.key
