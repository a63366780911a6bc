"""A `MemoryNode` behind a real socket: protocol A as real agents speak it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import orjson

from blocks.models.action import Action, ActionState
from blocks.models.look import AgentAction
from blocks.models.node import Offset, Shard
from doubles.agents import FENCE_KEY, MemoryNode, Mishap, Taken
from doubles.scripted_agent import NOT_FOUND, Manner, Received, Reply

ROOT = "/api/unstable/"
FENCE_HEADER = "replicore-fence"
NOT_KEPT = {"accept", "accept-encoding", "content-length", "content-type", "host", "user-agent"}
TRACE = "   0: backtrace::main\n" * 150


def error(status: int, message: str, variant: str | None = None) -> Reply:
    """An error of protocol A, with a backtrace of about 3 kB and the header that real agents send with it."""
    body = orjson.dumps(failure(message, variant))
    return Reply(body, status, headers=(("x-sentry-event", "0123456789abcdef"),))


def failure(message: str, variant: str | None = None) -> dict[str, object]:
    """An error as an object, as it also is the payload of a failed action."""
    return {"error": message, "layers": [message], "trace": TRACE, "variant": variant}


class WireA:
    """Answers for a node; use it as `ScriptedAgent.answer`."""

    def __init__(self, node: MemoryNode) -> None:
        """Answer for `node` as it is at the moment of each request."""
        self._node = node

    def __call__(self, request: Received) -> Reply:
        """Answer one request."""
        path = request.path.removeprefix(ROOT)
        if self._node.hangs:
            return Reply(manner=Manner.HANG)
        if path.startswith("actions"):
            return self._actions(path, request) if self._node.actions_on else NOT_FOUND
        return self._info(path)

    def _info(self, path: str) -> Reply:
        node = self._node
        if path == "info/agent":
            return Reply.json(
                {"version": {"number": node.agent_version, "checkout": "c0ffee1", "taint": "not tainted"}}
            )
        if path not in {"info/datastore", "shards"}:
            return NOT_FOUND
        if node.store_error is not None:
            return error(500, node.store_error, "StoreOpFailed")
        return Reply.json(_datastore(node) if path == "info/datastore" else {"shards": [*map(_shard, node.shards)]})

    def _actions(self, path: str, request: Received) -> Reply:
        node = self._node
        match path.split("/"):
            case ["actions", "queue" | "finished" as which]:
                known = [node.actions[listed] for listed in node.listed(final=which == "finished")]
                return Reply.json([_listed(action) for action in known])
            case ["actions", "info", action_id] if action_id in node.actions:
                return Reply.json(_action(node.actions[action_id]))
            case ["actions", "schedule", *kind] if request.method == "POST":
                return self._schedule("/".join(kind), request)
        return NOT_FOUND

    def _schedule(self, kind: str, request: Received) -> Reply:
        mishap = self._node.mishaps.popleft() if self._node.mishaps else None
        if mishap is Mishap.LOST:
            return Reply(manner=Manner.CLOSE_BEFORE)
        if mishap is Mishap.BROKEN:
            return error(500, "broken")
        action, fence = _read(kind, request, self._node)
        taken = self._node.take(action, fence)
        if mishap is Mishap.UNANSWERED:
            return Reply(manner=Manner.CLOSE_BEFORE)
        return {
            Taken.ACCEPTED: Reply.json({"id": action.action_id}),
            Taken.DUPLICATE: error(409, "action already exists", "ActionAlreadyExists"),
            Taken.REFUSED: error(400, f"no such kind of action: {kind}", "ActionNotAvailable"),
            Taken.SUPERSEDED: error(412, "fencing token is superseded"),
        }[taken]


def _read(kind: str, request: Received, node: MemoryNode) -> tuple[Action, str]:
    body = orjson.loads(request.body)
    kept = {name.lower(): text for name, text in request.headers.items() if name.lower() not in NOT_KEPT}
    fence = kept.pop(FENCE_HEADER)
    action = Action.model_validate(
        {
            "action_id": str(UUID(body["action_id"])),
            "namespace": "prod",
            "cluster_id": node.cluster_id,
            "node_id": node.node_id,
            "kind": kind,
            "args": body.get("args"),
            "metadata": kept,
            "state": ActionState.PENDING_SCHEDULE,
            "created_at": datetime.fromisoformat(body["created_ts"]).replace(microsecond=0),
            "created_by": "wire",
        }
    )
    return action, fence


def _datastore(node: MemoryNode) -> dict[str, object]:
    return {
        "cluster_id": node.cluster_id,
        "node_id": node.node_id,
        "kind": node.store_id,
        "version": node.store_version,
        "cluster_display_name": node.store_attributes.get("cluster_display_name"),
    }


def _shard(shard: Shard) -> dict[str, object]:
    other = shard.role_text is not None
    return {
        "id": shard.shard_id,
        "role": {"unknown": shard.role_text} if other else shard.role.value,
        "commit_offset": _offset(shard.commit_offset),
        "lag": _offset(shard.lag),
    }


def _offset(offset: Offset | None) -> dict[str, object] | None:
    if offset is None:
        return None
    return {"unit": offset.unit if offset.unit == "seconds" else {"unit": offset.unit}, "value": offset.value}


def _listed(action: AgentAction) -> dict[str, object]:
    return {"id": action.action_id, "kind": action.kind, "state": action.state.value}


def _action(action: AgentAction) -> dict[str, object]:
    named = {FENCE_HEADER if name == FENCE_KEY else name: text for name, text in action.metadata.items()}
    step = {"action_id": action.action_id, "timestamp": _time(action.scheduled_at), "state_payload": None}
    told = {
        "id": action.action_id,
        "kind": action.kind,
        "args": action.args,
        "headers": named,
        "requester": "CORE_API",
        "created_ts": _time(action.created_at),
        "scheduled_ts": _time(action.scheduled_at),
        "finished_ts": _time(action.finished_at),
        "state": action.state.value,
        "state_payload": action.payload if action.error is None else failure(action.error),
    }
    return {"action": told, "history": [{**step, "state": state} for state in (action.state.value, "NEW")]}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")
