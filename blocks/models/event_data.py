"""What the data of each type of event is. Fields may be added within a version: consumers ignore those they do not know.

Whatever would break a consumer (a field that goes, another type, another meaning) is a new version of the type. Every field
that is sent is named here: the tests hold what flows make against it, docs/events.md and its schemas are made from it.
"""

from __future__ import annotations

from pydantic import ConfigDict, Field

from blocks.models.action import ActionState
from blocks.models.base import Fact, Id, Json, Labels, Text, Utc
from blocks.models.cluster import Health
from blocks.models.command import Outcome
from blocks.models.gate import GateKind
from blocks.models.node import Attribute, NodeStatus, Protocol, ShardRole, Version
from blocks.models.problem import Severity
from blocks.models.report import Report
from blocks.models.rolling import RollingState
from blocks.models.source import DiscoveredNode


class Data(Fact):
    """The data of an event."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Ordered(Data):
    """What a person asked for."""

    who: Text
    """Who wanted it: a person's name, or a flow run."""
    why: Text | None = None
    forced: bool | None = None
    """Whether it was done although something spoke against it; only told of what can be forced."""


class Applied(Ordered):
    """A declared object was created or changed."""

    kind: str
    """Kind of the manifest."""
    before: dict[str, Json] | None = None
    """The object as it was, without its secrets; null: there was none."""
    after: dict[str, Json]
    """The object as it is, without its secrets."""


class NamespaceDeleted(Data):
    """Nothing is left in a namespace, or its name is free again."""

    name_free: bool
    """Whether the name can be used again."""
    who: Text | None = None
    """Only when a person freed the name."""
    why: Text | None = None
    forced: bool | None = None


class SourceDeleted(Ordered):
    """A discovery source or platform was removed."""

    kind: str
    clusters_missing: int
    """How many clusters it told of: they are kept, and marked missing."""
    secrets_forgotten: tuple[str, ...] = ()
    """Names of the secrets that only it named: they are removed right after it."""


class SourceState(Data):
    """A source began to fail (or fails for another reason), or gives a good answer again."""

    source: str
    """`NAMESPACE/NAME`."""
    error: Text | None = None
    """Why it fails; null after a good answer."""


class DiscoveredAs(Data):
    """A cluster as its source tells of it: the first of its nodes and labels, where there are very many."""

    source: str
    display_name: str | None = None
    labels: Labels = Field(default_factory=dict)
    nodes: tuple[DiscoveredNode, ...] = ()


class DiscoveryChanged(Data):
    """The source tells something else of a cluster."""

    before: DiscoveredAs
    after: DiscoveredAs


class SourceConflict(Data):
    """A source tells of other clusters than before that belong to other sources, or does so no longer."""

    source: str
    """`NAMESPACE/NAME` of the source whose word does not count."""
    conflicts: int
    """How many clusters of others it tells of; 0: the conflict is over."""
    owners: dict[str, str]
    """By the id of each such cluster, which source it belongs to; the first hundred."""


class FromSource(Data):
    """A source and what it has to do with the cluster."""

    source: str


class Missing(FromSource):
    """A source no longer tells of a cluster; the cluster is looked after all the same."""

    reason: Text


class ClusterDeleted(Ordered):
    """A cluster was removed; its events stay."""

    nodes: int
    actions_cancelled: int
    source: str | None = None
    """The source that told of it."""
    still_told_by: str | None = None
    """A source that will bring it back at its next turn."""
    unreadable: int = 0
    """Records of it, such as unfinished actions, that could not be read and were removed with it."""


class HealthChanged(Data):
    """A cluster's health is another one."""

    before: Health
    after: Health
    nodes_total: int
    nodes_by_status: dict[str, int] = Field(default_factory=dict)


class Reported(Data):
    """What a cycle did that changed or sent something, or failed."""

    report: Report


class NodeFacts(Data):
    """Facts of a node. In a change only those that changed are there; null: it was not, or is no longer, known."""

    agent_address: str | None = None
    node_class: str | None = None
    node_group: str | None = None
    protocol: Protocol | None = None
    agent_version: Version | None = None
    store_id: Text | None = None
    store_version: Version | None = None
    reported_node_id: Text | None = None
    """The id by which the agent calls the node."""
    reported_cluster_id: Text | None = None
    addresses: dict[str, Text] | None = None
    attributes: dict[str, Attribute] | None = None
    """What the agent says of the node."""
    store_attributes: dict[str, Attribute] | None = None
    foreign_id: Text | None = None
    """The other cluster to which its store says that it belongs; null: none."""


class NodeAdded(NodeFacts):
    """A node was looked at for the first time."""

    node_id: Id
    status: NodeStatus


class NodeChanged(Data):
    """Facts of a node changed."""

    node_id: Id
    before: NodeFacts
    after: NodeFacts


class NodeStatusChanged(Data):
    """A node's status is another one."""

    node_id: Id
    before: NodeStatus
    after: NodeStatus
    reason: Text | None = None
    """The agent's words, or why it could not be asked."""


class NodeRemoved(Data):
    """The source no longer lists a node of the cluster; never because of a failure."""

    node_id: Id
    status: NodeStatus
    """Its last one."""


class ShardRemoved(Data):
    """A good answer of a node came without a shard. The shards of a removed node go with it, without a word."""

    node_id: Id
    shard_id: Id


class ShardAdded(ShardRemoved):
    """A node has a shard that it had not."""

    role: Text
    """`primary`, `secondary`, `recovering`, or the agent's own word."""
    role_value: ShardRole | None = None
    """The role as one of a few words; null in events of old versions."""
    role_text: Text | None = None
    """The agent's own word; null where `role_value` says it all."""


class ShardChanged(ShardAdded):
    """A node is something else for a shard. Offsets and lag move all the time and make no event."""

    role_before: Text


class ProblemCleared(Data):
    """A problem is gone."""

    code: str
    node_id: Id | None = None
    """The node it is about; null: the whole cluster."""
    shard_id: Id | None = None
    """The shard it is about; null: the whole node."""
    since: Utc | None = None
    """When it was first seen; null in events of old versions."""
    cause: str | None = None
    """Code of the problem that explains this one, which is then a symptom; null: it stands for itself."""
    cause_node_id: Id | None = None
    """The node of that problem."""


class ProblemRaised(ProblemCleared):
    """Something is wrong."""

    severity: Severity
    description: Text
    evidence: Text = ""
    remedy: Text = ""
    """What to do."""


class ProblemAcknowledged(ProblemCleared):
    """Somebody has seen a problem."""

    who: Text
    why: Text


class ActionMoved(Data):
    """An action came into being, moved, or ended."""

    action_id: str
    node_id: Id | None = None
    """The node it is for; null: the whole cluster."""
    kind: str
    state: ActionState
    state_before: ActionState | None = None
    """Null: there was no such action before."""
    payload: Json = None
    """What the agent tells of its progress."""
    error: Text | None = None
    ended_as: ActionState | None = None
    """Of one that was cancelled here while its agent had it: how it ended there."""
    attempts: int
    """How often sending it failed since it last succeeded."""
    who: Text | None = None
    why: Text | None = None


class ActionRefused(Data):
    """A move of an action that the table of moves does not have; the action stays what it is."""

    action_id: str
    node_id: Id | None = None
    state: ActionState
    wanted: ActionState
    reason: Text


class RollingChanged(Data):
    """A rolling action came into being, was approved, paused or resumed, went on to its next batch, or ended."""

    rolling_id: str
    kind: str
    """What is done to each node."""
    state: RollingState
    state_before: RollingState | None = None
    """Null: there was no such rolling action before."""
    batch: int
    """How many batches are behind it."""
    batches: int
    nodes_done: int
    nodes_failed: int
    digest: str
    """The same for the same plan only."""
    retry_of: str | None = None
    """The rolling action of which this one does what was not done."""
    who: Text | None = None
    why: Text | None = None
    error: Text | None = None


class RollingRefused(Data):
    """A move of a rolling action that was refused; it stays what it is."""

    rolling_id: str
    state: RollingState
    wanted: RollingState
    who: Text
    reason: Text


class GateLifted(Data):
    """A freeze, blackout or maintenance window was taken away by a person. One that ends by itself makes no event."""

    name: str
    kind: GateKind
    where: Text
    """What it is in front of."""
    owner: Text
    who: Text
    why: Text | None = None


class GatePlaced(GateLifted):
    """A freeze, blackout or maintenance window was placed, or changed."""

    until: Utc | None = None
    """When it ends by itself; null: only when it is lifted."""


class WorkPaused(Data):
    """The timetable leaves a cluster or source alone, or goes on with it."""

    kind: str
    subject: str
    who: Text
    why: Text | None = None
    until: Utc | None = None
    """When the pause ends by itself; null once it has ended."""


class WorkDead(Data):
    """A work item failed, or killed its worker, too often: it waits for a person."""

    kind: str
    subject: str
    attempts: int
    error: Text | None = None


class CommandGiven(Data):
    """A person told us to do something."""

    command: str
    """The flow, or the command of `replictl`."""
    subject: Text
    arguments: dict[str, Json]
    """The others; nothing secret."""
    who: Text
    origin: Text
    """From where: the program or deployment, its user and host."""
    flow_run: str | None = None
    outcome: Outcome
    reason: Text | None = None
    """Why it was refused or failed."""


class CoordinatorReset(Data):
    """A person said that ZooKeeper was set up from nothing."""

    generation: int
    """Tokens of this one are newer than all before."""
    who: Text
    why: Text


class StoreRestored(Data):
    """A person said that MongoDB was set back to an earlier moment: what was told after it may be told again otherwise."""

    at: Utc
    """The moment to which it was set back."""
    who: Text
    why: Text
    read_back: int
    """Events that the store had lost and that were read back from the bus."""
    doubted: int
    """Actions whose agents are asked before anything is sent, because they may have been sent since."""


class Degraded(Data):
    """A worker goes on without a dependency, or has it back."""

    mode: str
    """`NO_COORDINATOR`, `NO_QUEUE`, `NO_STORE`, `NO_PREFECT` or `COORDINATOR_WIPED`."""
    meaning: Text
    """What goes on and what does not."""
    worker: str
    detail: Text
    """The error, or how long it lasted."""
