"""A namespace: whose clusters these are, how their agents are reached, and what may be done to them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from blocks.models.base import Fact, Labels, Name, Seconds, Utc
from blocks.models.node import Protocol
from blocks.models.tls import Tls


class NamespaceStatus(StrEnum):
    """What may happen to what is in the namespace."""

    ACTIVE = "Active"
    """Everything."""
    OBSERVED = "Observed"
    """Look, never act."""
    INACTIVE = "Inactive"
    """Nothing."""
    DELETING = "Deleting"
    """What is in it is being removed."""
    DELETED = "Deleted"
    """All that was in it is gone."""


class ForeignNodes(StrEnum):
    """What becomes of the answers of a node whose store says that it belongs to another cluster."""

    AUTO = "auto"
    """Refused where the store of some node of the cluster says the cluster's own id: there the ids have one origin."""
    REFUSE = "refuse"
    """Refused."""
    ACCEPT = "accept"
    """Taken, and no problem: stores have ids of their own here, as in sharded or renamed sets."""


ActionPrefix = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class NamespaceSettings(Fact):
    """Limits and defaults for what is in the namespace."""

    schedule_attempts_max: Annotated[int, Field(ge=1, le=100)] = 5
    """How often sending an action is tried before it is FAILED."""
    agent_timeout: Seconds = 10.0
    """Deadline of one request to an agent, in seconds."""
    orchestrate_interval: Seconds = 60.0
    """How often a cluster that says nothing else is looked after, in seconds."""
    discovery_interval: Seconds = 300.0
    """How often a source that says nothing else is asked, in seconds."""
    probe_interval: Annotated[float, Field(ge=0, le=3_600)] = 5.0
    """How often each node of a cluster that says nothing else is probed, in seconds; 0 switches the watch off."""
    probe_timeout: Seconds = 3.0
    """Deadline of a probe, in seconds, where that is shorter than the interval (or 1 s) and `agent_timeout`. An agent of
    protocol A whose MongoDB is dead answers after two."""
    primary_grace: Annotated[float, Field(ge=0, le=3_600)] = 10.0
    """For how many seconds a shard may have no primary, or several, before that is a problem: elections are normal."""
    status_hold: Annotated[float, Field(ge=0, le=3_600)] = 2.0
    """For how many seconds another status of a node must be seen before it is said; 0 says it at once."""
    stale_after: Seconds = 300.0
    """A part of a node that could not be read for so many seconds is a problem."""
    clock_skew_max: Annotated[float, Field(ge=2, le=86_400)] = 60.0
    """An agent's clock that is further than this from ours, in seconds, is a problem."""
    foreign_nodes: ForeignNodes = ForeignNodes.AUTO
    """What becomes of the answers of a node whose store says that it belongs to another cluster."""
    disruption_max_cluster: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """So many nodes of one cluster may be acted on at once; None: as many as its health allows."""
    disruption_max: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """So many nodes of the whole namespace may be acted on at once; None: any number."""
    harmless_actions: Annotated[tuple[ActionPrefix, ...], Field(max_length=50)] = (
        "agent.replicante.io/test.",
        "agent.replicante.io/cluster.",
    )
    """Kinds of node actions that begin so keep no node from serving: budgets and health do not count them."""
    approver_must_differ: bool = False
    """Whoever orders an action cannot approve it, nor grant approval in its manifest."""
    approval_within: Seconds | None = 7 * 86_400.0
    """An action that nobody approved for so many seconds is cancelled; None: it waits for ever."""
    schedule_within: Seconds | None = 7 * 86_400.0
    """An approved action that could not begin for so many seconds is cancelled; while a freeze, a window or the namespace holds
    all actions of its cluster the time does not count, and begins anew afterwards. None: it waits for ever."""
    exclusive_patience: Seconds = 600.0
    """An exclusive action on a cluster that has waited so many seconds goes before actions on nodes that are not begun."""
    stuck_after: Seconds = 3_600.0
    """An action that is not finished so many seconds after it was approved is a problem."""
    agent_protocol: Protocol | None = None
    """The wire protocol that its agents must speak; None means that each is asked what it speaks."""


class Namespace(Fact):
    """A namespace as a person declared it."""

    name: Name
    status: NamespaceStatus = NamespaceStatus.ACTIVE
    tls: Tls | None = None
    settings: NamespaceSettings = NamespaceSettings()
    labels: Labels = Field(default_factory=dict)
    closing_until: Utc | None = None
    """Until then nothing is sent: somebody is about to delete it, and looks whether anything is under way."""
    version: int = 0

    @property
    def key(self) -> str:
        """Its key in the store."""
        return self.name

    @property
    def may_look(self) -> bool:
        """Whether its clusters are discovered and observed."""
        return self.status in {NamespaceStatus.ACTIVE, NamespaceStatus.OBSERVED}

    @property
    def may_act(self) -> bool:
        """Whether actions are sent to its nodes."""
        return self.status is NamespaceStatus.ACTIVE

    @property
    def going(self) -> bool:
        """Whether it is being deleted, or is deleted: nothing is added to it, and it never comes back."""
        return self.status in {NamespaceStatus.DELETING, NamespaceStatus.DELETED}
