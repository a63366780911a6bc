"""A TCP proxy that a test can break: pass everything, hold everything, lose answers, reset what is open, refuse what comes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from enum import StrEnum
from typing import Self

_BYTES = 65_536
_NO_LINGER = struct.pack("ii", 1, 0)
"""Closing sends RST at once."""


class Mode(StrEnum):
    """What the proxy does with bytes and connections."""

    PASS = "pass"
    BLACKHOLE = "blackhole"
    """A partition: connections stay open and new ones are accepted; nothing arrives before `PASS`, not even a close."""
    DROP_ANSWERS = "drop answers"
    """Requests arrive, answers are lost."""
    REFUSE = "refuse"
    """New connections are reset at once."""


class Proxy:
    """`async with Proxy("127.0.0.1", 2181) as proxy:` and connect to `proxy.address`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._mode = Mode.PASS
        self._is_open = asyncio.Event()
        self._is_open.set()
        self.accepted = 0

    @property
    def mode(self) -> Mode:
        """What it does now; may be set at any time."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.BLACKHOLE:
            self._is_open.clear()
        else:
            self._is_open.set()

    @property
    def address(self) -> str:
        """HOST:PORT to connect to."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def reset(self) -> None:
        """Reset every open connection; the mode stays, so `PASS` lets clients come back at once."""
        for writer in list(self._writers):
            self._kill(writer)

    def _kill(self, writer: asyncio.StreamWriter) -> None:
        raw = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        writer.transport.abort()
        self._writers.discard(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.mode is Mode.REFUSE:
            self._kill(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            self._kill(writer)
            return
        self._writers |= {writer, far_writer}
        for source, sink, is_answer in ((reader, far_writer, False), (far_reader, writer, True)):
            pipe = asyncio.create_task(self._pipe(source, sink, is_answer=is_answer))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_BYTES):
                await self._is_open.wait()
                if not (is_answer and self.mode is Mode.DROP_ANSWERS):
                    sink.write(data)
                    await sink.drain()
        await self._is_open.wait()
        self._kill(sink)
