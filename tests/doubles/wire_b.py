"""A `MemoryNode` behind a real socket: protocol B as real agents speak it."""

from __future__ import annotations

from uuid import UUID

import orjson

from blocks.models.action import Action, ActionState
from blocks.models.look import AgentAction
from blocks.models.node import NodeStatus, Offset, Shard
from doubles.agents import FENCE_KEY, MemoryNode, Mishap, Taken
from doubles.scripted_agent import NOT_FOUND, Manner, Received, Reply

ROOT = "/api/unstable/"


def error(status: int, message: str) -> Reply:
    """An error of protocol B."""
    return Reply.json({"error": True, "error_msg": message}, status)


class WireB:
    """Answers for a node; use it as `ScriptedAgent.answer`."""

    def __init__(self, node: MemoryNode) -> None:
        """Answer for `node` as it is at the moment of each request."""
        self._node = node

    def __call__(self, request: Received) -> Reply:
        """Answer one request."""
        path = request.path.removeprefix(ROOT)
        if self._node.hangs:
            return Reply(manner=Manner.HANG)
        if request.method == "POST":
            return self._post(orjson.loads(request.body)) if path == "action" and self._node.actions_on else NOT_FOUND
        return self._info(path) if path.startswith("info/") else self._actions(path)

    def _info(self, path: str) -> Reply:
        node = self._node
        if path == "info/node":
            return Reply.json(_node(node))
        if node.store_error is not None:
            return error(500, node.store_error)
        if path == "info/store":
            return Reply.json({"cluster_id": node.cluster_id, "attributes": node.store_attributes})
        return Reply.json({"shards": [_shard(shard) for shard in node.shards]}) if path == "info/shards" else NOT_FOUND

    def _actions(self, path: str) -> Reply:
        node = self._node
        match path.split("/"):
            case ["actions", "queue" | "finished" as which] if node.actions_on:
                known = [node.actions[listed] for listed in node.listed(final=which == "finished")]
                return Reply.json({"actions": [_listed(action) for action in known]})
            case ["action", action_id] if node.actions_on and action_id in node.actions:
                return Reply.json(_action(node.actions[action_id]))
        return NOT_FOUND

    def _post(self, body: dict[str, object]) -> Reply:
        mishap = self._node.mishaps.popleft() if self._node.mishaps else None
        if mishap is Mishap.LOST:
            return Reply(manner=Manner.CLOSE_BEFORE)
        if mishap is Mishap.BROKEN:
            return error(500, "broken")
        action, fence = _read(body, self._node)
        taken = self._node.take(action, fence)
        if mishap is Mishap.UNANSWERED:
            return Reply(manner=Manner.CLOSE_BEFORE)
        return {
            Taken.ACCEPTED: Reply.json({"id": action.action_id}),
            Taken.DUPLICATE: error(409, "action already exists"),
            Taken.REFUSED: error(400, f"no such kind of action: {action.kind}"),
            Taken.SUPERSEDED: error(412, "fencing token is superseded"),
        }[taken]


def _read(body: dict[str, object], node: MemoryNode) -> tuple[Action, str]:
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    fence = metadata.pop(FENCE_KEY)
    action = Action.model_validate(
        {
            "action_id": str(UUID(str(body["id"]))),
            "namespace": "prod",
            "cluster_id": node.cluster_id,
            "node_id": node.node_id,
            "kind": body["kind"],
            "args": body["args"],
            "metadata": metadata,
            "state": ActionState.PENDING_SCHEDULE,
            "created_at": body["created_time"],
            "created_by": "wire",
        }
    )
    return action, fence


def _node(node: MemoryNode) -> dict[str, object]:
    unknown = node.status is NodeStatus.UNKNOWN
    return {
        "address": {"client": None, "member": None, **node.addresses},
        "agent_version": {"number": node.agent_version},
        "attributes": node.attributes,
        "node_id": node.node_id,
        "node_status": {"UNKNOWN": node.status_text} if unknown else node.status.value,
        "store_id": node.store_id,
        "store_version": {"number": node.store_version, "checkout": None, "extra": None},
    }


def _shard(shard: Shard) -> dict[str, object]:
    other = shard.role_text is not None
    return {
        "id": shard.shard_id,
        "role": {"Other": shard.role_text} if other else shard.role.value.title(),
        "commit_offset": _offset(shard.commit_offset),
        "lag": _offset(shard.lag),
    }


def _offset(offset: Offset | None) -> dict[str, object] | None:
    if offset is None:
        return None
    known = offset.unit in {"seconds", "milliseconds"}
    return {"unit": offset.unit if known else {"unit": offset.unit}, "value": offset.value}


def _listed(action: AgentAction) -> dict[str, object]:
    return {"id": action.action_id, "kind": action.kind, "phase": action.state.value}


def _action(action: AgentAction) -> dict[str, object]:
    error_body = None if action.error is None else {"error_msg": action.error, "error_backtrace": "0: main\n" * 500}
    return {
        "id": action.action_id,
        "kind": action.kind,
        "args": action.args,
        "metadata": action.metadata,
        "created_time": _time(action.created_at),
        "scheduled_time": _time(action.scheduled_at),
        "finished_time": _time(action.finished_at),
        "state": {"phase": action.state.value, "payload": action.payload, "error": error_body},
    }


def _time(moment: object) -> str | None:
    return None if moment is None else str(moment).replace(" ", "T").replace("+00:00", "Z")
