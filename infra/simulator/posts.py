"""Actions as they come in: read as the protocol of the agent has it, scheduled or refused, and recorded whole."""

import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import unquote

import orjson

from infra.agents.kit.errors import AgentError, MalformedError, RequestError
from infra.agents.kit.models import Action, microseconds
from infra.agents.kit.requests import parse_schedule
from infra.simulator.actions import Executor, fence_of
from infra.simulator.bodies import ROOT, failed_a, failed_b
from infra.simulator.http import TEXT, Request, json_response, response, status_of
from infra.simulator.model import Node, Wire
from infra.simulator.record import Record

SCHEDULE_A = f"{ROOT}/actions/schedule/"
SCHEDULE_B = f"{ROOT}/action"
BODY_SHOWN_MAX = 16 * 1024
_NOT_STORED = frozenset({"accept", "accept-encoding", "content-length", "content-type", "host", "user-agent"})
_VISIBLE = re.compile(r"[\x20-\x7e\t]*")
_VARIANTS = {400: "ActionNotAvailable", 409: "ActionAlreadyExists"}


class Posts:
    """Takes in actions for all agents."""

    def __init__(self, executor: Executor, record: Record) -> None:
        self._executor = executor
        self._record = record

    def answer(self, node: Node, request: Request) -> bytes:
        """Schedule, or say why not; what schedules nothing is an empty 404, or a 405 of protocol A."""
        action, answer = self._answer(node, request)
        self.note(node, request, answer, action)
        return answer

    def note(self, node: Node, request: Request, answer: bytes | None, action: Action | None = None) -> None:
        """Put a request into the record; without an `answer` it got none."""
        self._record.note(
            "request",
            node=node.name,
            method=request.method,
            path=request.target,
            status=0 if answer is None else status_of(answer),
            body=request.body[:BODY_SHOWN_MAX].decode("utf-8", "replace"),
            answer=None if answer is None else answer.partition(b"\r\n\r\n")[2][:BODY_SHOWN_MAX].decode("latin-1"),
            fence=_fence(request) if action is None else fence_of(action),
        )

    def _answer(self, node: Node, request: Request) -> tuple[Action | None, bytes]:
        """Read, check, schedule."""
        action: Action | None = None
        try:
            action = self._read(node, request)
            if action is None:
                wrong_method = node.wire is Wire.A and request.method != "POST"
                return None, response(405 if wrong_method else 404)
            self._executor.schedule(node, action)
        except MalformedError as error:
            return action, response(400, str(error).encode(), TEXT)
        except RequestError as error:
            return action, response(*_refused(node, error))
        except AgentError as error:
            return action, response(*failed_b(500, error))
        return action, json_response({"id": action.id})

    def _read(self, node: Node, request: Request) -> Action | None:
        """Read the action in a request; None when it is not the one that schedules."""
        if request.method != "POST" or not node.actions_on:
            return None
        now = self._executor.now()
        if node.wire is Wire.A:
            kind = request.path.removeprefix(SCHEDULE_A)
            return None if kind == request.path else _read_a(request, unquote(kind), now)
        if request.path != SCHEDULE_B:
            return None
        _check_type(request)
        return parse_schedule(request.body, now)


def _check_type(request: Request) -> None:
    """Refuse what does not say that it is JSON."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        message = "Content type error: the body must be application/json"
        raise MalformedError(message)


def _read_a(request: Request, kind: str, now: datetime) -> Action:
    """Read protocol A: a wrapper around the arguments, and the headers as metadata.

    Raises:
        MalformedError: Not that shape.
        RequestError: 400, a header that cannot be stored.
    """
    _check_type(request)
    headers = {name: value for name, value in request.headers.items() if name not in _NOT_STORED}
    if not all(_VISIBLE.fullmatch(value) for value in headers.values()):
        message = "unable to encode the headers of the action"
        raise RequestError(400, message)
    try:
        value = orjson.loads(request.body)
        if not isinstance(value, dict):
            message = "Json deserialize error: the body must be an object"
            raise MalformedError(message)
        created = value.get("created_ts")
        action_id = str(uuid.UUID(value["action_id"])) if value.get("action_id") is not None else str(uuid.uuid4())
        moment = now if created is None else datetime.fromisoformat(created).astimezone(UTC)
    except (ValueError, TypeError, AttributeError) as error:
        message = f"Json deserialize error: {error}"
        raise MalformedError(message) from error
    action = Action(action_id, kind, value.get("args"), headers, microseconds(moment), microseconds(now))
    return replace(action, created_us=action.created_us // 1_000_000 * 1_000_000)


def _refused(node: Node, error: RequestError) -> tuple[int, bytes]:
    """Return a refusal in the words of the agent's protocol."""
    if node.wire is Wire.A:
        return failed_a(error.status, str(error), _VARIANTS.get(error.status))
    return failed_b(error.status, error)


def _fence(request: Request) -> str | None:
    """Return the fencing token of a request that was not answered, as far as it can be read."""
    if "replicore-fence" in request.headers:
        return request.headers["replicore-fence"]
    try:
        metadata = orjson.loads(request.body)["metadata"]
        found = metadata.get("replicore.io/fence")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return found if isinstance(found, str) else None
