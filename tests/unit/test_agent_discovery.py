"""The discovery endpoint: a file of clusters over HTTP, in pages."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.agents.discovery import discovery_app
from infra.agents.kit.errors import StartError

NODE = {"agent_address": "http://127.0.0.1:1", "node_id": "a", "node_class": "mongo"}


def write(path: Path, *cluster_ids: str) -> None:
    """Write a fleet of clusters with one node each."""
    clusters = [{"cluster_id": cluster_id, "nodes": [NODE]} for cluster_id in cluster_ids]
    path.write_text(json.dumps({"clusters": clusters}))


def endpoint(path: Path, page_size: int = 2) -> httpx.AsyncClient:
    """Return a client of the endpoint."""
    transport = httpx.ASGITransport(app=discovery_app(path, page_size))
    return httpx.AsyncClient(transport=transport, base_url="http://discovery")


async def everything(client: httpx.AsyncClient, method: str) -> list[list[str]]:
    """Follow the cursor; return the cluster ids page by page."""
    pages: list[list[str]] = []
    cursor: str | None = None
    while True:
        if method == "GET":
            answer = await client.get("/discover", params={"cursor": cursor} if cursor else {})
        else:
            answer = await client.post("/discover", json={"filter": "kept", "cursor": cursor})
        body: dict[str, Any] = answer.raise_for_status().json()
        pages.append([cluster["cluster_id"] for cluster in body["clusters"]])
        cursor = body["cursor"]
        if cursor is None:
            return pages


class TestPages:
    """The cursor."""

    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize(
        ("ids", "pages"),
        [
            ("", [[]]),
            ("a", [["a"]]),
            ("ab", [["a", "b"]]),
            ("abc", [["a", "b"], ["c"]]),
            ("abcd", [["a", "b"], ["c", "d"]]),
        ],
    )
    async def test_all(self, tmp_path: Path, method: str, ids: str, pages: list[list[str]]) -> None:
        """Every cluster comes once, in the file's order; the last page has no cursor."""
        write(tmp_path / "fleet.json", *ids)
        async with endpoint(tmp_path / "fleet.json") as client:
            found = await everything(client, method)

        assert pages == found

    async def test_changed_between_pages(self, tmp_path: Path) -> None:
        """A cursor of an earlier file is refused with 409: a page of another fleet would skip clusters."""
        write(tmp_path / "fleet.json", *"abc")
        async with endpoint(tmp_path / "fleet.json") as client:
            cursor = (await client.get("/discover")).json()["cursor"]
            write(tmp_path / "fleet.json", *"xabcd")
            answer = await client.post("/discover", json={"cursor": cursor})

        assert 409 == answer.status_code
        assert answer.json()["error"] is True

    @pytest.mark.parametrize("cursor", ["nonsense", "a.b", "." * 100, "a.-1", "a.²"])
    async def test_not_a_cursor(self, tmp_path: Path, cursor: str) -> None:
        """A cursor that is not ours is a 400 with JSON."""
        write(tmp_path / "fleet.json", *"abc")
        async with endpoint(tmp_path / "fleet.json") as client:
            answer = await client.post("/discover", json={"cursor": cursor})

        assert 400 == answer.status_code
        assert "cursor is not one that this endpoint gave" == answer.json()["error_msg"]

    async def test_empty_body(self, tmp_path: Path) -> None:
        """A POST without a body asks for the first page."""
        write(tmp_path / "fleet.json", "a")
        async with endpoint(tmp_path / "fleet.json") as client:
            answer = await client.post("/discover")

        assert 200 == answer.status_code

    @pytest.mark.parametrize("body", [b"{", b'{"cursor": 3}'])
    async def test_unreadable_body(self, tmp_path: Path, body: bytes) -> None:
        """A body that cannot be read is a 400 with text."""
        write(tmp_path / "fleet.json", "a")
        async with endpoint(tmp_path / "fleet.json") as client:
            answer = await client.post("/discover", content=body, headers={"content-type": "application/json"})

        assert 400 == answer.status_code
        assert answer.text.startswith("Json deserialize error")


class TestFile:
    """The file."""

    async def test_shape(self, tmp_path: Path) -> None:
        """Nodes are the Platform's objects with every key; old ones stay addresses."""
        cluster = {"cluster_id": "orders", "display_name": "Orders", "nodes": [NODE, "https://old:1"], "odd": 1}
        (tmp_path / "fleet.json").write_text(json.dumps({"clusters": [cluster], "cursor": None}))
        async with endpoint(tmp_path / "fleet.json") as client:
            answer = await client.get("/discover")

        assert answer.json() == {
            "clusters": [
                {
                    "cluster_id": "orders",
                    "display_name": "Orders",
                    "nodes": [{**NODE, "node_group": None}, "https://old:1"],
                }
            ],
            "cursor": None,
        }

    async def test_read_again(self, tmp_path: Path) -> None:
        """A change of the file is seen by the next request."""
        write(tmp_path / "fleet.json", "a")
        async with endpoint(tmp_path / "fleet.json") as client:
            before = await everything(client, "GET")
            write(tmp_path / "new.json", "b")
            (tmp_path / "new.json").replace(tmp_path / "fleet.json")
            after = await everything(client, "GET")

        assert ([["a"]], [["b"]]) == (before, after)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ("{", "unexpected end of data"),
            ("[]", 'it must be {"clusters": [...]}'),
            ('{"clusters": [3]}', "clusters[0] must be an object"),
            ('{"clusters": [{"nodes": []}]}', "clusters[0].cluster_id must be a string"),
            ('{"clusters": [{"cluster_id": "a"}]}', "clusters[0].nodes must be a list"),
            ('{"clusters": [{"cluster_id": "a", "nodes": [3]}]}', "clusters[0].nodes[0] must be an object"),
            (
                '{"clusters": [{"cluster_id": "a", "nodes": [{}]}]}',
                "clusters[0].nodes[0].agent_address must be a string",
            ),
        ],
    )
    async def test_broken(self, tmp_path: Path, content: str, reason: str) -> None:
        """A file that is not a fleet is a 500 that says what is wrong where, and recovers with the file."""
        (tmp_path / "fleet.json").write_text(content)
        async with endpoint(tmp_path / "fleet.json") as client:
            broken = await client.get("/discover")
            write(tmp_path / "fleet.json", "a", "b", "c", "d", "e")
            mended = await client.get("/discover")

        assert (500, 200) == (broken.status_code, mended.status_code)
        assert reason in broken.json()["error_msg"]

    async def test_missing(self, tmp_path: Path) -> None:
        """A missing file is a 500, never an empty fleet."""
        async with endpoint(tmp_path / "fleet.json") as client:
            answer = await client.get("/discover")

        assert 500 == answer.status_code
        assert "No such file" in answer.json()["error_msg"]

    async def test_other_paths(self, tmp_path: Path) -> None:
        """Everything else is an empty 404."""
        async with endpoint(tmp_path / "fleet.json") as client:
            answers = [await client.get("/"), await client.delete("/discover"), await client.head("/discover")]

        assert [(404, b"")] * 3 == [(answer.status_code, answer.content) for answer in answers]

    @pytest.mark.parametrize("size", [0, -1, 10_001])
    def test_page_size(self, tmp_path: Path, size: int) -> None:
        """A page size out of range is refused at the start."""
        with pytest.raises(StartError, match="--page-size must be from 1 to 10000"):
            discovery_app(tmp_path / "fleet.json", size)
