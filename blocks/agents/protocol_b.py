"""Wire protocol B: answers as facts (pure functions), what is asked for in which order, and how an action is sent.

Spellings that differ between the specification and real agents are all understood: `id` or `shard_id`, bare or wrapped
lists, `phase` or `state`, roles and units in any case, absent optional fields. What cannot be used is left out with a note,
or is a `Failure` of that part only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

import orjson
from pydantic import ValidationError

from blocks.agents import facts
from blocks.agents.answers import NOT_FOUND, Answer, failure_of, json_items, json_object
from blocks.agents.dialect import FENCE_KEY, Ask, Post, details, read
from blocks.models.action import Action, ActionState
from blocks.models.look import ActionsInfo, AgentAction, Failure, Look, NodeInfo, ShardsInfo, StoreInfo
from blocks.models.node import NodeStatus, Protocol, Version
from blocks.models.sent import Sent

CONFLICT = 409
SUPERSEDED = 412
REFUSED = frozenset({400, 413, 422})
MAYBE_SENT = frozenset({500, 502, 504})

_OWN_STATUSES = {NodeStatus.UNREACHABLE, NodeStatus.INCOMPLETE}
_STATUSES = {status.value.replace("_", ""): status for status in NodeStatus if status not in _OWN_STATUSES}
_STATES = {state.value: state for state in (ActionState.NEW, ActionState.RUNNING, ActionState.DONE, ActionState.FAILED)}
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


def listed_ids(answer: Answer) -> tuple[str, ...] | Failure | None:
    """The ids in a list of actions; None when there is no such list, because actions are switched off."""
    if answer.status == NOT_FOUND and not answer.html:
        return None
    items = json_items(answer, "actions")
    return items if isinstance(items, Failure) else facts.action_ids(items)


def agent_action(answer: Answer, asked: str) -> AgentAction | Failure | None:
    """What `/action/ID` says; None when the agent does not know the action."""
    if answer.status == NOT_FOUND and not answer.html:
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


def sent(answer: Answer, action_id: str) -> Sent:
    """What the answer to a sent action means; a success that names another action, or is no JSON, proves nothing."""
    if answer.status == CONFLICT:
        return Sent(accepted=True)
    if answer.ok:
        return _confirmed(answer, action_id)
    failure = failure_of(answer)
    if answer.status == SUPERSEDED:
        return Sent(accepted=False, superseded=True)
    if answer.status in REFUSED:
        return Sent(accepted=False, refused=failure.reason)
    return Sent(accepted=False, failed=failure.reason, maybe_sent=answer.status in MAYBE_SENT)


class ProtocolB:
    """Wire protocol B, as `blocks.agents.dialect.Dialect` wants it."""

    async def look(self, ask: Ask, node_id: str, action_ids: Sequence[str], details_max: int) -> Look:
        """Read everything, one request after the other on one connection: the node, then store, shards and actions."""
        info = await read(ask, "info/node", node_info)
        if isinstance(info, Failure):
            return Look(node_id=node_id, info=info)
        store = await read(ask, "info/store", store_info)
        shards = await read(ask, "info/shards", shards_info)
        actions = await _actions(ask)
        known = await details(self, ask, actions, action_ids, details_max)
        if isinstance(actions, ActionsInfo):
            over = set(actions.finished).intersection(actions.queue)
            actions = (
                actions.evolve(queue=tuple(listed for listed in actions.queue if listed not in over))
                if over
                else actions
            )
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
        return Post("action", orjson.dumps(body))

    def sent(self, answer: Answer, action_id: str) -> Sent:
        """What the answer to that request means."""
        return sent(answer, action_id)


async def _actions(ask: Ask) -> ActionsInfo | Failure:
    queue = await read(ask, "actions/queue", listed_ids)
    if isinstance(queue, Failure):
        return queue
    if queue is None:
        return ActionsInfo(enabled=False)
    # The queue is read first: what finishes in between is then in both lists, never in none.
    finished = await read(ask, "actions/finished", listed_ids)
    return finished if isinstance(finished, Failure) else ActionsInfo(queue=queue, finished=finished or ())


def _status(word: str, told: str | None) -> tuple[NodeStatus, str | None]:
    known = _STATUSES.get(_NOT_LETTERS.sub("", word).upper())
    if known is None:
        return (NodeStatus.UNKNOWN, facts.text(f"{word}: {told}" if told else word))
    return (known, told)


def _agent_action(value: dict[str, object], state: dict[str, object], phase: str) -> AgentAction:
    known = _STATES.get(phase.strip().upper())
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


def _confirmed(answer: Answer, action_id: str) -> Sent:
    if not answer.body.strip():
        return Sent(accepted=True)
    value = json_object(answer)
    if not isinstance(value, Failure) and facts.action_id(value.get("id")) == facts.action_id(action_id):
        return Sent(accepted=True)
    reason = value.reason if isinstance(value, Failure) else "the answer is about another action"
    return Sent(accepted=False, failed=reason, maybe_sent=True)
