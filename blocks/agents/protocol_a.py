"""Wire protocol A: answers as facts (pure functions), and what is asked for in which order.

The agent says nothing of the node's status: it is derived from whether the store could be asked. Spellings that differ
between the specification and real agents are all understood: `node_id` or `id`, roles and units in any case, absent or null
optional fields. Actions are often switched off (every path of theirs is 404 then), which is a state and no failure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple
from urllib.parse import quote

from blocks.agents import facts
from blocks.agents.actions import SWITCHED_OFF, listed_ids, read_actions
from blocks.agents.answers import Answer, json_items, json_object, node_glimpse, shards_glimpse
from blocks.agents.dialect import Ask, Post, read
from blocks.agents.protocol_a_actions import agent_action, post, scheduled
from blocks.models.action import Action
from blocks.models.look import AgentAction, Failure, Glimpse, Look, NodeInfo, NodeSeen, ShardsInfo, StoreInfo
from blocks.models.node import NodeStatus, Protocol, ShardRole, Version
from blocks.models.sent import Sent

DISPLAY_NAME = "cluster_display_name"
STANDALONE = "standalone"
"""What a ZooKeeper without an ensemble says of its role."""
OK = 200
SERVER_ERROR = 500

_HASH = re.compile(r"[0-9a-fA-F]{7,64}")
_BUILD = re.compile(r"[0-9A-Za-z.-]+")


class Datastore(NamedTuple):
    """What `/info/datastore` says: the node in its cluster, and the store."""

    node_id: str
    store_id: str
    store_version: Version
    store: StoreInfo


def agent_version(answer: Answer) -> Version | Failure:
    """What `/info/agent` says of the agent; it answers without its store."""
    value = json_object(answer)
    if isinstance(value, Failure):
        return value
    return facts.version(value.get("version")) or Version(number=facts.UNKNOWN_VERSION)


def datastore(answer: Answer) -> Datastore | Failure:
    """What `/info/datastore` says; without one of its four required texts none of it is used."""
    value = json_object(answer)
    if isinstance(value, Failure):
        return value
    told = {**value, "node_id": value.get("node_id", value.get("id"))}
    read_texts = {name: facts.text(told.get(name)) for name in ("cluster_id", "node_id", "kind", "version")}
    texts = {name: text for name, text in read_texts.items() if text is not None}
    missing = [name for name in read_texts if name not in texts]
    if missing:
        return Failure(reason=f"the answer has no usable {missing[0]}", status=answer.status)
    display_name = facts.text(value.get(DISPLAY_NAME))
    attributes = {} if display_name is None else {DISPLAY_NAME: display_name}
    return Datastore(
        node_id=texts["node_id"],
        store_id=texts["kind"],
        store_version=store_version(texts["version"]),
        store=StoreInfo.model_validate({"cluster_id": texts["cluster_id"], "attributes": attributes}),
    )


def store_version(text: str) -> Version:
    """A version with its build apart; a build that is neither a hash nor legal is a template that nobody filled in."""
    number, _, build = text.partition("+")
    if not number:
        return Version(number=text)
    if _HASH.fullmatch(build):
        return Version(number=number, checkout=build)
    return Version(number=number, extra=build if _BUILD.fullmatch(build) else None)


def shards_info(answer: Answer) -> ShardsInfo | Failure:
    """What `/shards` says; who stands alone is the primary of what it has."""
    items = json_items(answer, "shards")
    if isinstance(items, Failure):
        return items
    info = facts.shards(items)
    alone = [shard.role_text == STANDALONE for shard in info.shards]
    if not any(alone):
        return info
    roles = zip(info.shards, alone, strict=True)
    return info.evolve(shards=tuple(s.evolve(role=ShardRole.PRIMARY) if single else s for s, single in roles))


def node_info(agent: Version, told: Datastore | Failure) -> NodeInfo:
    """The node as its agent's version and its store's answer, or failure, show it."""
    if isinstance(told, Datastore):
        return NodeInfo(
            protocol=Protocol.A,
            status=NodeStatus.HEALTHY,
            node_id=told.node_id,
            agent_version=agent,
            store_id=told.store_id,
            store_version=told.store_version,
        )
    status, text = _without_store(told)
    return NodeInfo(protocol=Protocol.A, status=status, status_text=text, agent_version=agent)


def node_seen(answer: Answer) -> NodeSeen | None:
    """What a probe reads of `/info/datastore`; None when that cannot be used."""
    told = datastore(answer)
    if isinstance(told, Failure):
        return None
    return NodeSeen(
        status=NodeStatus.HEALTHY,
        node_id=told.node_id,
        cluster_id=told.store.cluster_id,
        store_id=told.store_id,
        store_version=told.store_version,
    )


class ProtocolA:
    """Wire protocol A, as `blocks.agents.dialect.Dialect` wants it."""

    def glimpse_path(self, *, shards: bool) -> str:
        """What a probe asks for: the datastore, which says more of a node than its agent does."""
        return "shards" if shards else "info/datastore"

    def glimpse(self, answer: Answer, *, shards: bool) -> Glimpse:
        """What an answer to that is like."""
        if shards:
            return shards_glimpse(Protocol.A, answer, shards_info(answer))
        return node_glimpse(Protocol.A, answer, node_seen(answer))

    async def look(self, ask: Ask, node_id: str, action_ids: Sequence[str], details_max: int) -> Look:
        """Read everything, one request after the other on one connection: the agent, then store, shards and actions."""
        agent = await read(ask, "info/agent", agent_version)
        if isinstance(agent, Failure):
            return Look(node_id=node_id, info=agent)
        told = await read(ask, "info/datastore", datastore)
        shards = await read(ask, "shards", shards_info)
        actions, known = await read_actions(ask, partial(_action, ask), action_ids, details_max)
        if isinstance(actions, Failure):
            known = {action_id: _doubted(word, actions) for action_id, word in known.items()}
        store = told if isinstance(told, Failure) else told.store
        info = node_info(agent, told)
        return Look(node_id=node_id, info=info, store=store, shards=shards, actions=actions, details=known)

    async def action(self, ask: Ask, action_id: str) -> AgentAction | Failure | None:
        """Read one action; None when the agent has its actions switched on and does not know it."""
        word = await _action(ask, action_id)
        if word is not None:
            return word
        queue = await read(ask, "actions/queue", listed_ids)
        if isinstance(queue, Failure):
            return _doubted(None, queue)
        return Failure(reason=SWITCHED_OFF) if queue is None else None

    def post(self, action: Action, fence: str) -> Post | Failure:
        """The request that sends an action."""
        return post(action, fence)

    def sent(self, answer: Answer, action_id: str) -> Sent:
        """What the answer to that request means."""
        return scheduled(answer, action_id)


async def _action(ask: Ask, action_id: str) -> AgentAction | Failure | None:
    path = f"actions/info/{quote(action_id, safe='')}"
    return await read(ask, path, lambda answer: agent_action(answer, action_id))


def _doubted(word: AgentAction | Failure | None, lists: Failure) -> AgentAction | Failure:
    """Not found proves nothing while it is not known whether the agent has its actions switched on."""
    if word is not None:
        return word
    return Failure(reason=f"not found, and whether its actions are switched on cannot be told: {lists.reason}")


def _without_store(failure: Failure) -> tuple[NodeStatus, str | None]:
    """A store that answers with something unusable is up; what else may be said of the node is then in its parts."""
    if failure.status is None:
        return NodeStatus.UNAVAILABLE, f"its agent answers, but not about the store: {failure.reason}"
    if failure.status >= SERVER_ERROR:
        return NodeStatus.UNAVAILABLE, failure.reason
    if failure.status == OK:
        return NodeStatus.HEALTHY, None
    return NodeStatus.UNKNOWN, failure.reason
