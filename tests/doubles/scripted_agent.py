"""A tiny HTTP/1.1 server on a real socket whose answers a test scripts, bad manners included."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType
from typing import Self

import orjson

TLS_HANDSHAKE = b"\x16"
DRIP_S = 0.02
CHUNK = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"


class Manner(Enum):
    """How an answer is given."""

    WHOLE = auto()
    CLOSE_BEFORE = auto()
    """The connection is closed instead of an answer."""
    CLOSE_WITHIN = auto()
    """The connection is closed in the middle of the body."""
    CLOSE_AFTER = auto()
    """Answered as if the connection would stay, then closed."""
    HANG = auto()
    """No answer ever comes."""
    HANG_WITHIN = auto()
    """Head and half the body come, the rest never."""
    DRIP = auto()
    """A chunked body that never ends and comes byte by byte: somebody who waits for the next byte waits for ever."""
    ENDLESS = auto()
    """A chunked body that never ends."""
    RAW = auto()
    """The body is all that is sent."""


@dataclass(frozen=True)
class Reply:
    """One answer."""

    body: bytes = b""
    status: int = 200
    manner: Manner = Manner.WHOLE
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def json(cls, value: object, status: int = 200) -> Self:
        """An answer in JSON."""
        return cls(orjson.dumps(value), status)


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """Counts connections: 1, 2, 3 ..."""


NOT_FOUND = Reply(status=404)
Answerer = Callable[[Received], Reply]


@dataclass
class ScriptedAgent:
    """`async with` it; script it with `on` or set `answer`."""

    tls: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    answer: Answerer | None = None
    """Used where nothing is scripted with `on`."""

    def __post_init__(self) -> None:
        """Start with an empty script."""
        self._script: dict[tuple[str, str], list[Reply]] = {}
        self._server: asyncio.Server | None = None
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Condition()

    @property
    def url(self) -> str:
        """Where it is, or was, by IP address."""
        assert self._server is not None
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._port}"

    def on(self, method: str, path: str, *replies: Reply) -> Self:
        """Answer requests for a path with these in turn; the last one stays."""
        self._script[method, path] = list(replies)
        return self

    def paths(self) -> list[str]:
        """What was asked, in order."""
        return [request.path for request in self.received]

    async def arrived(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: len(self.received) >= count)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self.tls)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is None:
            return
        self._server.close()
        await asyncio.sleep(0)  # connections that have just been accepted begin
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the event loop closes their sockets in its next turn
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # one that is cancelled may have closed nothing

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
                while await self._exchange(reader, writer, number):
                    pass
        finally:
            writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        first = await reader.readexactly(1)
        if first == TLS_HANDSHAKE:
            return await _give(Reply(b"HTTP/1.1 400 Bad Request\r\n\r\n", manner=Manner.RAW), writer)
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Received(method, path, headers, body, number)
        reply = self._reply(request)
        async with self._news:
            self.received.append(request)
            self._news.notify_all()
        return await _give(reply, writer)

    def _reply(self, request: Received) -> Reply:
        replies = self._script.get((request.method, request.path))
        if replies:
            return replies.pop(0) if len(replies) > 1 else replies[0]
        return self.answer(request) if self.answer is not None else NOT_FOUND


async def _give(reply: Reply, writer: asyncio.StreamWriter) -> bool:
    """Answer; return whether the connection stays."""
    if reply.manner is Manner.CLOSE_BEFORE:
        return False
    if reply.manner is Manner.HANG:
        await asyncio.Event().wait()
    if reply.manner is Manner.RAW:
        writer.write(reply.body)
        await writer.drain()
        return False
    length = (
        ("Transfer-Encoding", "chunked")
        if reply.manner in {Manner.ENDLESS, Manner.DRIP}
        else ("Content-Length", str(len(reply.body)))
    )
    lines = [f"HTTP/1.1 {reply.status} Scripted", *(f"{name}: {value}" for name, value in (*reply.headers, length))]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    partly = reply.manner in {Manner.CLOSE_WITHIN, Manner.HANG_WITHIN}
    if reply.manner is not Manner.DRIP:
        writer.write(reply.body[: len(reply.body) // 2] if partly else reply.body)
    await writer.drain()
    while reply.manner is Manner.DRIP:
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(DRIP_S)
    while reply.manner is Manner.ENDLESS:
        writer.write(CHUNK)
        await writer.drain()
    if reply.manner is Manner.HANG_WITHIN:
        await asyncio.Event().wait()
    return reply.manner is Manner.WHOLE
