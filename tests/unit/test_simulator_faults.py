"""What can be wrong with simulated agents, as a client of theirs sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest

from doubles.actions import action_id
from doubles.eventually import until
from doubles.simulation import ROOT, SUCCESS, Simulation, simulation
from infra.simulator.model import Kind, Node

NODE = "/info/node"


@pytest.fixture
async def fleet() -> AsyncIterator[Simulation]:
    """A replica set, whose first node has a listener of its own."""
    async with simulation(refusable=1) as running:
        yield running


@pytest.fixture
def refusing(fleet: Simulation) -> Node:
    """The node with a listener of its own."""
    return next(node for node in fleet.fleet.nodes.values() if node.refusable)


@pytest.fixture
def sharing(fleet: Simulation) -> Node:
    """A node that shares its listener."""
    return next(node for node in fleet.fleet.nodes.values() if not node.refusable)


async def connect(node: Node, within_s: float = 5.0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to an agent."""
    async with asyncio.timeout(within_s):
        return await asyncio.open_connection(node.host, node.port)


def get(path: str = NODE) -> bytes:
    """A request."""
    return f"GET {ROOT}{path} HTTP/1.1\r\nHost: h\r\n\r\n".encode()


class TestDead:
    async def test_a_port_of_its_own_is_closed(self, fleet: Simulation, refusing: Node) -> None:
        """The kernel refuses; healed, the agent answers again."""
        fleet.do("kill", nodes=[refusing.name])
        await until(lambda: not refusing.connections)
        with pytest.raises(ConnectionRefusedError):
            await until_refused(refusing)
        fleet.do("heal")

        assert refusing.name == (await fleet.told(refusing, NODE))["node_id"]

    async def test_a_shared_port_resets(self, fleet: Simulation, sharing: Node) -> None:
        """Accepted by the kernel, broken off at once, and recorded as refused."""
        fleet.do("kill", nodes=[sharing.name])
        with pytest.raises(httpx.HTTPError):
            await fleet.get(sharing, NODE)
        fleet.do("heal")

        assert 200 == (await fleet.get(sharing, NODE)).status_code
        assert [sharing.name] == [line["node"] for line in fleet.fleet.record.lines(what="refused")]

    async def test_open_connections_are_reset(self, fleet: Simulation, sharing: Node) -> None:
        """Whoever is connected gets an error, not an end of file."""
        reader, writer = await connect(sharing)
        await until(lambda: bool(sharing.connections))
        fleet.do("kill", nodes=[sharing.name])

        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

    async def test_a_dead_machine_is_noticed_by_its_cluster(self, fleet: Simulation) -> None:
        """Its peers elect; an agent alone takes nothing with it."""
        cluster = fleet.node().cluster
        cluster.leader = first = fleet.node(0)
        fleet.do("kill", nodes=[first.name])
        unmoved = cluster.leader
        fleet.do("kill", nodes=[first.name], machine=True)
        none = cluster.leader
        await until(lambda: cluster.leader is not None)

        assert (first, None, fleet.node(1)) == (unmoved, none, cluster.leader)

    async def test_without_a_majority_nobody_leads(self, fleet: Simulation) -> None:
        """Two of three are gone: a leader that is left steps down."""
        cluster = fleet.node().cluster
        cluster.leader = fleet.node(0)
        fleet.do("kill", nodes=[fleet.node(1).name, fleet.node(2).name], machine=True)

        assert None is cluster.leader


async def until_refused(node: Node) -> None:
    """Connect until that is refused: a listener closes at the loop's next turn."""
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await connect(node)
            except ConnectionResetError:
                continue
            writer.close()
            await asyncio.sleep(0)


class TestBlackHole:
    @pytest.mark.parametrize("own", [True, False])
    async def test_nobody_gets_through(self, fleet: Simulation, own: bool) -> None:
        """A new connection is never established, in contrast to those of others; healed, it is."""
        node = next(node for node in fleet.fleet.nodes.values() if node.refusable is own)
        other = next(other for other in fleet.fleet.nodes.values() if other is not node)
        fleet.do("black_hole", nodes=[node.name])
        assert 200 == (await fleet.get(other, NODE)).status_code
        with pytest.raises(TimeoutError):
            await connect(node, within_s=0.2)
        fleet.do("heal")
        assert 200 == (await fleet.get(other, NODE)).status_code

        assert 200 == (await fleet.get(node, NODE)).status_code

    async def test_open_connections_fall_silent(self, fleet: Simulation, sharing: Node) -> None:
        """The request is received, recorded without a status, and never answered."""
        reader, writer = await connect(sharing)
        await until(lambda: bool(sharing.connections))
        fleet.do("black_hole", nodes=[sharing.name])
        writer.write(get())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        writer.close()

        assert [0] == [line["status"] for line in fleet.fleet.record.lines(node=sharing.name, what="request")]


class TestSlow:
    async def test_answers_wait(self, fleet: Simulation, sharing: Node) -> None:
        """Each of those meant, for at least as long; others do not."""
        fleet.do("slow", nodes=[sharing.name], delay_s=0.1, paths=["info/shards"])
        began = time.monotonic()
        await fleet.get(sharing, "/info/shards")
        took = time.monotonic() - began
        await fleet.get(sharing, NODE)

        assert 0.1 <= took
        assert sharing.ready == {}

    async def test_a_request_has_its_effect_before_the_answer(self, fleet: Simulation, sharing: Node) -> None:
        """Who gives up waiting does not know, but the action runs."""
        fleet.do("slow", nodes=[sharing.name], delay_s=3_600)
        with pytest.raises(httpx.ReadTimeout):
            await fleet.client.post(
                f"{sharing.url}{ROOT}/action", json={"id": action_id(1), "kind": SUCCESS}, timeout=0.2
            )
        await until(lambda: action_id(1) in sharing.book.finished)

        assert ["POST"] == [line["method"] for line in fleet.fleet.record.lines(what="request")]

    async def test_a_body_comes_byte_by_byte(self, fleet: Simulation, sharing: Node) -> None:
        """The head at once, then one byte at a time."""
        fleet.do("trickle", nodes=[sharing.name], interval_s=0.02)
        reader, writer = await connect(sharing)
        writer.write(get())
        await reader.readuntil(b"\r\n\r\n")
        first = await reader.read(100)
        second = await reader.read(100)
        writer.close()

        assert (b"{", b'"') == (first, second)


class TestWrongAnswers:
    async def test_the_connection_is_closed_instead(self, fleet: Simulation, sharing: Node) -> None:
        """End of file without an answer, and without an effect."""
        fleet.do("hang_up", nodes=[sharing.name])
        with pytest.raises(httpx.RemoteProtocolError):
            await fleet.schedule(sharing, id=action_id(1), kind=SUCCESS)
        fleet.do("hang_up", nodes=[sharing.name], taken=True)
        with pytest.raises(httpx.RemoteProtocolError):
            await fleet.schedule(sharing, id=action_id(2), kind=SUCCESS)
        await until(lambda: len(sharing.book.finished) == 1)

        posts = [(line["status"], line["answer"]) for line in fleet.fleet.record.lines(what="request")]
        assert {action_id(2)} == set(sharing.book.finished)
        assert [(0, None), (200, orjson.dumps({"id": action_id(2)}).decode())] == posts

    async def test_another_identity(self, fleet: Simulation, sharing: Node) -> None:
        """The agent speaks for another node in another cluster, until it is healed."""
        fleet.do("wrong_identity", nodes=[sharing.name], node_id="x", cluster_id="y")
        wrong = await fleet.told(sharing, NODE), await fleet.told(sharing, "/info/store")
        fleet.do("heal")
        right = await fleet.told(sharing, NODE), await fleet.told(sharing, "/info/store")

        assert ("x", "y") == (wrong[0]["node_id"], wrong[1]["cluster_id"])
        assert (sharing.name, "mongodb-00000") == (right[0]["node_id"], right[1]["cluster_id"])

    @pytest.mark.parametrize("declared", [True, False])
    async def test_a_huge_body_has_exactly_the_size(self, fleet: Simulation, sharing: Node, declared: bool) -> None:
        """Valid JSON, with a length before it or in chunks."""
        size = 3_000_001
        fleet.do("huge", nodes=[sharing.name], size_bytes=size, declared=declared)
        answer = await fleet.get(sharing, NODE)

        assert (size, ["padding"]) == (len(answer.content), list(answer.json()))
        assert declared is ("content-length" in answer.headers)

    async def test_a_huge_body_is_not_made_for_nobody(self, fleet: Simulation, sharing: Node) -> None:
        """A client that does not read is not sent more, and its leaving ends it."""
        fleet.do("huge", nodes=[sharing.name], size_bytes=4 * 1024**3)
        reader, writer = await connect(sharing)
        writer.write(get())
        await reader.readexactly(1_000)
        writer.transport.abort()

        await until(lambda: not sharing.connections)

    @pytest.mark.parametrize("form", ["html", "text", "truncated", "binary", "nan", "empty"])
    async def test_garbage_is_no_json(self, fleet: Simulation, sharing: Node, form: str) -> None:
        """Whatever the form, the status is 200."""
        fleet.do("garbage", nodes=[sharing.name], form=form)
        answer = await fleet.get(sharing, NODE)

        assert 200 == answer.status_code
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(answer.content)

    async def test_garbage_of_the_wrong_types(self, fleet: Simulation, sharing: Node) -> None:
        """The keys are right, the values are not."""
        right = await fleet.told(sharing, NODE)
        fleet.do("garbage", nodes=[sharing.name], form="types")

        assert {key: [0] for key in right} == await fleet.told(sharing, NODE)

    async def test_an_error_of_a_proxy(self, fleet: Simulation, sharing: Node) -> None:
        """A status, plain text, and when to come back."""
        fleet.do("fail", nodes=[sharing.name], status=429, retry_after_s=7)
        answer = await fleet.get(sharing, NODE)

        assert (429, "7", "upstream connect error") == (answer.status_code, answer.headers["retry-after"], answer.text)


class TestInTime:
    async def test_a_fault_ends_by_itself(self, fleet: Simulation, sharing: Node) -> None:
        """After `for_s` the node is well, and both moments are recorded."""
        fleet.do("fail", nodes=[sharing.name], for_s=0.05)
        await until(lambda: sharing.fault is None)

        faults = list(fleet.fleet.record.lines(what="fault"))
        assert ["fail", None] == [line["fault"] for line in faults]

    async def test_another_fault_takes_its_place(self, fleet: Simulation, sharing: Node) -> None:
        """The end of the first one does not end the second."""
        fleet.do("fail", nodes=[sharing.name], for_s=0.02)
        fleet.do("garbage", nodes=[sharing.name])
        fleet.do("slow", nodes=[fleet.node(2).name], for_s=0.04)
        await until(lambda: fleet.node(2).fault is None)

        assert sharing.fault is not None
        assert "garbage" == sharing.fault.do

    async def test_flapping(self, fleet: Simulation, sharing: Node) -> None:
        """Well and ill in turn; healed, it stays well."""
        fleet.do("flap", nodes=[sharing.name], up_s=0.01, down_s=0.01)

        def changes() -> list[object]:
            return [line["fault"] for line in fleet.fleet.record.lines(node=sharing.name, what="fault")]

        await until(lambda: len(changes()) >= 4)
        fleet.do("heal")

        assert ["kill", None, "kill", None] == changes()[:4]
        assert (True, None) == (sharing.agent_up, sharing.fault)

    async def test_rolling_elections(self) -> None:
        """One cluster after the other changes its leader, again and again, until told to stop."""
        async with simulation(Kind.MONGODB, Kind.ZOOKEEPER) as fleet:
            fleet.do("roll", every_s=0.01, gap_s=0)

            def leaders() -> list[object]:
                elections = fleet.fleet.record.lines(what="election")
                return [line["cluster"] for line in elections if line["leader"] is not None]

            await until(lambda: len(leaders()) >= 4)
            fleet.do("roll", every_s=None)

        assert ["mongodb-00000", "zookeeper-00001"] * 2 == leaders()[:4]


class TestConnections:
    async def test_idle_ones_are_closed(self) -> None:
        """After the keep-alive time, as real agents do."""
        async with simulation(settings={"keep_alive_s": 0.1}) as fleet:
            reader, writer = await connect(fleet.node())
            async with asyncio.timeout(5):
                left = await reader.read()
            writer.close()

        assert b"" == left

    async def test_a_stranger_is_reset(self, fleet: Simulation) -> None:
        """An address of no agent, on the port that all share."""
        port = fleet.node(2).port
        with pytest.raises(httpx.HTTPError):
            await fleet.client.get(f"http://127.99.0.1:{port}{ROOT}{NODE}")

        assert [] == list(fleet.fleet.record.lines())

    async def test_offsets_grow(self) -> None:
        """Every so often, each answer about shards is another one."""
        async with simulation(settings={"offsets_every_s": 0.1}) as fleet:
            first = await fleet.told(fleet.node(), "/info/shards")
            tick = fleet.fleet.tick
            await until(lambda: fleet.fleet.tick > tick)
            second = await fleet.told(fleet.node(), "/info/shards")

        assert first["shards"][0]["commit_offset"]["value"] < second["shards"][0]["commit_offset"]["value"]
