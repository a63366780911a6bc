"""The Platform API: what it makes and removes, what it refuses, its limits; without processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from doubles.eventually import until
from doubles.machines import MemoryPlatform, client_of, wanted
from infra.platform.ledger import Ledger


@pytest.fixture
def made(tmp_path: Path) -> MemoryPlatform:
    """An empty platform with room for 4 machines."""
    return MemoryPlatform(tmp_path / "platform.json", machines_max=4)


@pytest.fixture
async def client(made: MemoryPlatform) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with client_of(made) as opened:
        yield opened


class TestProvision:
    async def test_count(self, made: MemoryPlatform, client: httpx.AsyncClient) -> None:
        """So many as were asked for are made, all ids are told, and discover lists them."""
        empty = await client.get("/discover")
        answer = await client.post("/provision", json=wanted(3))
        found = (await client.get("/discover")).json()

        assert {"clusters": []} == empty.json()
        assert (200, {"count": 3, "node_ids": ["machine-1", "machine-2", "machine-3"]}) == (
            answer.status_code,
            answer.json(),
        )
        assert ["machine-1", "machine-2", "machine-3"] == made.machines.running
        [cluster] = found["clusters"]
        assert [("small", "main")] * 3 == [(node["node_class"], node["node_group"]) for node in cluster["nodes"]]

    async def test_no_count(self, client: httpx.AsyncClient) -> None:
        """Without a count it is one node."""
        answer = await client.post("/provision", json=wanted(None))

        assert 1 == answer.json()["count"]

    async def test_intent_first(self, made: MemoryPlatform, client: httpx.AsyncClient) -> None:
        """A machine is in the file before it is started."""
        await client.post("/provision", json=wanted(2))

        assert {"machine-1": True, "machine-2": True} == made.machines.noted

    async def test_unknown_group(self, made: MemoryPlatform, client: httpx.AsyncClient) -> None:
        """An unknown node group is a 400 that names the group and those there are."""
        answer = await client.post("/provision", json=wanted(group="nobody"))

        assert 400 == answer.status_code
        assert {
            "error": True,
            "error_msg": "the cluster defines no node group 'nobody'",
            "node_group_id": "nobody",
            "defined_node_groups": ["main", "spare"],
        } == answer.json()
        assert [] == list(made.ledger)

    @pytest.mark.parametrize("cluster", [{"store": "kafka"}, {"store_version": "7.0"}])
    async def test_no_template(self, client: httpx.AsyncClient, cluster: dict[str, Any]) -> None:
        """A store or version that cannot be made here is a 404 with the reason."""
        answer = await client.post("/provision", json=wanted(**cluster))

        assert 404 == answer.status_code
        assert answer.json()["error_msg"].startswith("no template for ")

    @pytest.mark.parametrize("field", ["store_version", "version"])
    async def test_version_of_the_group(self, client: httpx.AsyncClient, field: str) -> None:
        """A group's own version counts before the cluster's, under both its names."""
        nodes = {"main": {"desired_count": 1, "node_class": "small", field: "7.0"}}
        answer = await client.post("/provision", json=wanted(nodes=nodes))

        assert 404 == answer.status_code
        assert "'7.0'" in answer.json()["error_msg"]

    async def test_limit(self, made: MemoryPlatform, client: httpx.AsyncClient) -> None:
        """Beyond the limit nothing is made and 409 says why; a node that left makes room."""
        await client.post("/provision", json=wanted(3))
        full = await client.post("/provision", json=wanted(2))
        left = await client.post("/deprovision", json={"cluster_id": "shop", "node_id": "machine-1"})
        again = await client.post("/provision", json=wanted(2))

        assert [409, 204, 200] == [answer.status_code for answer in (full, left, again)]
        assert "this platform has 3 of at most 4 nodes: no room for 2 more" == full.json()["error_msg"]
        assert 4 == len(made.ledger)

    async def test_ports(self, made: MemoryPlatform, client: httpx.AsyncClient) -> None:
        """Ports of others and of our own machines are passed by, whether those run or not."""
        made.taken = {1000, 1003}
        await client.post("/provision", json=wanted(2))

        assert [(1001, 1002), (1004, 1005)] == [machine.ports for machine in made.ledger]

    async def test_no_ports(self, made: MemoryPlatform, client: httpx.AsyncClient) -> None:
        """Too few free ports are a 409, and nothing is made."""
        made.taken = set(range(1001, 1040))
        answer = await client.post("/provision", json=wanted())

        assert (409, "only 1 of 2 ports are free from 1000 to 1039") == (
            answer.status_code,
            answer.json()["error_msg"],
        )
        assert [] == list(made.ledger)

    async def test_no_server(self, made: MemoryPlatform, client: httpx.AsyncClient) -> None:
        """Where machines cannot be made at all, nothing is noted, and a 500 says what is missing."""
        made.machines.missing = "no mongod: run `make env`"
        answer = await client.post("/provision", json=wanted())

        assert 500 == answer.status_code
        assert "no mongod" in answer.json()["error_msg"]
        assert [] == list(made.ledger)

    async def test_no_disk(self, tmp_path: Path) -> None:
        """What cannot be noted is not started."""
        made = MemoryPlatform(tmp_path / "gone" / "platform.json")
        async with client_of(made) as client:
            answer = await client.post("/provision", json=wanted())

        assert 500 == answer.status_code
        assert answer.json()["error_msg"]
        assert [] == made.machines.running


class TestDeprovision:
    async def test_again(self, made: MemoryPlatform, client: httpx.AsyncClient) -> None:
        """A removed node is 204 and no more told; again it is a 404, as it is for a node that never was."""
        await client.post("/provision", json=wanted(2))
        first, second, never = [
            await client.post("/deprovision", json={"cluster_id": "shop", "node_id": node_id})
            for node_id in ("machine-1", "machine-1", "../../etc")
        ]
        found = (await client.get("/discover")).json()

        assert (204, b"") == (first.status_code, first.content)
        assert [(404, True), (404, True)] == [(each.status_code, each.json()["error"]) for each in (second, never)]
        assert "there is no node 'machine-1' on this platform" == second.json()["error_msg"]
        assert ["machine-2"] == [node["node_id"] for node in found["clusters"][0]["nodes"]]
        assert {"machine-1": 1} == made.machines.erased

    async def test_other_cluster(self, made: MemoryPlatform, client: httpx.AsyncClient) -> None:
        """A node of another cluster than was said is left alone, which is not the same as gone."""
        await client.post("/provision", json=wanted())
        answer = await client.post("/deprovision", json={"cluster_id": "bank", "node_id": "machine-1"})

        assert (409, "node 'machine-1' is not in cluster 'bank'") == (answer.status_code, answer.json()["error_msg"])
        assert ["machine-1"] == made.machines.running

    async def test_two_at_once(self, made: MemoryPlatform, client: httpx.AsyncClient) -> None:
        """Two callers share one removal, and meanwhile the node is not told any more."""
        await client.post("/provision", json=wanted())
        made.machines.gate.clear()
        body = {"cluster_id": "shop", "node_id": "machine-1"}
        calls = [asyncio.create_task(client.post("/deprovision", json=body)) for _ in range(2)]
        await until(lambda: all(machine.leaving for machine in made.ledger))
        found = (await client.get("/discover")).json()
        made.machines.gate.set()
        answers = await asyncio.gather(*calls)

        assert {"clusters": []} == found
        assert [204, 204] == [answer.status_code for answer in answers]
        assert {"machine-1": 1} == made.machines.erased

    async def test_caller_goes_away(self, made: MemoryPlatform, client: httpx.AsyncClient) -> None:
        """A removal whose caller has gone is finished."""
        await client.post("/provision", json=wanted())
        made.machines.gate.clear()
        call = asyncio.create_task(client.post("/deprovision", json={"cluster_id": "shop", "node_id": "machine-1"}))
        await until(lambda: all(machine.leaving for machine in made.ledger))
        call.cancel()
        made.machines.gate.set()
        await until(lambda: len(made.ledger) == 0)

        assert {"machine-1": 1} == made.machines.erased

    async def test_failure(self, made: MemoryPlatform, client: httpx.AsyncClient) -> None:
        """What could not be deleted is a 500 with the reason; told again, it is done."""
        await client.post("/provision", json=wanted())
        made.machines.erase_failures = 1
        body = {"cluster_id": "shop", "node_id": "machine-1"}
        failed, again = [await client.post("/deprovision", json=body) for _ in range(2)]

        assert (500, 204) == (failed.status_code, again.status_code)
        assert "the disk is on fire" in failed.json()["error_msg"]
        assert 0 == len(Ledger(made.machines.path))
