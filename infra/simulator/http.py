"""Just enough HTTP/1.1 to be quick: one connection, requests one after the other, bodies with a length.

A request that comes complete in one piece is the usual case and costs no parsing here (`agent.py`). What is not HTTP is
answered with 400 and the connection closed; heads over 64 KB with 431, bodies over 2 MB with 413, chunked ones with 411.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import orjson

HEAD_MAX = 64 * 1024
BODY_MAX = 2 * 1024 * 1024
BUFFER_MAX = HEAD_MAX + BODY_MAX
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names in lower case, the last of several counts."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The target without a query."""
        return self.target.partition("?")[0]

    @property
    def close(self) -> bool:
        """Whether the connection ends after the answer."""
        return "close" in self.headers.get("connection", "").lower()


class BadRequestError(Exception):
    """What came cannot be answered otherwise than with this status, and the connection closed."""

    def __init__(self, status: int, reason: str) -> None:
        """Remember the `status`."""
        super().__init__(reason)
        self.status = status


def response(status: int, body: bytes = b"", content_type: str = JSON, headers: Sequence[str] = ()) -> bytes:
    """Return a complete answer; an empty body has no content type."""
    return head(status, len(body), content_type, headers) + body


def head(status: int, length: int | None, content_type: str = JSON, headers: Sequence[str] = ()) -> bytes:
    """Return the head of an answer; without a `length` the body comes in chunks."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
    if length != 0:
        lines.append(f"content-type: {content_type}")
    return ("\r\n".join([*lines, *headers]) + "\r\n\r\n").encode("latin-1")


def json_response(value: object, status: int = 200) -> bytes:
    """Return a JSON answer."""
    return response(status, orjson.dumps(value))


def status_of(answer: bytes) -> int:
    """Return the status in a complete answer."""
    return int(answer[9:12])


def take(buffer: bytearray) -> Request | None:
    """Take one request off the front of `buffer`; None while it is not complete.

    Raises:
        BadRequestError: It is not HTTP, or too much.
    """
    end = buffer.find(_END)
    if end < 0:
        if len(buffer) > HEAD_MAX:
            raise BadRequestError(431, "the head is too large")
        return None
    method, target, headers = _head(bytes(buffer[:end]))
    if "transfer-encoding" in headers:
        raise BadRequestError(411, "a body needs a content-length")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()):
        raise BadRequestError(400, "content-length is not a number")
    if int(length[:20]) > BODY_MAX:
        raise BadRequestError(413, f"JSON payload is larger than allowed (limit: {BODY_MAX} bytes).")
    start = end + len(_END)
    if len(buffer) < start + int(length):
        return None
    body = bytes(buffer[start : start + int(length)])
    del buffer[: start + int(length)]
    return Request(method, target, headers, body)


def _head(text: bytes) -> tuple[str, str, dict[str, str]]:
    """Read a request line and headers."""
    lines = text.decode("latin-1").split("\r\n")
    try:
        method, target, version = lines[0].split(" ")
        pairs = [line.split(":", 1) for line in lines[1:]]
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
    except ValueError as error:
        raise BadRequestError(400, "not an HTTP request") from error
    if not version.startswith("HTTP/1."):
        raise BadRequestError(400, "not an HTTP/1 request")
    if version == "HTTP/1.0":
        headers["connection"] = "close"
    return method, target, headers


class Connection(asyncio.Protocol):
    """One connection; requests wait in `buffer` while an answer is under way."""

    __slots__ = ("buffer", "busy", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.buffer = bytearray()
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        self.transport = None

    def data_received(self, data: bytes) -> None:
        """Collect, and answer what is complete."""
        self.buffer += data
        self.work()

    def work(self) -> None:
        """Answer what is complete, one after the other."""
        while self.buffer and not self.busy and self.transport is not None:
            try:
                request = take(self.buffer)
            except BadRequestError as error:
                self.reply(response(error.status, str(error).encode(), TEXT, ["connection: close"]), close=True)
                return
            if request is None:
                return
            self.handle(request)
        if len(self.buffer) > BUFFER_MAX and self.transport is not None:
            self.transport.abort()

    def handle(self, request: Request) -> None:
        """Answer now with `reply`, or set `busy` and do so later."""
        raise NotImplementedError

    def reply(self, answer: bytes, *, close: bool) -> None:
        """Send a complete answer."""
        if self.transport is None:
            return
        self.transport.write(answer)
        if close:
            self.transport.close()
