"""What an agent answered, before anybody knows what it means: JSON with limits, and errors in any shape as one reason."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import orjson

from blocks.models.base import clean_text
from blocks.models.look import Failure, Glimpse, NodeSeen, ShardsInfo, roles_of
from blocks.models.node import Protocol

EXCERPT_CHARS = 120
REASON_CHARS = 500
ERROR_CHARS = 300
"""So much of what an agent says of its error is kept."""
NOT_FOUND = 404
BODY_START = 4_096


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer of an agent."""

    status: int
    body: bytes = b""
    location: str | None = None
    """Where a redirect points to."""
    retry_after_s: float | None = None
    """How long it asks to be left alone, in seconds."""

    @property
    def ok(self) -> bool:
        """Whether it is a success."""
        return 200 <= self.status < 300  # noqa: PLR2004 - what HTTP calls success

    @property
    def busy(self) -> bool:
        """Whether it says "not now": a proxy that is overloaded, or whose agent is being restarted."""
        return self.status in {429, 503}

    @property
    def html(self) -> bool:
        """Whether the body is a web page: no agent answers with one, proxies and strangers do."""
        start = self.body[:BODY_START].lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower()
        return start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head"))


def json_of(answer: Answer) -> object:
    """The JSON value in a body; a repeated key's last value counts.

    Raises:
        ValueError: the body is not JSON (NaN, a byte order mark and broken UTF-8 are not), or is nested too deeply.
    """
    return orjson.loads(answer.body)


def json_object(answer: Answer) -> dict[str, object] | Failure:
    """The JSON object of a successful answer."""
    value = _value(answer)
    if isinstance(value, Failure):
        return value
    if isinstance(value, dict):
        return value
    return Failure(reason=f"expected a JSON object, got {excerpt(answer.body)}", status=answer.status)


def json_items(answer: Answer, key: str) -> list[object] | Failure:
    """The JSON list of a successful answer, bare or as `key` of an object."""
    value = _value(answer)
    if isinstance(value, Failure):
        return value
    items = value.get(key) if isinstance(value, dict) else value
    if isinstance(items, list):
        return items
    return Failure(reason=f"expected a JSON list of {key}, got {excerpt(answer.body)}", status=answer.status)


def failure_of(answer: Answer) -> Failure:
    """Why an unsuccessful answer was given, in one short sentence."""
    status = answer.status
    if 300 <= status < 400:  # noqa: PLR2004 - what HTTP calls a redirect
        target = clean_text((answer.location or "nowhere").split("?")[0].rpartition("@")[2], EXCERPT_CHARS)
        return Failure(reason=f"HTTP {status}: redirects to {target}, and redirects are not followed", status=status)
    try:
        value = json_of(answer)
    except ValueError:
        value = None
    said = said_error(value) if isinstance(value, dict) else None
    told = clean_text(said, ERROR_CHARS) if said is not None else excerpt(answer.body, ERROR_CHARS)
    return Failure(reason=f"HTTP {status}: {told}", status=status)


def said_error(value: dict[str, object]) -> str | None:
    """The sentence in an error object of protocol B (`error_msg`, `error_cause`), of A (`error`, `layers`), or of RFC 7807 as
    proxies and frameworks send it (`title`, `detail`); no backtrace.
    """
    layers = value.get("layers")
    parts = [value.get(name) for name in ("error_msg", "error", "error_cause", "title", "detail")]
    parts += layers[-1:] if isinstance(layers, list) else []
    texts = list(dict.fromkeys(part for part in parts if isinstance(part, str) and part))
    return clean_text(": ".join(texts), REASON_CHARS) if texts else None


def fingerprint(answer: Answer) -> str:
    """An answer in a few characters: the same for the same status and body. Of an error only the status: its text may
    hold a time or a trace.
    """
    body = hashlib.blake2b(answer.body, digest_size=8).hexdigest() if answer.ok else ""
    return f"{answer.status}:{body}"


def node_glimpse(protocol: Protocol, answer: Answer, seen: NodeSeen | None) -> Glimpse:
    """A probe of a node by what was read of it; by its bytes where nothing could be."""
    if seen is None:
        return Glimpse(protocol=protocol, fingerprint=fingerprint(answer))
    digest = hashlib.blake2b(seen.model_dump_json().encode(), digest_size=8).hexdigest()
    return Glimpse(protocol=protocol, fingerprint=f"{protocol}:{digest}", node=seen)


def shards_glimpse(protocol: Protocol, answer: Answer, shards: ShardsInfo | Failure) -> Glimpse:
    """A probe of shards by their ids and roles; by its bytes where they could not be read."""
    if isinstance(shards, Failure):
        return Glimpse(protocol=protocol, fingerprint=fingerprint(answer))
    roles = roles_of(shards.shards)
    return Glimpse(protocol=protocol, fingerprint=roles, roles=roles)


def excerpt(body: bytes, chars_max: int = EXCERPT_CHARS) -> str:
    """The beginning of a body, for a person to recognise it."""
    if not body.strip():
        return "an empty body"
    if Answer(0, body).html:
        return "a web page"
    text = body[: chars_max * 4].decode("utf-8", "replace")
    return clean_text(" ".join(text.split()), chars_max)


def _value(answer: Answer) -> object:
    if not answer.ok:
        return failure_of(answer)
    try:
        return json_of(answer)
    except ValueError as error:
        what = "not JSON" if answer.html or not answer.body.strip() else f"not JSON ({_short(error)})"
        return Failure(reason=f"HTTP {answer.status}, {what}: {excerpt(answer.body)}", status=answer.status)


def _short(error: ValueError) -> str:
    return clean_text(str(error), EXCERPT_CHARS)
