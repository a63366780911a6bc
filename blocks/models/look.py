"""One look at a node: what its agent answered, part by part. A failed part is a value, not an exception."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from blocks.models.action import ActionId, ActionKind, ActionState, Metadata
from blocks.models.base import Fact, Id, Json, Text, Utc
from blocks.models.node import SHARDS_MAX, Attribute, NodeStatus, Protocol, Shard, Version


class Failure(Fact):
    """Why a part could not be read."""

    reason: Text
    status: int | None = None
    """HTTP status, if there was an answer at all."""


class NodeInfo(Fact):
    """What the agent says of the node and of itself."""

    protocol: Protocol
    status: NodeStatus
    status_text: Text | None = None
    node_id: Text | None = None
    agent_version: Version
    store_id: Text | None = None
    store_version: Version | None = None
    addresses: dict[str, Text] = Field(default_factory=dict)
    attributes: dict[str, Attribute] = Field(default_factory=dict)


class StoreInfo(Fact):
    """What the agent says of the store."""

    cluster_id: Text | None = None
    attributes: dict[str, Attribute] = Field(default_factory=dict)


class ShardsInfo(Fact):
    """The shards on the node; a bad one is left out and named in `notes`."""

    shards: tuple[Shard, ...] = ()
    notes: tuple[Text, ...] = ()
    unread: Annotated[tuple[Id, ...], Field(max_length=SHARDS_MAX)] = ()
    """Ids of shards that are there and could not be read otherwise."""
    partial: bool = False
    """Whether the node may have shards of which not even the id is here."""

    @property
    def whole(self) -> bool:
        """Whether all that the node has was read: only then is what is not here gone."""
        return not self.partial and not self.unread


class AgentAction(Fact):
    """An action as the agent tells of it, within the limits of an `Action`: one that the agent began itself becomes one."""

    action_id: ActionId
    kind: ActionKind
    state: ActionState
    args: Json = None
    metadata: Metadata = Field(default_factory=dict)
    created_at: Utc | None = None
    scheduled_at: Utc | None = None
    finished_at: Utc | None = None
    payload: Json = None
    error: Text | None = None


class ActionsInfo(Fact):
    """Ids of the actions the agent lists: unfinished ones, and the finished ones it still shows."""

    enabled: bool = True
    """False when the agent has its actions switched off, which is no failure."""
    queue: Annotated[tuple[ActionId, ...], Field(max_length=1_000)] = ()
    finished: Annotated[tuple[ActionId, ...], Field(max_length=1_000)] = ()


class NodeSeen(Fact):
    """What a probe read of a node itself; None: its answer does not say."""

    status: NodeStatus
    word: Text | None = None
    """The agent's own word, where the status is UNKNOWN."""
    node_id: Text | None = None
    cluster_id: Text | None = None
    agent_version: Version | None = None
    store_id: Text | None = None
    store_version: Version | None = None


class Glimpse(Fact):
    """What a probe brought: enough to see that something differs from last time, or from what is stored."""

    protocol: Protocol
    fingerprint: str
    """The same for answers that say the same."""
    node: NodeSeen | None = None
    """What was read of the node; None: its shards were asked for, or the answer could not be read."""
    roles: str | None = None
    """See `roles_of`; None: the node was asked for, or the answer could not be read."""


def roles_of(shards: Iterable[Shard]) -> str:
    """Ids and roles in a few characters, whatever their order; offsets and lag move all the time."""
    roles = sorted(f"{shard.shard_id}\0{shard.role}\0{shard.role_text}" for shard in shards)
    return hashlib.blake2b("\n".join(roles).encode(), digest_size=8).hexdigest()


class Look(Fact):
    """All that one look at a node brought."""

    node_id: Id
    info: NodeInfo | Failure
    store: StoreInfo | Failure | None = None
    """None: not asked, because the node itself could not be."""
    shards: ShardsInfo | Failure | None = None
    actions: ActionsInfo | Failure | None = None
    details: dict[str, AgentAction | Failure | None] = Field(default_factory=dict)
    """By action id: the agent's word on it; None when the agent does not know it (any more)."""
    tls_trouble: Text | None = None
    """Why the TLS material that it is asked with cannot be used any more; the last good one still is."""
    asked: bool = True
    """False: the node was not really asked, `info` says why, and nothing must be concluded from it."""
