"""Reading what a client sends: bounded, strict, and told apart as protocol B does.

What cannot be read as a schedule request (not JSON, a missing or mistyped field, not a UUID) is answered with plain
text; what is understood and refused (unknown kind, a time that is not UTC, a bad fence) with JSON.
"""

import uuid
from datetime import datetime, timedelta

import orjson
from starlette.requests import Request

from infra.agents.kit.errors import AgentError, MalformedError, RequestError
from infra.agents.kit.models import Action, Json, microseconds

BODY_BYTES_MAX = 2 * 1024 * 1024
KIND_MAX = 256
METADATA_ENTRIES_MAX = 64
METADATA_KEY_MAX = 256
METADATA_VALUE_MAX = 4096


class TooLargeError(AgentError):
    """The body is over the limit; answered with 413 and plain text."""


async def read_body(request: Request) -> bytes:
    """Return the body of a JSON request.

    Raises:
        MalformedError: The content type is not JSON.
        TooLargeError: More than 2 MB, said or sent.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        message = "Content type error: the body must be application/json"
        raise MalformedError(message)
    body = bytearray()
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > BODY_BYTES_MAX:
        message = f"JSON payload ({declared[:20]} bytes) is larger than allowed (limit: {BODY_BYTES_MAX} bytes)."
        raise TooLargeError(message)
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            message = f"JSON payload is larger than allowed (limit: {BODY_BYTES_MAX} bytes)."
            raise TooLargeError(message)
    return bytes(body)


def parse_schedule(body: bytes, now: datetime) -> Action:
    """Read the body of ``POST /action``; unknown keys are ignored.

    Args:
        body: JSON {kind, id?, args?, created_time?, metadata?}.
        now: The agent's clock: when the action is scheduled, and created if the client does not say.

    Raises:
        MalformedError: Not that shape.
        RequestError: 400, a time that is not UTC.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        message = f"Json deserialize error: {error}"
        raise MalformedError(message) from error
    if not isinstance(value, dict):
        message = "Json deserialize error: the body must be an object"
        raise MalformedError(message)
    return Action(
        id=_id(value.get("id")),
        kind=_kind(value.get("kind")),
        args=value.get("args"),
        metadata=_metadata(value.get("metadata")),
        created_us=_created(value.get("created_time"), now),
        scheduled_us=microseconds(now),
    )


def _id(value: Json) -> str:
    """Read the id the client chose, or choose one."""
    if value is None:
        return str(uuid.uuid4())
    if not isinstance(value, str) or len(value) > 64:  # noqa: PLR2004 - longer than any form of a UUID
        message = "Json deserialize error: id must be a UUID"
        raise MalformedError(message)
    try:
        return str(uuid.UUID(value))
    except ValueError as error:
        message = "Json deserialize error: id must be a UUID"
        raise MalformedError(message) from error


def _kind(value: Json) -> str:
    """Read the kind; whether this agent has it is asked later."""
    if not isinstance(value, str) or not 0 < len(value) <= KIND_MAX:
        message = f"Json deserialize error: kind must be a string of 1 to {KIND_MAX} characters"
        raise MalformedError(message)
    return value


def _metadata(value: Json) -> dict[str, str]:
    """Read the metadata: strings to strings."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > METADATA_ENTRIES_MAX:
        message = f"Json deserialize error: metadata must be an object of at most {METADATA_ENTRIES_MAX} entries"
        raise MalformedError(message)
    metadata: dict[str, str] = {}
    for key, text in value.items():
        if not isinstance(text, str) or len(key) > METADATA_KEY_MAX or len(text) > METADATA_VALUE_MAX:
            message = (
                f"Json deserialize error: metadata {key[:64]!r} must be a string of at most {METADATA_VALUE_MAX}"
                f" characters under a key of at most {METADATA_KEY_MAX}"
            )
            raise MalformedError(message)
        metadata[key] = text
    return metadata


def _created(value: Json, now: datetime) -> int:
    """Read when the client created the action: UTC only."""
    if value is None:
        return microseconds(now)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) and len(value) <= 64 else None  # noqa: PLR2004
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        message = "Json deserialize error: created_time must be an RFC 3339 date and time"
        raise MalformedError(message)
    if moment.utcoffset() != timedelta(0):
        message = "created_time must be in UTC"
        raise RequestError(400, message)
    return microseconds(moment)
