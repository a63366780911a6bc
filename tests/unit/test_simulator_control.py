"""What people and tests ask of the simulator, and what the product asks of its discovery."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from doubles.eventually import until
from doubles.simulation import SUCCESS, Simulation, simulation
from infra.simulator.errors import CommandError
from infra.simulator.model import Kind

SERVED = {"control": ("127.0.0.1", 0), "discovery": ("127.0.0.1", 0), "page_size": 2}


@pytest.fixture
async def fleet() -> AsyncIterator[Simulation]:
    """Three clusters of three, with control and discovery."""
    async with simulation(*Kind, settings=SERVED) as running:
        yield running


async def ask(fleet: Simulation, service: str, method: str, path: str, json: Any = None) -> httpx.Response:
    """Ask one of the services."""
    host, port = fleet.simulator.addresses[service]
    return await fleet.client.request(method, f"http://{host}:{port}{path}", json=json)


async def pages(fleet: Simulation, path: str) -> list[Any]:
    """Ask discovery to its end."""
    clusters: list[Any] = []
    cursor: str | None = None
    for _ in range(10):
        page = (await ask(fleet, "discovery", "POST", path, {"cursor": cursor})).json()
        clusters += page["clusters"]
        cursor = page["cursor"]
        if cursor is None:
            return clusters
    message = "no end"
    raise AssertionError(message)


class TestDiscovery:
    async def test_platforms(self, fleet: Simulation) -> None:
        """Nodes are objects; pages follow each other until the cursor is null."""
        clusters = await pages(fleet, "/discover")

        assert ["mongodb-00000", "zookeeper-00001", "kafka-00002"] == [cluster["cluster_id"] for cluster in clusters]
        assert {
            "agent_address": fleet.node().url,
            "node_id": "mongodb-00000-0",
            "node_class": "mongodb",
            "node_group": None,
        } == clusters[0]["nodes"][0]

    async def test_as_of_old(self, fleet: Simulation) -> None:
        """Nodes are URLs."""
        clusters = await pages(fleet, "/legacy/discover")

        assert [node.url for node in fleet.fleet.nodes.values()] == [url for c in clusters for url in c["nodes"]]

    async def test_who_comes_and_goes(self, fleet: Simulation) -> None:
        """A node that left is not told of and does not answer; one that joined is and does."""
        gone = fleet.node(0)
        fleet.do("leave", nodes=[gone.name])
        (new,) = fleet.do("join", cluster="mongodb-00000")
        told = [node["node_id"] for node in (await pages(fleet, "/discover"))[0]["nodes"]]
        answer = await fleet.told(fleet.fleet.nodes[new], "/info/node")
        with pytest.raises(httpx.HTTPError):
            await fleet.get(gone, "/info/node")

        assert ["mongodb-00000-1", "mongodb-00000-2", "mongodb-00000-3"] == told
        assert (new, "mongodb-00000-3") == (answer["node_id"], new)
        assert "127.10.0.10" == fleet.fleet.nodes[new].host

    async def test_a_cursor_of_another_fleet(self, fleet: Simulation) -> None:
        """Pages of two versions never mix: 409, start again."""
        cursor = (await ask(fleet, "discovery", "GET", "/discover")).json()["cursor"]
        fleet.do("leave", nodes=[fleet.node(0).name])

        assert 409 == (await ask(fleet, "discovery", "GET", f"/discover?cursor={cursor}")).status_code

    @pytest.mark.parametrize(
        ("method", "path", "json", "status"),
        [
            ("POST", "/discover", {"cursor": 1}, 400),
            ("POST", "/discover", {"cursor": "nonsense"}, 400),
            ("PUT", "/discover", None, 404),
            ("GET", "/elsewhere", None, 404),
        ],
    )
    async def test_wrong_questions(self, fleet: Simulation, method: str, path: str, json: Any, status: int) -> None:
        """Refused, as the real endpoint does."""
        assert status == (await ask(fleet, "discovery", method, path, json)).status_code


class TestControl:
    async def test_commands(self, fleet: Simulation) -> None:
        """One or several; the answer names whom each was about."""
        one = await ask(fleet, "control", "POST", "/do", {"do": "kill", "nodes": ["kafka-00002"]})
        two = await ask(fleet, "control", "POST", "/do", [{"do": "heal"}, {"do": "slow", "nodes": {"count": 1}}])

        assert [{"do": "kill", "names": [f"kafka-00002-{number}" for number in range(3)]}] == one.json()
        assert [9, 1] == [len(result["names"]) for result in two.json()]

    @pytest.mark.parametrize(
        ("command", "sentence"),
        [
            ({"do": "explode", "nodes": "all"}, "not a command: Input tag 'explode' found using 'do' does not match"),
            ({"do": "kill"}, "not a command: kill.nodes: Field required"),
            ({"do": "kill", "nodes": "all", "hard": True}, "not a command: kill.hard: Extra inputs are not permitted"),
            ({"do": "kill", "nodes": ["nobody"]}, "there is no node or cluster 'nobody'"),
            ({"do": "elect", "clusters": ["none"]}, "there is no cluster 'none'"),
            ({"do": "join", "cluster": "none"}, "there is no cluster 'none'"),
            ("kill", "not a command: "),
        ],
    )
    async def test_wrong_commands(self, fleet: Simulation, command: Any, sentence: str) -> None:
        """400 with a sentence, and nothing is done, not even the right ones beside it."""
        answer = await ask(fleet, "control", "POST", "/do", [{"do": "kill", "nodes": [fleet.node().name]}, command])
        alone = await ask(fleet, "control", "POST", "/do", command)

        assert (400, 400) == (answer.status_code, alone.status_code)
        assert alone.json()["error"].startswith(sentence)

    async def test_figures(self, fleet: Simulation) -> None:
        """How much was asked and is wrong."""
        await fleet.get(fleet.node(), "/info/node")
        fleet.do("fail", nodes=[fleet.node(1).name])
        status = (await ask(fleet, "control", "GET", "/status")).json()

        expected = {"clusters": 3, "nodes": 9, "requests": 1, "faults": {"fail": 1}, "record_failed": None}
        assert expected == {key: status[key] for key in expected}

    async def test_gaps(self, fleet: Simulation) -> None:
        """How long healthy nodes were left alone, from the moment that somebody begins to count."""
        node, ill = fleet.node(), fleet.node(1)
        await fleet.get(node, "/info/node")
        began = (await ask(fleet, "control", "POST", "/gaps")).json()
        for path in ("/info/node", "/info/shards", "/info/store", "/actions/finished"):
            await fleet.get(node, path)
        fleet.do("fail", nodes=[ill.name])
        await fleet.get(ill, "/info/node")
        told = (await ask(fleet, "control", "GET", "/gaps")).json()

        assert [{}, {}] == [began[sort]["counts"] for sort in ("asked", "cycled")]
        assert [2, 1] == [sum(told[sort]["counts"].values()) for sort in ("asked", "cycled")]
        assert node.name == told["asked"]["node"]
        assert [7, 7] == [told[sort]["never"] for sort in ("asked", "cycled")]
        assert 0 < told["asked"]["open_s"] <= told["seconds"]

    async def test_nodes_and_clusters(self, fleet: Simulation) -> None:
        """Each with what it is and where."""
        nodes = (await ask(fleet, "control", "GET", "/nodes?cluster=kafka-00002&limit=2")).json()
        clusters = (await ask(fleet, "control", "GET", "/clusters")).json()

        assert ["kafka-00002-0", "kafka-00002-1"] == [node["node"] for node in nodes]
        assert fleet.fleet.clusters["zookeeper-00001"].leader is not None
        assert fleet.fleet.clusters["zookeeper-00001"].leader.name == clusters[1]["leader"]

    async def test_what_was_received(self, fleet: Simulation) -> None:
        """By node, by sort, since a moment, the newest of too many."""
        node = fleet.node()
        await fleet.get(node, "/info/node")
        await fleet.schedule(node, kind=SUCCESS, metadata={"replicore.io/fence": "1:7"})
        await fleet.get(fleet.node(1), "/info/node")

        async def lines(query: str) -> list[Any]:
            told: list[Any] = (await ask(fleet, "control", "GET", f"/received?{query}")).json()
            return told

        mine = await lines(f"node={node.name}&what=request")
        later = await lines(f"what=request&since={mine[-1]['at']}&limit=1")
        assert [("GET", None), ("POST", "1:7")] == [(line["method"], line.get("fence")) for line in mine]
        assert [fleet.node(1).name] == [line["node"] for line in later]

    async def test_elsewhere(self, fleet: Simulation) -> None:
        """An empty 404, and 400 for what is no number or no JSON."""
        host, port = fleet.simulator.addresses["control"]
        broken = await fleet.client.post(f"http://{host}:{port}/do", content=b"{")
        answers = [await ask(fleet, "control", "GET", path) for path in ("/", "/do", "/nodes?limit=x")]

        assert [400, 404, 404, 400] == [answer.status_code for answer in (broken, *answers)]


class TestSelection:
    @pytest.mark.parametrize(
        ("pick", "number"),
        [
            ({}, 9),
            ({"kind": "kafka"}, 3),
            ({"primary": True}, 2),
            ({"kind": "mongodb", "primary": False}, 2),
            ({"share": 0.5}, 4),
            ({"count": 100}, 9),
            ({"protocol": "A"}, 0),
        ],
    )
    async def test_by_what_they_are(self, fleet: Simulation, pick: dict[str, Any], number: int) -> None:
        """All conditions hold, then some are drawn; a share is one of the whole fleet."""
        assert number == len(set(fleet.do("heal", nodes=pick)))

    async def test_several_faults_are_kept_apart(self, fleet: Simulation) -> None:
        """Those without a fault can be asked for."""
        names = [fleet.do("fail", nodes={"count": 3, "faulty": False}) for _ in range(4)]

        assert [3, 3, 3, 0] == [len(some) for some in names]
        assert 9 == len({name for some in names for name in some})

    async def test_the_seed_decides(self) -> None:
        """The same fleet draws the same nodes."""
        drawn = []
        for seed in (1, 1, 2):
            async with simulation(clusters=50, seed=seed) as fleet:
                drawn.append(fleet.do("fail", nodes={"count": 20}))

        assert drawn[0] == drawn[1]
        assert drawn[0] != drawn[2]

    async def test_all_of_a_cluster(self, fleet: Simulation) -> None:
        """A cluster's name stands for its nodes, each once; they may all leave."""
        names = fleet.do("leave", nodes=["mongodb-00000", "mongodb-00000-1"])
        with pytest.raises(CommandError):
            fleet.do("join", cluster="mongodb-00000")

        assert [f"mongodb-00000-{number}" for number in range(3)] == names

    async def test_a_leader_that_leaves_is_followed(self, fleet: Simulation) -> None:
        """The rest elects."""
        cluster = fleet.fleet.clusters["zookeeper-00001"]
        assert cluster.leader is not None
        before = cluster.leader
        fleet.do("leave", nodes=[before.name])
        await until(lambda: cluster.leader is not None)

        assert cluster.leader in cluster.nodes
        assert before not in cluster.nodes
