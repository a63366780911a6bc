"""An action: something that is done to a node (or to a whole cluster) at most once, by order of a person or a rule."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field

from blocks.models.base import Fact, Id, Json, Name, Seconds, Text, Utc
from blocks.models.ids import ClusterRef, NodeRef

HISTORY_MAX = 50
METADATA_MAX = 50


class ActionState(StrEnum):
    """Where an action stands; the last four are final."""

    PENDING_APPROVE = "PENDING_APPROVE"
    PENDING_SCHEDULE = "PENDING_SCHEDULE"
    NEW = "NEW"
    RUNNING = "RUNNING"
    CANCELLED = "CANCELLED"
    DONE = "DONE"
    FAILED = "FAILED"
    LOST = "LOST"

    @property
    def final(self) -> bool:
        """Whether an action in this state never moves again."""
        return self in {ActionState.CANCELLED, ActionState.DONE, ActionState.FAILED, ActionState.LOST}

    @property
    def on_agent(self) -> bool:
        """Whether the agent has it and has not finished it."""
        return self in {ActionState.NEW, ActionState.RUNNING}


class Approval(StrEnum):
    """Whether a person must agree before an action is sent."""

    REQUIRED = "required"
    GRANTED = "granted"


class Requester(StrEnum):
    """Who caused an action."""

    AGENT_API = "AGENT_API"
    CORE_API = "CORE_API"
    CORE_DECLARATIVE = "CORE_DECLARATIVE"


class Transition(Fact):
    """One step of an action's life."""

    at: Utc
    before: ActionState | None
    after: ActionState
    who: Text
    why: Text = ""


class Intent(Fact):
    """That we are about to send, or have sent, an action to its agent: saved before the request leaves."""

    attempt: int
    generation: int
    token: int
    at: Utc
    answer_by: Utc
    """No request of this attempt can still be on its way after this moment."""

    @property
    def fence(self) -> str:
        """The fencing token as agents are told it."""
        return f"{self.generation}:{self.token}"


def _canonical_uuid(value: str) -> str:
    return str(UUID(value))


ActionId = Annotated[str, AfterValidator(_canonical_uuid)]
ActionKind = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/\-]*$")]


Metadata = Annotated[dict[str, Text], Field(max_length=METADATA_MAX)]


class Action(Fact):
    """An action as stored; changed only by compare-and-set on `version`, only along the transition table."""

    action_id: ActionId
    namespace: Name
    cluster_id: Id
    node_id: Id | None = None
    """The node it is for; None for an action on the whole cluster."""
    kind: ActionKind
    args: Json = None
    metadata: Metadata = Field(default_factory=dict)
    state: ActionState
    created_at: Utc
    created_by: Text
    requester: Requester = Requester.CORE_API
    timeout_s: Seconds | None = None
    """Of an action on a cluster: it is FAILED when it takes longer; None means its kind's default."""
    approved_by: Text | None = None
    forced: Text | None = None
    """Why it may begin although it goes beyond a budget or risks the cluster's health; None: it may not."""
    scheduled_at: Utc | None = None
    finished_at: Utc | None = None
    attempts: int = 0
    """How often sending it failed since it last succeeded."""
    not_before: Utc | None = None
    """Not sent again before this moment (backoff); None means at once."""
    intent: Intent | None = None
    held_since: Utc | None = None
    """Of an action on a cluster that runs: since when a gate holds its steps; its time stands still. None: nothing holds it."""
    held_s: Annotated[float, Field(ge=0)] = 0.0
    """For how many seconds it was held before: they are no part of its time."""
    step: int = 0
    """Of an action on a cluster: how many answers of its handler were kept. Tries of one step have one key."""
    retry_of: ActionId | None = None
    """The action that this one does once more, because it failed."""
    rolling_id: ActionId | None = None
    """The rolling action that made it; it begins only while that is running."""
    payload: Json = None
    error: Text | None = None
    answered_error: Text | None = None
    """Of an action on a cluster: its error as its handler last said it. `error` is also that of a failed try, until there is an answer."""
    refused: Text | None = None
    """The last move that its agent claimed and that the table does not have: told of once."""
    left_running: bool = False
    """It was cancelled here while its agent had it, or may have had it; how it ends there is not known yet."""
    ended_as: ActionState | None = None
    """Of one that was left running: how its agent says that it ended. Its own state stays CANCELLED."""
    history: Annotated[tuple[Transition, ...], Field(max_length=HISTORY_MAX)] = ()
    """The last transitions, oldest first."""
    version: int = 0

    @property
    def cluster(self) -> ClusterRef:
        """The cluster it is for."""
        return ClusterRef(namespace=self.namespace, cluster_id=self.cluster_id)

    @property
    def node(self) -> NodeRef | None:
        """The node it is for, if it is for one."""
        return None if self.node_id is None else self.cluster.node(self.node_id)

    @property
    def under_way(self) -> bool:
        """Whether an agent has it, or may have it: also one that was cancelled here and may go on there."""
        return self.left_running or (not self.state.final and (self.state.on_agent or self.intent is not None))

    @property
    def key(self) -> str:
        """Its key in the store."""
        return self.action_id
