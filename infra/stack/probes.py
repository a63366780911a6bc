"""Readiness by protocol: each probe asks a server something that only a serving server answers.

The few messages are written out here, so that the supervisor does not hold three client libraries
in memory for them.
"""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bson

from infra.stack.service import Probe

_OP_MSG = 2013
_METADATA, _METADATA_VERSION, _API_VERSIONS, _CORRELATION = 3, 4, 18, 1
_ALREADY_INITIALIZED, _NOT_YET_INITIALIZED = 23, 94
_ANSWER_BYTES_MAX = 1 << 20

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def context(probe: Probe) -> ssl.SSLContext | None:
    """Return the TLS context of a probe, if it has one."""
    if probe.tls is None:
        return None
    made = ssl.create_default_context(cafile=probe.tls.ca)
    made.load_cert_chain(probe.tls.certificate, probe.tls.key)
    return made


@asynccontextmanager
async def _connect(probe: Probe) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection(probe.host, probe.port, ssl=context(probe))
    try:
        yield reader, writer
    finally:
        writer.close()


async def _framed(streams: Streams, body: bytes, prefix: str, *, inclusive: bool) -> bytes:
    """Send a length-prefixed message, return the answer without its length."""
    reader, writer = streams
    extra = 4 if inclusive else 0
    writer.write(struct.pack(prefix, len(body) + extra) + body)
    await writer.drain()
    (length,) = struct.unpack(prefix, await reader.readexactly(4))
    if not 0 <= length - extra <= _ANSWER_BYTES_MAX:
        message = f"an answer of {length} bytes"
        raise ValueError(message)
    return await reader.readexactly(length - extra)


async def zookeeper(probe: Probe) -> bool:
    """Ask ``srvr``: a server that is not part of a quorum yet answers without a mode."""
    async with _connect(probe) as (reader, writer):
        writer.write(b"srvr")
        await writer.drain()
        return b"\nMode: " in await reader.read(4096)


async def kafka(probe: Probe) -> bool:
    """Ask for metadata: a broker that serves names itself, its cluster and the controller.

    With TLS it asks for the supported versions: the one question before a client has a user.
    """
    async with _connect(probe) as streams:
        if probe.tls is not None:
            answer = await _kafka_request(streams, _API_VERSIONS, 0, b"")
            return struct.unpack_from(">ih", answer) == (_CORRELATION, 0)
        answer = await _kafka_request(streams, _METADATA, _METADATA_VERSION, struct.pack(">ib", 0, 0))
    brokers, cluster = _metadata(answer)
    return brokers > 0 and cluster == probe.expect


async def _kafka_request(streams: Streams, key: int, version: int, body: bytes) -> bytes:
    client = b"replicore-probe"
    head = struct.pack(">hhih", key, version, _CORRELATION, len(client)) + client
    return await _framed(streams, head + body, ">i", inclusive=False)


def _metadata(answer: bytes) -> tuple[int, str]:
    """Return the number of brokers and the cluster id of a metadata answer."""
    (brokers,) = struct.unpack_from(">i", answer, 8)  # after correlation id and throttle time
    at = 12
    for _ in range(brokers):
        _, at = _string(answer, at + 4)  # node id, host
        _, at = _string(answer, at + 4)  # port, rack
    cluster, _ = _string(answer, at)
    return int(brokers), cluster


def _string(answer: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", answer, at)
    end = at + 2 + max(length, 0)
    return answer[at + 2 : end].decode(), end


async def _mongodb_command(streams: Streams, command: dict[str, Any]) -> dict[str, Any]:
    document = bson.encode({**command, "$db": "admin"})
    body = struct.pack("<iii", 1, 0, _OP_MSG) + struct.pack("<ib", 0, 0) + document
    answer = await _framed(streams, body, "<i", inclusive=True)
    return bson.decode(answer[17:])  # after ids, opcode, flags and section kind


async def mongodb(probe: Probe) -> bool:
    """Say ``hello``: a server that answers serves, member of a replica set or not yet."""
    async with _connect(probe) as streams:
        return bool((await _mongodb_command(streams, {"hello": 1})).get("ok"))


async def mongodb_primary(probe: Probe) -> bool:
    """Say ``hello``; make a server without a set a set of one; ready when it takes writes."""
    async with _connect(probe) as streams:
        hello = await _mongodb_command(streams, {"hello": 1})
        if hello.get("isWritablePrimary"):
            return True
        if "setName" not in hello:
            member = f"{probe.host}:{probe.port}"
            await _initiate(streams, probe.expect, member)
        return False


async def _initiate(streams: Streams, name: str, member: str) -> None:
    config = {"_id": name, "members": [{"_id": 0, "host": member}]}
    answer = await _mongodb_command(streams, {"replSetInitiate": config})
    if answer.get("code") != _ALREADY_INITIALIZED:
        return
    answer = await _mongodb_command(streams, {"replSetGetConfig": 1})
    known = answer.get("config")
    if known and known["members"][0]["host"] != member:  # the port in the settings was changed
        known["version"] += 1
        known["members"][0]["host"] = member
        await _mongodb_command(streams, {"replSetReconfig": known, "force": True})


async def http(probe: Probe) -> bool:
    """Get a path: ready when the answer is 200."""
    async with _connect(probe) as (reader, writer):
        host = f"{probe.host}:{probe.port}"
        writer.write(f"GET {probe.expect} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        return b" 200 " in await reader.readline()


async def file(probe: Probe) -> bool:
    """Look for a file that the process writes when it is ready (the supervisor removes old ones)."""
    return Path(probe.expect).exists()  # noqa: ASYNC240  # one stat of a local file


async def none(_: Probe) -> bool:
    """Ask nothing: the process is ready when it runs."""
    return True


_KINDS: dict[str, Callable[[Probe], Awaitable[bool]]] = {
    "zookeeper": zookeeper,
    "kafka": kafka,
    "mongodb": mongodb,
    "mongodb-primary": mongodb_primary,
    "http": http,
    "file": file,
    "none": none,
}


async def ready(probe: Probe, timeout_seconds: float = 2.0) -> bool:
    """Return whether the server answers as one that serves; never raises for one that does not."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _KINDS[probe.kind](probe)
    except (OSError, EOFError, TimeoutError, ValueError, struct.error):
        return False
