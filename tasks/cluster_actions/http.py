"""`core.replicante.io/http`: somebody else does it. Each step POSTs the action and takes the answer for what became of it.

As in the original: 200 has `{"state", "payload", "payload_error"}`, of which each that is not there stays as it is; 204 means
that nothing changed; anything else makes the action FAILED, with what was answered as its payload. Ours: the deadline is the
action's own (`remote.timeout`), every request carries an `Idempotency-Key` that is the same for all tries of one step, as its
body is, and a server that cannot be reached is tried again until the action's time is over.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AnyHttpUrl, Field, TypeAdapter, ValidationError, field_validator

from blocks.models.action import Action, ActionState
from blocks.models.base import Json, Text
from blocks.models.tls import Sensitive
from blocks.sources.webhooks_protocol import Call
from tasks.cluster_actions.base import KEEP, Keep, Scene, Step
from tasks.decide.cluster_kinds import Args
from tasks.decide.manifest_size import bounded

TIMEOUT_S = 15.0
OK, NO_CONTENT = 200, 204
_STATES = {state.value: state for state in (ActionState.RUNNING, ActionState.DONE, ActionState.FAILED)} | {
    ActionState.PENDING_SCHEDULE.value: ActionState.RUNNING
}
_JSON = TypeAdapter[dict[str, Json]](dict[str, Json])


class Remote(Args):
    """Who does it."""

    url: AnyHttpUrl
    ca: Text | None = None
    """Certificates to trust, as PEM text."""
    timeout: Annotated[float, Field(gt=0, le=60)] | None = None
    """How many seconds one request may take; never more than the cluster's lock is provably ours for (about 6 s of a session
    of 10 s): what takes longer answers RUNNING and is asked again."""
    headers: Annotated[dict[str, Sensitive], Field(max_length=20)] = Field(default_factory=dict)
    """Headers of our own, each `{secret: NAME}`."""

    @field_validator("headers")
    @classmethod
    def _kept_elsewhere(cls, headers: dict[str, Sensitive]) -> dict[str, Sensitive]:
        if any(value.secret is None for value in headers.values()):
            message = "the arguments of an action are shown to everybody: give {secret: NAME}"
            raise ValueError(message)
        return headers


class Http(Args):
    """What is asked for."""

    remote: Remote


async def http(scene: Scene) -> Step | None:
    """Ask once."""
    remote: Remote = scene.args.remote
    call = Call(
        url=remote.url,
        headers=remote.headers,
        ca=remote.ca,
        within_s=min(remote.timeout or TIMEOUT_S, scene.within_s),
        body=record_of(scene.action),
        idempotency_key=scene.key,
        fence=scene.fence,
    )
    answer = await (await scene.outside.webhooks()).post(call)
    if answer.unreachable is not None:
        return Step(ActionState.RUNNING, error=answer.unreachable, failed=True, in_doubt=True)
    if answer.unusable is not None:
        return Step(ActionState.FAILED, payload={"response_status": answer.status}, error=answer.unusable)
    if answer.status == NO_CONTENT:
        return Step(ActionState.RUNNING, error=None)
    if answer.status != OK:
        return _failed(answer.status, answer.text, f"it was answered with HTTP {answer.status}")
    try:
        told = _JSON.validate_json(answer.text)
    except ValidationError:
        return _failed(answer.status, answer.text, "the answer is no JSON object")
    return _told(told, answer.status, answer.text)


def record_of(action: Action) -> Json:
    """An action as the original's record has it; the same for all tries of one step."""
    record: dict[str, Any] = {
        "ns_id": action.namespace,
        "cluster_id": action.cluster_id,
        "action_id": action.action_id,
        "args": action.args,
        "created_ts": action.created_at.isoformat(),
        "finished_ts": None,
        "headers": dict(action.metadata),
        "kind": action.kind,
        "requester": action.requester.value,
        "scheduled_ts": action.scheduled_at.isoformat() if action.scheduled_at is not None else None,
        "state": action.state.value,
        "state_payload": action.payload,
        "state_payload_error": (
            {"info": {"message": action.answered_error}} if action.answered_error is not None else None
        ),
        "timeout": action.timeout_s,
    }
    return record


def _told(told: dict[str, Json], status: int, text: str) -> Step:
    state = told.get("state", ActionState.RUNNING.value)
    if not isinstance(state, str) or state not in _STATES:
        return _failed(status, text, f"the answer has a state that there is not: {str(state)[:50]!r}")
    payload: Json | Keep = bounded(told["payload"]) if "payload" in told else KEEP
    error: str | Keep | None = KEEP
    if "payload_error" in told:
        error = None if told["payload_error"] is None else _words(told["payload_error"])
    elif state != ActionState.FAILED.value:
        error = None
    return Step(_STATES[state], payload=payload, error=error)


def _words(error: Json) -> str:
    """An error as a sentence: the original's has it in `info.message`."""
    info = error.get("info") if isinstance(error, dict) else None
    message = info.get("message") if isinstance(info, dict) else None
    return str(message if message is not None else error)[:2_000]


def _failed(status: int, text: str, why: str) -> Step:
    try:
        payload: Json = {"payload": bounded(_JSON.validate_json(text)), "response_status": status}
    except (ValidationError, ValueError):
        payload = {"response_body": text[:2_000], "response_status": status}
    return Step(ActionState.FAILED, payload=payload, error=why)
