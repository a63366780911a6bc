"""Actions in protocol A: as its agents tell of them, and as HTTP headers, which is where their metadata travels.

An agent keeps every header of a request that schedules an action, in lower case. So only the action's own are sent, and
what is no legal header is left out and said. The path holds the kind, slashes included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from pydantic import ValidationError

from blocks.agents import facts
from blocks.agents.actions import CONFLICT, STATES, encoded, sent, unknown
from blocks.agents.answers import NOT_FOUND, REASON_CHARS, Answer, failure_of, json_object
from blocks.agents.dialect import FENCE_KEY, Post
from blocks.models.action import Action, ActionState
from blocks.models.base import ID_CHARS_MAX, JSON_DEPTH_MAX, Json, clean_text
from blocks.models.look import AgentAction, Failure
from blocks.models.sent import Sent

FENCE_HEADER = "replicore-fence"
"""The fencing token's name as a header; `replicore.io/fence` has a slash, and no header may."""
ALREADY_EXISTS = "ActionAlreadyExists"
NO_ACTIONS = "HTTP 404: the agent has its actions switched off; it wants TLS with client certificates for them"
RESERVED = frozenset({
    "accept", "accept-encoding", "connection", "content-length", "content-type", "expect", "host", "keep-alive",
    "te", "trailer", "transfer-encoding", "upgrade", "user-agent", FENCE_HEADER,
})  # fmt: skip
"""Headers that belong to the request itself."""
STAGES_MAX = 8

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")


def agent_action(answer: Answer, asked: str) -> AgentAction | Failure | None:
    """What `/actions/info/ID` says; None when the agent does not know the action, or has actions switched off. The history
    is left aside: it repeats a line for every second that an action runs.
    """
    if unknown(answer):
        return None
    value = json_object(answer)
    if isinstance(value, Failure):
        return value
    inner = value.get("action", value)
    action = inner if isinstance(inner, dict) else {}
    if facts.action_id(action.get("id")) != facts.action_id(asked):
        return Failure(reason="the answer is about another action", status=answer.status)
    told = facts.tagged(action.get("state"))
    if told is None:
        return Failure(reason="the action has no usable state", status=answer.status)
    try:
        return _agent_action(action, told[0])
    except ValidationError:
        return Failure(reason="the action has no usable kind", status=answer.status)


def post(action: Action, fence: str) -> Post | Failure:
    """The request that schedules an action: kind in the path, metadata and fence as headers, the rest in the body."""
    if any(part in {"", ".", ".."} for part in action.kind.split("/")):
        return Failure(reason=f"protocol A cannot send the kind {action.kind}: as a path it would name something else")
    named, notes = headers(action.metadata)
    body = {
        "action_id": action.action_id,
        "args": action.args,
        "created_ts": action.created_at.isoformat().replace("+00:00", "Z"),
        "requester": action.requester.value,
    }
    path = f"actions/schedule/{quote(action.kind, safe='/')}"
    return Post(path, encoded(body), ((FENCE_HEADER, fence), *named.items()), notes)


def headers(metadata: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """An action's metadata as headers, without the fence, and a note on each entry that cannot be one."""
    named: dict[str, str] = {}
    notes = []
    for key, value in metadata.items():
        if key == FENCE_KEY:
            continue
        why = _unusable(key, value, named)
        if why is None:
            named[key.lower()] = value
        else:
            notes.append(f"metadata {clean_text(key, ID_CHARS_MAX)} was not sent: {why}")
    return named, tuple(notes)


def scheduled(answer: Answer, action_id: str) -> Sent:
    """What the answer to a sent action means; a conflict is a success only when it is about the action's id."""
    if answer.status == CONFLICT:
        value = json_object(Answer(200, answer.body))
        if isinstance(value, dict) and value.get("variant") == ALREADY_EXISTS:
            return Sent(accepted=True)
        return Sent(accepted=False, failed=failure_of(answer).reason, maybe_sent=True)
    if answer.status == NOT_FOUND and not answer.body.strip():
        return Sent(accepted=False, failed=NO_ACTIONS)
    return sent(answer, action_id)


def _unusable(key: str, value: str, named: Mapping[str, str]) -> str | None:
    if not _NAME.fullmatch(key):
        return "its name is no legal HTTP header"
    if key.lower() in RESERVED:
        return "as an HTTP header it would belong to the request itself"
    if not _VALUE.fullmatch(value):
        return "its value is not visible ASCII"
    return "another entry has this name in other case" if key.lower() in named else None


def _agent_action(action: dict[str, object], word: str) -> AgentAction:
    known = STATES.get(word.strip().upper())
    payload, error = _outcome(known, action.get("state_payload"))
    if known is None:
        error = facts.text(f"the agent says its state is {word}")
    return AgentAction.model_validate(
        {
            "action_id": facts.action_id(action.get("id")),
            "kind": action.get("kind"),
            "state": known or ActionState.RUNNING,
            "args": facts.bounded_json(action.get("args")),
            "metadata": _metadata(action.get("headers")),
            "created_at": facts.moment(action.get("created_ts")),
            "scheduled_at": facts.moment(action.get("scheduled_ts")),
            "finished_at": facts.moment(action.get("finished_ts")),
            "payload": payload,
            "error": error,
        }
    )


def _metadata(value: object) -> dict[str, str]:
    return {FENCE_KEY if name == FENCE_HEADER else name: text for name, text in facts.texts(value).items()}


def _outcome(state: ActionState | None, payload: object) -> tuple[Json, str | None]:
    """What an action brought and what it failed with: in protocol A a failure is the payload."""
    kept = facts.bounded_json(_untraced(payload, JSON_DEPTH_MAX))
    if state is not ActionState.FAILED:
        return kept, None
    return (None if _is_error(payload) else kept), _failed_with(payload)


def _failed_with(payload: object) -> str | None:
    """The error in the payload of a failed action, which of a composed one is inside that of its last stage."""
    stages: list[str] = []
    while isinstance(payload, dict) and "stage" in payload and "payload" in payload and len(stages) < STAGES_MAX:
        stages.append(f"stage {clean_text(payload['stage'], ID_CHARS_MAX)}: ")
        payload = payload["payload"]
    error = facts.error_text(_untraced(payload, JSON_DEPTH_MAX))
    return clean_text("".join(stages) + error, REASON_CHARS) if error is not None else None


def _is_error(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("error"), str) and isinstance(value.get("layers"), list)


def _untraced(value: object, depth: int) -> object:
    """A value without the backtraces of the errors in it, as deep as values are kept at all."""
    if depth == 0:
        return value
    if isinstance(value, list):
        return [_untraced(item, depth - 1) for item in value]
    if not isinstance(value, dict):
        return value
    hidden = "trace" if _is_error(value) else None
    return {key: _untraced(item, depth - 1) for key, item in value.items() if key != hidden}
