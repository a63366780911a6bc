from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from blocks.sources.names import THREADS_MAX, Names, ResolvingTransport


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Open at the end, so that no thread stays."""
    made = threading.Event()
    yield made
    made.set()


async def test_a_name_is_looked_for_once(gate: threading.Event) -> None:
    """However many ask for it at the same time."""
    asked: list[str] = []

    def resolve(host: str, _: int) -> list[str]:
        asked.append(host)
        gate.wait(30)
        return ["10.0.0.1"]

    names = Names(resolve)
    waiting = [asyncio.create_task(names.addresses("a.test", 80)) for _ in range(50)]
    await asyncio.sleep(0)
    gate.set()

    assert [["10.0.0.1"]] * 50 == await asyncio.gather(*waiting)
    assert ["a.test"] == asked


async def test_a_resolver_that_hangs_stops_nobody_else(gate: threading.Event) -> None:
    """As many names as may hang do: one more is refused at once; addresses, and threads of others, are free."""

    def resolve(_: str, __: int) -> list[str]:
        gate.wait(30)
        return ["10.0.0.1"]

    names = Names(resolve)
    hanging = [asyncio.create_task(names.addresses(f"n{number}.test", 80)) for number in range(THREADS_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="too many names"):
        await names.addresses("more.test", 80)
    async with asyncio.timeout(5):
        assert (["10.0.0.2"], 7) == (await names.addresses("10.0.0.2", 80), await asyncio.to_thread(lambda: 7))
    gate.set()
    await asyncio.gather(*hanging)


async def test_addresses_are_tried_in_turn() -> None:
    """The name is what the server is told and what its certificate is for; the first address that connects answers."""
    seen: list[tuple[str, str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, request.headers["host"], request.extensions.get("sni_hostname")))
        if request.url.host == "10.0.0.1":
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200, request=request)

    transport = ResolvingTransport(httpx.MockTransport(answer), Names(lambda _, __: ["10.0.0.1", "10.0.0.2"]))
    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.post("https://inventory.test:8443/clusters", json={"a": 1})

    assert 200 == response.status_code
    assert [(host, "inventory.test:8443", "inventory.test") for host in ("10.0.0.1", "10.0.0.2")] == seen


async def test_a_name_that_there_is_not() -> None:
    """The system's own words."""

    def resolve(_: str, __: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    transport = ResolvingTransport(httpx.MockTransport(lambda _: httpx.Response(200)), Names(resolve))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(httpx.ConnectError, match="Name or service not known") as caught:
            await client.get("http://nowhere.test/")

    assert isinstance(caught.value.__cause__, socket.gaierror)
