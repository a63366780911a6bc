import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import bson
import pytest

from infra.stack import probes
from infra.stack.service import Probe

HOST = "127.0.0.1"
Answer = Callable[[asyncio.StreamReader], Awaitable[bytes]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[int]:
    """Serve one answer to everybody who connects."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await answer(reader))
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as made:
        yield made.sockets[0].getsockname()[1]


def say(text: bytes) -> Answer:
    """Answer any question with this."""

    async def answer(reader: asyncio.StreamReader) -> bytes:
        await reader.read(1)
        return text

    return answer


def brokers(count: int, cluster: bytes) -> bytes:
    """Write Kafka's answer to a metadata request."""
    broker = struct.pack(">ih4sih", 1, 4, b"host", 9092, -1)
    body = struct.pack(">iii", 1, 0, count) + broker * count + struct.pack(">h", len(cluster)) + cluster
    return struct.pack(">i", len(body)) + body


def hello(document: dict[str, object]) -> bytes:
    """Write MongoDB's answer."""
    body = struct.pack("<iii", 1, 1, 2013) + struct.pack("<ib", 0, 0) + bson.encode(document)
    return struct.pack("<i", len(body) + 4) + body


@pytest.mark.parametrize(
    ("kind", "expect", "text", "ready"),
    [
        ("zookeeper", "", b"Zookeeper version: 3.9.5\nMode: standalone\n", True),
        ("zookeeper", "", b"This ZooKeeper instance is not currently serving requests\n", False),
        ("kafka", "ours", brokers(1, b"ours"), True),
        ("kafka", "ours", brokers(1, b"theirs"), False),
        ("kafka", "ours", brokers(0, b"ours"), False),
        ("kafka", "ours", b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        ("mongodb", "", hello({"ok": 1.0}), True),
        ("mongodb-primary", "", hello({"ok": 1.0, "setName": "s", "isWritablePrimary": True}), True),
        ("mongodb-primary", "", hello({"ok": 1.0, "setName": "s", "isWritablePrimary": False}), False),
        ("mongodb", "", b"\xff\xff\xff\x7f", False),
        ("http", "/health", b"HTTP/1.1 200 OK\r\n\r\n", True),
        ("http", "/health", b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        ("http", "/health", b"", False),
    ],
)
async def test_only_a_serving_server_is_ready(kind: str, expect: str, text: bytes, ready: bool) -> None:
    """Each protocol's answer of a serving server counts, and nothing else does: foreign or broken answers included."""
    async with server(say(text)) as port:
        answered = await probes.ready(Probe(kind, HOST, port, expect))  # type: ignore[arg-type]

    assert ready == answered


async def test_silent_server_is_not_ready() -> None:
    """A server that accepts and says nothing is given up on after the timeout."""
    release = asyncio.Event()

    async def silence(reader: asyncio.StreamReader) -> bytes:
        await release.wait()
        return b""

    async with server(silence) as port:
        answered = await probes.ready(Probe("zookeeper", HOST, port), timeout_seconds=0.05)
        release.set()

    assert not answered


async def test_file_says_ready(tmp_path: Path) -> None:
    """A process that tells its readiness by a file is ready when the file is there."""
    path = tmp_path / "ready"
    before = await probes.ready(Probe("file", expect=str(path)))
    path.touch()

    assert (False, True) == (before, await probes.ready(Probe("file", expect=str(path))))
