"""A rolling action: one kind of action on many nodes of a cluster, batch by batch, by a plan that a person approved."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from blocks.models.action import HISTORY_MAX, ActionId, ActionKind, ActionState
from blocks.models.base import Fact, Id, Json, LabelKey, Name, Seconds, Text, Utc
from blocks.models.cluster import Health
from blocks.models.gate import Block
from blocks.models.ids import ClusterRef

NODES_MAX = 1_000
TOLERATED_MAX = 1_000
UNWELL_MAX = 50
"""So many reasons are given at most."""


class RollingState(StrEnum):
    """Where it stands; the last four are final."""

    PENDING_APPROVE = "PENDING_APPROVE"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    """Nothing more begins until a person resumes it; what an agent has goes on."""
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    LAPSED = "LAPSED"
    """The cluster is another one than the plan was made for."""

    @property
    def final(self) -> bool:
        """Whether it never moves again."""
        return self in {RollingState.DONE, RollingState.FAILED, RollingState.CANCELLED, RollingState.LAPSED}


class RollingPhase(StrEnum):
    """What it is at with its batch."""

    NEXT = "NEXT"
    """The batch begins when the cluster is fit for it and no gate is closed."""
    ACTING = "ACTING"
    """The actions of the batch were made."""
    SETTLING = "SETTLING"
    """They have ended, and the health of the cluster is waited for."""


UNFINISHED = tuple(state for state in RollingState if not state.final)


class RollingStep(Fact):
    """One move of it."""

    at: Utc
    before: RollingState | None
    after: RollingState
    who: Text
    why: Text = ""


class Pace(Fact):
    """In which order, how many at once, and what must be between: what a person chooses."""

    batch: Annotated[int, Field(ge=1, le=NODES_MAX)] = 1
    """So many nodes at once at most."""
    by: LabelKey | None = None
    """A label: the nodes with one value of it come together, and no batch has two of them."""
    primaries_last: bool = True
    """Whether nodes that are primary of something come after the others."""
    settle_s: Annotated[float, Field(ge=0, le=86_400)] = 10.0
    """For so long the cluster must be healthy after a batch, before the next one begins."""
    health_within_s: Seconds = 600.0
    """So long it may take to become healthy; then the rolling action has failed."""
    batch_within_s: Seconds = 3_600.0
    """So long a batch may take while nothing is frozen and a window is open; then it has failed."""
    failures_max: Annotated[int, Field(ge=0, le=NODES_MAX)] = 0
    """It goes on with so many nodes on which the action failed, and is given up with one more."""


class RollingPlan(Fact):
    """Exactly what would be done: what a person approves."""

    namespace: Name
    cluster_id: Id
    kind: ActionKind
    args: Json = None
    pace: Pace = Pace()
    batches: Annotated[tuple[tuple[Id, ...], ...], Field(min_length=1, max_length=NODES_MAX)]
    """Node ids, batch after batch, in the order in which they are acted on."""
    members: Annotated[tuple[Id, ...], Field(max_length=100_000)]
    """All nodes of the cluster when the plan was made, those that are not acted on too, sorted."""
    tolerated: Annotated[tuple[Text, ...], Field(max_length=TOLERATED_MAX)] = ()
    """Problems that were there when it was ordered by force: they do not count as ill health."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        nodes = self.nodes
        if len(nodes) != len(set(nodes)) or len(nodes) > NODES_MAX or not all(self.batches):
            message = f"each node is in one batch, no batch is empty, and there are {NODES_MAX} nodes at most"
            raise ValueError(message)
        return self

    @property
    def digest(self) -> str:
        """The same for the same plan only: targets, order, pace, arguments, and the members of the cluster."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def nodes(self) -> tuple[str, ...]:
        """All that are acted on, in their order."""
        return tuple(node for batch in self.batches for node in batch)

    @property
    def cluster(self) -> ClusterRef:
        """What it is done to."""
        return ClusterRef(namespace=self.namespace, cluster_id=self.cluster_id)


class Rolling(Fact):
    """A rolling action as stored; changed only by compare-and-set on `version`, only along its transition table."""

    rolling_id: ActionId
    plan: RollingPlan
    state: RollingState
    created_at: Utc
    created_by: Text
    reason: Text = ""
    approved_by: Text | None = None
    forced: Text | None = None
    """Why its actions may begin although they go beyond a budget or risk the cluster's health; None: they may not."""
    retry_of: ActionId | None = None
    """The rolling action of which this one does what was not done."""
    batch: int = 0
    """Which batch is under way, or is the next."""
    phase: RollingPhase = RollingPhase.NEXT
    """What it is at with that batch."""
    since: Utc | None = None
    """Since when it waits for what the phase is about; None: not at all yet, or time stands still while a gate is closed."""
    healthy_since: Utc | None = None
    """Since when the cluster is healthy after a batch."""
    ended: Annotated[dict[Id, ActionState], Field(max_length=NODES_MAX)] = Field(default_factory=dict)
    """By node, how its action ended, also after the end of this one; none where it was not begun. It is kept when the action is not."""
    error: Text | None = None
    history: Annotated[tuple[RollingStep, ...], Field(max_length=HISTORY_MAX)] = ()
    """The last moves, oldest first."""
    finished_at: Utc | None = None
    version: int = 0

    @property
    def key(self) -> str:
        """Its key in the store."""
        return self.rolling_id

    @property
    def namespace(self) -> str:
        """Of its cluster."""
        return self.plan.namespace

    @property
    def cluster_id(self) -> str:
        """Its cluster's, within the namespace."""
        return self.plan.cluster_id

    @property
    def cluster(self) -> ClusterRef:
        """What it is done to."""
        return self.plan.cluster

    @property
    def now_on(self) -> tuple[str, ...]:
        """The nodes of the batch that is under way, or is the next; none after the last."""
        return self.plan.batches[self.batch] if self.batch < len(self.plan.batches) else ()

    @property
    def done(self) -> int:
        """On how many nodes it is done."""
        return sum(state is ActionState.DONE for state in self.ended.values())

    @property
    def failed(self) -> tuple[str, ...]:
        """The nodes on which it ended otherwise."""
        return tuple(node for node in self.plan.nodes if self.ended.get(node, ActionState.DONE) is not ActionState.DONE)


class Hindrance(Fact):
    """What would keep the action of one node from beginning, if its turn were now."""

    node_id: Id
    block: Block


class Prospect(Fact):
    """A plan, and what speaks against it now: shown before anything is ordered."""

    plan: RollingPlan
    digest: str
    health: Health
    unwell: Annotated[tuple[Text, ...], Field(max_length=UNWELL_MAX)] = ()
    """Why the cluster is not fit for it; with any, it is only ordered by force."""
    hindrances: tuple[Hindrance, ...] = ()
    """By node, what would keep it waiting now, were all nodes of its batch begun at once."""
    rolling: Rolling | None = None
    """What was ordered; None: it was only shown."""
