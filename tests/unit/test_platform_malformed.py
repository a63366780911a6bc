"""The Platform API and what it cannot read: always an answer with a reason, never an effect."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles.machines import MemoryPlatform, client_of, wanted

MALFORMED: dict[str, dict[str, Any]] = {
    "no JSON": {"content": b"{"},
    "empty": {"content": b""},
    "a list": {"content": b"[]"},
    "nothing in it": {"content": b"{}"},
    "no text": {"content": b"\xff\xfe"},
    "not said to be JSON": {"content": b"{}", "headers": {"content-type": "text/plain"}},
    "deep": {"content": b"[" * 100_000},
}


@pytest.fixture
def made(tmp_path: Path) -> MemoryPlatform:
    """An empty platform with room for 4 machines."""
    return MemoryPlatform(tmp_path / "platform.json", machines_max=4)


@pytest.fixture
async def client(made: MemoryPlatform) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with client_of(made) as opened:
        yield opened


class TestMalformed:
    @pytest.mark.parametrize("path", ["/provision", "/deprovision"])
    @pytest.mark.parametrize("request_", MALFORMED.values(), ids=MALFORMED)
    async def test_both(self, client: httpx.AsyncClient, path: str, request_: dict[str, Any]) -> None:
        """What cannot be read is a 400 with a reason."""
        answer = await client.post(path, **{"headers": {"content-type": "application/json"}, **request_})

        assert (400, True) == (answer.status_code, answer.json()["error"])
        assert answer.json()["error_msg"]

    @pytest.mark.parametrize(
        ("body", "where"),
        [
            (wanted(0), "provision.count"),
            (wanted(-1), "provision.count"),
            (wanted(1 << 40), "provision.count"),
            ({**wanted(), "provision": {"node_group_id": "main", "count": "2"}}, "provision.count"),
            ({**wanted(), "provision": {"node_group_id": "main", "count": True}}, "provision.count"),
            ({**wanted(), "provision": {"count": 1}}, "provision.node_group_id"),
            (wanted(cluster_id="../../etc"), "cluster.cluster_id"),
            (wanted(cluster_id="a/b"), "cluster.cluster_id"),
            (wanted(cluster_id="shop\n"), "cluster.cluster_id"),
            (wanted(cluster_id=""), "cluster.cluster_id"),
            (wanted(cluster_id="--dbpath"), "cluster.cluster_id"),
            (wanted(cluster_id="a" * 65), "cluster.cluster_id"),
            (wanted(store=None), "cluster.store"),
            (wanted(attributes=[]), "cluster.attributes"),
            (wanted(nodes={"main": {"desired_count": 1}}), "cluster.nodes.main.node_class"),
            (wanted(nodes={"main": {"desired_count": -1, "node_class": "k"}}), "cluster.nodes.main.desired_count"),
            (wanted(nodes={str(n): {"desired_count": 1, "node_class": "k"} for n in range(101)}), "cluster.nodes"),
        ],
    )
    async def test_provision(
        self, made: MemoryPlatform, client: httpx.AsyncClient, body: dict[str, Any], where: str
    ) -> None:
        """A wrong field is a 400 that names it, and nothing is made."""
        answer = await client.post("/provision", json=body)

        assert 400 == answer.status_code
        assert answer.json()["error_msg"].startswith(f"{where}: ")
        assert [] == list(made.ledger)

    async def test_unknown_keys(self, client: httpx.AsyncClient) -> None:
        """Keys that we do not know are no fault."""
        answer = await client.post("/provision", json={**wanted(future={"a": 1}), "more": None})

        assert 200 == answer.status_code

    async def test_too_large(self, client: httpx.AsyncClient) -> None:
        """A body of more than 2 MB is a 413 with a reason."""
        answer = await client.post("/provision", json=wanted(future="x" * 3_000_000))

        assert 413 == answer.status_code
        assert "larger than allowed" in answer.json()["error_msg"]

    async def test_too_slow(self, made: MemoryPlatform) -> None:
        """A body that does not come is refused at its deadline."""

        async def never() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

        async with client_of(made, body_within_s=0.05) as client:
            answer = await client.post(
                "/provision", content=never(), headers={"content-type": "application/json"}, timeout=5
            )

        assert (408, "the body was not there within 0.05 s") == (answer.status_code, answer.json()["error_msg"])

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "/"), ("POST", "/discover"), ("GET", "/provision"), ("POST", "/deprovision/"), ("GET", "/discover/x")],
    )
    async def test_no_route(self, client: httpx.AsyncClient, method: str, path: str) -> None:
        """What is not part of the API is an empty 404, unlike a node that is gone."""
        answer = await client.request(method, path)

        assert (404, b"") == (answer.status_code, answer.content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["cluster_id", "store", "store_version", "attributes", "nodes"]


@settings(max_examples=60)
@given(data=st.data())
def test_any_body_is_answered(data: st.DataObject) -> None:
    """Whatever is sent, the answer is one of those described, with a reason, and only a good body makes nodes."""
    body = wanted(data.draw(st.integers(-1, 6)), data.draw(st.sampled_from(["main", "spare", "x"])))
    for key in data.draw(st.lists(st.sampled_from(KEYS), max_size=2)):
        body["cluster"][key] = data.draw(JSON)
    content = data.draw(st.just(json.dumps(body).encode()) | JSON.map(lambda value: json.dumps(value).encode()))
    path = data.draw(st.sampled_from(["/provision", "/deprovision"]))

    async def ask() -> tuple[httpx.Response, int]:
        with tempfile.TemporaryDirectory() as folder:
            made = MemoryPlatform(Path(folder) / "platform.json", machines_max=4)
            async with client_of(made) as client:
                answer = await client.post(path, content=content, headers={"content-type": "application/json"})
                return answer, len(made.ledger)

    answer, made = asyncio.run(ask())
    if answer.status_code == 200:
        assert answer.json()["count"] == len(answer.json()["node_ids"]) == made
    else:
        assert answer.status_code in {400, 404, 409}
        assert answer.json()["error"] is True
        assert answer.json()["error_msg"]
        assert made == 0
