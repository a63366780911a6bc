"""Wire protocol B: answers as facts (pure functions), what is asked for in which order, and how an action is sent.

Spellings that differ between the specification and real agents are all understood: `id` or `shard_id`, bare or wrapped
lists, `phase` or `state`, roles and units in any case, absent optional fields. What cannot be used is left out with a note,
or is a `Failure` of that part only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from urllib.parse import quote

from pydantic import ValidationError

from blocks.agents import facts
from blocks.agents.actions import STATES, encoded, read_actions, sent, unknown
from blocks.agents.answers import Answer, json_items, json_object, node_glimpse, shards_glimpse
from blocks.agents.dialect import FENCE_KEY, Ask, Post, read
from blocks.models.action import Action, ActionState
from blocks.models.look import AgentAction, Failure, Glimpse, Look, NodeInfo, NodeSeen, ShardsInfo, StoreInfo
from blocks.models.node import NodeStatus, Protocol, Version
from blocks.models.sent import Sent

_OWN_STATUSES = {NodeStatus.UNREACHABLE, NodeStatus.INCOMPLETE}
_STATUSES = {status.value.replace("_", ""): status for status in NodeStatus if status not in _OWN_STATUSES}
_NOT_LETTERS = re.compile(r"[^A-Za-z]")


def node_info(answer: Answer) -> NodeInfo | Failure:
    """What `/info/node` says; `node_status` is all that it must have."""
    value = json_object(answer)
    if isinstance(value, Failure):
        return value
    told = facts.tagged(value.get("node_status"))
    if told is None:
        return Failure(reason="the answer has no usable node_status", status=answer.status)
    status, status_text = _status(*told)
    return NodeInfo(
        protocol=Protocol.B,
        status=status,
        status_text=status_text,
        node_id=facts.text(value.get("node_id")),
        agent_version=facts.version(value.get("agent_version")) or Version(number=facts.UNKNOWN_VERSION),
        store_id=facts.text(value.get("store_id")),
        store_version=facts.version(value.get("store_version")),
        addresses=facts.texts(value.get("address")),
        attributes=facts.attributes(value.get("attributes")),
    )


def node_seen(answer: Answer) -> NodeSeen | None:
    """What a probe reads of `/info/node`, which is less than a look does; None when it cannot be used."""
    value = json_object(answer)
    told = None if isinstance(value, Failure) else facts.tagged(value.get("node_status"))
    if isinstance(value, Failure) or told is None:
        return None
    status, word = _status(told[0], None)
    return NodeSeen(
        status=status,
        word=word,
        node_id=facts.text(value.get("node_id")),
        agent_version=facts.version(value.get("agent_version")) or Version(number=facts.UNKNOWN_VERSION),
        store_id=facts.text(value.get("store_id")),
        store_version=facts.version(value.get("store_version")),
    )


def store_info(answer: Answer) -> StoreInfo | Failure:
    """What `/info/store` says; it must have a `cluster_id`."""
    value = json_object(answer)
    if isinstance(value, Failure):
        return value
    cluster_id = facts.text(value.get("cluster_id"))
    if cluster_id is None:
        return Failure(reason="the answer has no usable cluster_id", status=answer.status)
    return StoreInfo(cluster_id=cluster_id, attributes=facts.attributes(value.get("attributes")))


def shards_info(answer: Answer) -> ShardsInfo | Failure:
    """What `/info/shards` says."""
    items = json_items(answer, "shards")
    return items if isinstance(items, Failure) else facts.shards(items)


def agent_action(answer: Answer, asked: str) -> AgentAction | Failure | None:
    """What `/action/ID` says; None when the agent does not know the action."""
    if unknown(answer):
        return None
    value = json_object(answer)
    if isinstance(value, Failure):
        return value
    if facts.action_id(value.get("id")) != facts.action_id(asked):
        return Failure(reason="the answer is about another action", status=answer.status)
    inner = value.get("state")
    state = inner if isinstance(inner, dict) else {"phase": inner or value.get("phase")}
    told = facts.tagged(state.get("phase"))
    if told is None:
        return Failure(reason="the action has no usable state", status=answer.status)
    try:
        return _agent_action(value, state, told[0])
    except ValidationError:
        return Failure(reason="the action has no usable kind", status=answer.status)


class ProtocolB:
    """Wire protocol B, as `blocks.agents.dialect.Dialect` wants it."""

    def glimpse_path(self, *, shards: bool) -> str:
        """What a probe asks for."""
        return "info/shards" if shards else "info/node"

    def glimpse(self, answer: Answer, *, shards: bool) -> Glimpse:
        """What an answer to that is like."""
        if shards:
            return shards_glimpse(Protocol.B, answer, shards_info(answer))
        return node_glimpse(Protocol.B, answer, node_seen(answer))

    async def look(self, ask: Ask, node_id: str, action_ids: Sequence[str], details_max: int) -> Look:
        """Read everything, one request after the other on one connection: the node, then store, shards and actions."""
        info = await read(ask, "info/node", node_info)
        if isinstance(info, Failure):
            return Look(node_id=node_id, info=info)
        store = await read(ask, "info/store", store_info)
        shards = await read(ask, "info/shards", shards_info)
        actions, known = await read_actions(ask, partial(self.action, ask), action_ids, details_max)
        return Look(node_id=node_id, info=info, store=store, shards=shards, actions=actions, details=known)

    async def action(self, ask: Ask, action_id: str) -> AgentAction | Failure | None:
        """Read one action; None when the agent does not know it."""
        return await read(ask, f"action/{quote(action_id, safe='')}", lambda answer: agent_action(answer, action_id))

    def post(self, action: Action, fence: str) -> Post:
        """The request that sends an action: its times in UTC, the fence in its metadata."""
        body = {
            "id": action.action_id,
            "kind": action.kind,
            "args": action.args,
            "created_time": action.created_at.isoformat().replace("+00:00", "Z"),
            "metadata": {**action.metadata, FENCE_KEY: fence},
        }
        return Post("action", encoded(body))

    def sent(self, answer: Answer, action_id: str) -> Sent:
        """What the answer to that request means."""
        return sent(answer, action_id)


def _status(word: str, told: str | None) -> tuple[NodeStatus, str | None]:
    known = _STATUSES.get(_NOT_LETTERS.sub("", word).upper())
    if known is None:
        return (NodeStatus.UNKNOWN, facts.text(f"{word}: {told}" if told else word))
    return (known, told)


def _agent_action(value: dict[str, object], state: dict[str, object], phase: str) -> AgentAction:
    known = STATES.get(phase.strip().upper())
    error = facts.error_text(state.get("error", value.get("error")))
    if known is None:
        error = facts.text(f"the agent says its state is {phase}" + (f": {error}" if error else ""))
    return AgentAction.model_validate(
        {
            "action_id": facts.action_id(value.get("id")),
            "kind": value.get("kind"),
            "state": known or ActionState.RUNNING,
            "args": facts.bounded_json(value.get("args")),
            "metadata": facts.texts(value.get("metadata")),
            "created_at": facts.moment(value.get("created_time")),
            "scheduled_at": facts.moment(value.get("scheduled_time")),
            "finished_at": facts.moment(value.get("finished_time")),
            "payload": facts.bounded_json(state.get("payload", value.get("payload"))),
            "error": error,
        }
    )
