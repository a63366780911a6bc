"""The simulator's HTTP: quick, and right for clients that are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from doubles.simulation import ROOT, Simulation, simulation
from infra.simulator.http import BODY_MAX, HEAD_MAX, BadRequestError, take

GET = f"GET {ROOT}/info/node HTTP/1.1\r\nHost: h\r\n\r\n".encode()


@pytest.fixture
async def fleet() -> AsyncIterator[Simulation]:
    """A replica set."""
    async with simulation() as running:
        yield running


async def talk(fleet: Simulation, *pieces: bytes) -> bytes:
    """Send pieces one by one, and return all that comes until the connection is closed."""
    node = fleet.node()
    reader, writer = await asyncio.open_connection(node.host, node.port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)  # so that pieces are likely to arrive one by one
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


def closing(request: bytes) -> bytes:
    """The same request, after which the connection ends."""
    return request.replace(b"Host: h", b"Host: h\r\nConnection: close")


async def test_a_request_in_pieces(fleet: Simulation) -> None:
    """However it is cut, it is one request."""
    answer = await talk(fleet, *[closing(GET)[start : start + 7] for start in range(0, len(closing(GET)), 7)])

    assert 1 == answer.count(b"HTTP/1.1 200 OK")


async def test_several_requests_at_once(fleet: Simulation) -> None:
    """All are answered, in order, the quick way and the slow way alike."""
    shards = GET.replace(b"node", b"shards")
    await talk(fleet, closing(GET))
    answer = await talk(fleet, GET, GET + shards, closing(GET))

    parts = answer.split(b"HTTP/1.1 200 OK")[1:]
    assert [True, True, False, True] == [b'"node_id"' in part for part in parts]
    assert 5 == sum(1 for _ in fleet.fleet.record.lines(what="request"))


async def test_the_next_request_waits_for_a_slow_answer(fleet: Simulation) -> None:
    """Answers never overtake each other."""
    fleet.do("slow", nodes="all", delay_s=0.05, paths=["shards"])
    answer = await talk(fleet, GET.replace(b"node", b"shards") + closing(GET))

    assert answer.find(b'"shards"') < answer.find(b'"node_id"')


async def test_both_ways_give_the_same_answer(fleet: Simulation) -> None:
    """The first answer is made, the second was ready."""
    assert await talk(fleet, closing(GET)) == await talk(fleet, closing(GET))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (f"POST / HTTP/1.1\r\nContent-Length: {BODY_MAX + 1}\r\n\r\n".encode(), 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_MAX, 431),
    ],
)
async def test_what_cannot_be_read_ends_the_connection(fleet: Simulation, request_: bytes, status: int) -> None:
    """With a status that says why."""
    answer = await talk(fleet, request_)

    assert f"HTTP/1.1 {status} ".encode() == answer[:13]


async def test_an_old_client_is_closed_on(fleet: Simulation) -> None:
    """HTTP/1.0 ends after the answer."""
    answer = await talk(fleet, GET.replace(b"HTTP/1.1", b"HTTP/1.0"))

    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_an_incomplete_body_is_waited_for() -> None:
    """Nothing is taken before all is there, and nothing more than that."""
    buffer = bytearray(b"POST /a?b HTTP/1.1\r\nContent-Length: 3\r\nX-Y: 1\r\nx-y:2\r\n\r\nab")
    early = take(buffer)
    buffer += b"cGET"
    request = take(buffer)

    assert None is early
    assert request is not None
    assert ("POST", "/a?b", "/a", b"abc", "2", b"GET") == (
        request.method,
        request.target,
        request.path,
        request.body,
        request.headers["x-y"],
        bytes(buffer),
    )


def test_an_endless_length_is_too_much() -> None:
    """Not even its digits are all read."""
    with pytest.raises(BadRequestError) as error:
        take(bytearray(b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 10_000 + b"\r\n\r\n"))

    assert 413 == error.value.status
