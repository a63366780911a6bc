"""Agents in memory: nodes that a test arranges, looks at and breaks; what was sent is recorded.

The same `MemoryNode` can be put behind a real socket (`doubles.wire_b`), so that one suite holds for both.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType
from typing import Self

from blocks.agents.protocol import Proof, Target
from blocks.models.action import Action, ActionState
from blocks.models.base import Json
from blocks.models.look import (
    ActionsInfo,
    AgentAction,
    Failure,
    Glimpse,
    Look,
    NodeInfo,
    NodeSeen,
    ShardsInfo,
    StoreInfo,
    roles_of,
)
from blocks.models.node import Attribute, NodeStatus, Protocol, Shard, Version
from blocks.models.sent import Sent

FENCE_KEY = "replicore.io/fence"


class Mishap(Enum):
    """What may happen to one request that sends an action."""

    LOST = auto()
    """It never arrives; the sender cannot know."""
    UNANSWERED = auto()
    """It arrives and has its effect; the answer never comes."""
    BROKEN = auto()
    """The agent answers that something is wrong inside it."""


class Taken(Enum):
    """What an agent says to an action."""

    ACCEPTED = auto()
    DUPLICATE = auto()
    REFUSED = auto()
    SUPERSEDED = auto()


@dataclass(frozen=True)
class Delivery:
    """An action that arrived at an agent."""

    action: Action
    fence: str
    taken: Taken


@dataclass
class MemoryNode:
    """A node and its agent. Change any field at any time."""

    node_id: str
    cluster_id: str = "orders"
    status: NodeStatus = NodeStatus.HEALTHY
    status_text: str | None = None
    agent_version: str = "0.1.0"
    store_id: str = "mongo.replica"
    store_version: str = "6.0.0"
    addresses: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, Attribute] = field(default_factory=dict)
    store_attributes: dict[str, Attribute] = field(default_factory=dict)
    shards: tuple[Shard, ...] = ()
    down: bool = False
    """Nothing listens at its address."""
    hangs: bool = False
    """It takes connections and never answers."""
    store_error: str | None = None
    """What it answers instead of store and shards."""
    actions_on: bool = True
    actions: dict[str, AgentAction] = field(default_factory=dict)
    refused_kinds: set[str] = field(default_factory=set)
    fence: tuple[int, int] | None = None
    """The newest fencing token seen."""
    mishaps: deque[Mishap] = field(default_factory=deque)
    """For the next requests that send an action, one each."""
    deliveries: list[Delivery] = field(default_factory=list)
    looks: int = 0

    def take(self, action: Action, fence: str) -> Taken:
        """Say what a real agent would: the fence first, then the id, then the kind."""
        taken = self._judged(action, fence)
        self.deliveries.append(Delivery(action, fence, taken))
        if taken is Taken.ACCEPTED:
            self.actions[action.action_id] = AgentAction(
                action_id=action.action_id,
                kind=action.kind,
                state=ActionState.NEW,
                args=action.args,
                metadata={**action.metadata, FENCE_KEY: fence},
                created_at=action.created_at,
                scheduled_at=action.created_at,
            )
        return taken

    def move(self, action_id: str, state: ActionState, payload: Json = None, error: str | None = None) -> None:
        """Bring an action of its own to another state."""
        known = self.actions[action_id]
        finished = known.scheduled_at if state.final else None
        self.actions[action_id] = known.evolve(state=state, payload=payload, error=error, finished_at=finished)

    def forget(self, action_id: str) -> None:
        """Lose an action, as an agent does whose database was wiped."""
        del self.actions[action_id]

    def listed(self, *, final: bool) -> tuple[str, ...]:
        """The ids of its finished, or of its unfinished, actions."""
        return tuple(known.action_id for known in self.actions.values() if known.state.final is final)

    def _judged(self, action: Action, fence: str) -> Taken:
        generation, token = (int(part) for part in fence.split(":"))
        if self.fence is not None and (generation, token) < self.fence:
            return Taken.SUPERSEDED
        self.fence = (generation, token)
        if action.action_id in self.actions:
            return Taken.DUPLICATE
        return Taken.REFUSED if action.kind in self.refused_kinds else Taken.ACCEPTED


class MemoryAgents:
    """All agents of a fleet, by address."""

    def __init__(self, nodes: dict[str, MemoryNode] | None = None) -> None:
        """Take nodes by their agent's address; an address without a node is one where nothing listens."""
        self.nodes = {} if nodes is None else nodes

    def add(self, node: MemoryNode, address: str | None = None) -> str:
        """Put a node at an address and return the address."""
        address = address or f"http://{node.node_id}.test:8000"
        self.nodes[address] = node
        return address

    @property
    def sent(self) -> list[tuple[str, str]]:
        """What arrived and was new: node id and action id, node by node."""
        return [
            (node.node_id, delivery.action.action_id)
            for node in self.nodes.values()
            for delivery in node.deliveries
            if delivery.taken is Taken.ACCEPTED
        ]

    async def connect(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def look(self, target: Target, action_ids: Sequence[str] = ()) -> Look:
        """What the node is at this moment."""
        knocked = target.knock_s is not None
        node = await self._reached(target, target.knock_s if target.knock_s is not None else target.timeout_s)
        if isinstance(node, Failure):
            return Look(node_id=target.node_id, info=node, asked=not knocked)
        node.looks += 1
        broken = None if node.store_error is None else Failure(reason=f"HTTP 500: {node.store_error}", status=500)
        wanted = dict.fromkeys((*action_ids, *node.listed(final=False)))
        off = Failure(reason="the agent has its actions switched off")
        return Look(
            node_id=target.node_id,
            info=_info(node),
            store=broken or StoreInfo(cluster_id=node.cluster_id, attributes=node.store_attributes),
            shards=broken or ShardsInfo(shards=node.shards),
            actions=_actions(node),
            details={wanted_id: node.actions.get(wanted_id) if node.actions_on else off for wanted_id in wanted},
        )

    async def probe(self, target: Target, *, shards: bool) -> Glimpse | Failure:
        """What the node is like at this moment."""
        node = await self._reached(target, target.timeout_s)
        if isinstance(node, Failure):
            return node
        if not shards:
            info = _info(node)
            seen = NodeSeen(**{name: getattr(info, name) for name in NodeSeen.model_fields if hasattr(info, name)})
            return Glimpse(protocol=Protocol.B, fingerprint=repr(seen), node=seen)
        if node.store_error is not None:
            return Glimpse(protocol=Protocol.B, fingerprint="500:")
        roles = roles_of(node.shards)
        return Glimpse(protocol=Protocol.B, fingerprint=roles, roles=roles)

    async def action(self, target: Target, action_id: str) -> AgentAction | Failure | None:
        """The node's action, if it has it."""
        node = await self._reached(target, target.timeout_s)
        if isinstance(node, Failure):
            return node
        return node.actions.get(action_id) if node.actions_on else None

    async def send(
        self, target: Target, action: Action, fence: str, budget_s: float, *, proof: Proof | None = None
    ) -> Sent:
        """Give the node an action."""
        if proof is not None and proof() <= 0:
            return Sent(accepted=False, failed="not sent: no time was left, or the lock could no longer be proven")
        node = await self._reached(target, min(budget_s, target.timeout_s))
        if isinstance(node, Failure):
            hung = target.agent_address in self.nodes and self.nodes[target.agent_address].hangs
            return Sent(accepted=False, failed=node.reason, maybe_sent=hung)
        if not node.actions_on:
            return Sent(accepted=False, failed="HTTP 404: an empty body")
        mishap = node.mishaps.popleft() if node.mishaps else None
        taken = node.take(action, fence) if mishap in {None, Mishap.UNANSWERED} else None
        if mishap is not None:
            reason = "HTTP 500: broken" if mishap is Mishap.BROKEN else "the connection was closed without an answer"
            return Sent(accepted=False, failed=reason, maybe_sent=True)
        refused = f"HTTP 400: no such kind of action: {action.kind}" if taken is Taken.REFUSED else None
        accepted = taken in {Taken.ACCEPTED, Taken.DUPLICATE}
        return Sent(accepted=accepted, superseded=taken is Taken.SUPERSEDED, refused=refused)

    async def _reached(self, target: Target, timeout_s: float) -> MemoryNode | Failure:
        node = self.nodes.get(target.agent_address)
        if node is None or node.down:
            return Failure(reason="connection refused")
        if node.hangs:
            await asyncio.sleep(timeout_s)
            return Failure(reason=f"no complete answer within {timeout_s:.3g} s")
        return node


def _info(node: MemoryNode) -> NodeInfo:
    return NodeInfo(
        protocol=Protocol.B,
        status=node.status,
        status_text=node.status_text,
        node_id=node.node_id,
        agent_version=Version(number=node.agent_version),
        store_id=node.store_id,
        store_version=Version(number=node.store_version),
        addresses=node.addresses,
        attributes=node.attributes,
    )


def _actions(node: MemoryNode) -> ActionsInfo:
    if not node.actions_on:
        return ActionsInfo(enabled=False)
    return ActionsInfo(queue=node.listed(final=False), finished=node.listed(final=True))
