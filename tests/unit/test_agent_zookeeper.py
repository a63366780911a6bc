"""The ZooKeeper agent: reading four-letter words, from text and from a socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from infra.agents.kit.errors import StoreDownError, StoreError
from infra.agents.kit.models import Offset, Other, Role, Shard, Status, StoreReport, Version
from infra.agents.zookeeper import NoQuorumError, ZooKeeperStore, parse_srvr, parse_version

HASH = "293c895a8d966a3ecb92872be4a1daf87d725da2"


def srvr(mode: str = "standalone", zxid: str = "0x300000002", version: str = f"3.9.5-{HASH}") -> str:
    """Return an answer to ``srvr``."""
    return (
        f"Zookeeper version: {version}, built on 2026-01-01 00:00 UTC\nLatency min/avg/max: 0/0.0/0\nReceived: 1\n"
        f"Sent: 0\nConnections: 1\nOutstanding: 0\nZxid: {zxid}\nMode: {mode}\nNode count: 5\n"
    )


@asynccontextmanager
async def server(answers: dict[str, str | bytes]) -> AsyncIterator[ZooKeeperStore]:
    """Serve four-letter words on a socket, and return the agent's view of it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word = (await reader.readexactly(4)).decode()
        text = answers.get(word, "")
        writer.write(text if isinstance(text, bytes) else text.encode())
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield ZooKeeperStore("127.0.0.1", listening.sockets[0].getsockname()[1], "coordination", "3.9.5")


class TestVersion:
    """The version line."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (f"3.9.5-{HASH}, built on 2026-01-01", Version("3.9.5", checkout=HASH)),
            ("3.8.0-${mvngit.commit.id}, built on x", Version("3.8.0")),
            ("3.5.0-alpha-1234567, built on x", Version("3.5.0-alpha", checkout="1234567")),
            (
                "3.4.14-4c25d480e66aadd371de8bd2fd8da255ac140bcf-dirty",
                Version("3.4.14", checkout="4c25d480e66aadd371de8bd2fd8da255ac140bcf"),
            ),
            ("nonsense", None),
            ("", None),
        ],
    )
    def test_parse(self, text: str, expected: Version | None) -> None:
        """The hash is kept only when it is one."""
        assert expected == parse_version(text)


class TestSrvr:
    """The answer to srvr."""

    def test_zxid_is_signed(self) -> None:
        """A zxid is a signed 64 bit number."""
        assert -1 == parse_srvr(srvr(zxid="0xffffffffffffffff")).zxid

    @pytest.mark.parametrize(
        "text", ["", "HTTP/1.1 400 Bad Request", srvr(mode=""), srvr(zxid="7"), srvr(zxid="0x" + "f" * 17)]
    )
    def test_something_else(self, text: str) -> None:
        """What is not an answer to srvr is an error that shows it."""
        with pytest.raises(StoreError, match="unexpected answer to srvr"):
            parse_srvr(text)


class TestStore:
    """The adapter on a socket."""

    @pytest.mark.parametrize(
        ("mode", "role"),
        [
            ("standalone", Role.PRIMARY),
            ("leader", Role.PRIMARY),
            ("follower", Role.SECONDARY),
            ("observer", Other("observer")),
        ],
    )
    async def test_serving(self, mode: str, role: Role | Other) -> None:
        """A serving server is HEALTHY with its version and mode; its shard has the zxid and no lag."""
        async with server({"srvr": srvr(mode)}) as store:
            node, shards = await store.node(), await store.shards()

        assert (Status.HEALTHY, Version("3.9.5", checkout=HASH)) == (node.status, node.version)
        assert {"zookeeper.apache.org/mode": mode} == node.attributes
        assert [Shard("coordination", role, Offset(0x300000002, "zxid"))] == shards

    async def test_no_quorum(self) -> None:
        """A server without a quorum is UNHEALTHY and says why; its shards are an error."""
        text = "This ZooKeeper instance is not currently serving requests\n"
        async with server({"srvr": text}) as store:
            node = await store.node()
            with pytest.raises(NoQuorumError):
                await store.shards()

        assert Status.UNHEALTHY == node.status
        assert {"zookeeper.apache.org/mode": "no quorum"} == node.attributes

    async def test_refused(self) -> None:
        """A server that does not listen is down."""
        async with server({}) as store:
            pass

        with pytest.raises(StoreDownError, match="does not answer srvr"):
            await store.node()

    async def test_closed(self) -> None:
        """A connection closed without an answer is a server that is down."""
        async with server({"srvr": ""}) as store:
            with pytest.raises(StoreDownError, match="closed the connection without an answer"):
                await store.node()

    async def test_too_much(self) -> None:
        """An endless answer is cut off."""
        async with server({"srvr": b"x" * 1_000_000}) as store:
            with pytest.raises(StoreError, match="more than 262144 bytes"):
                await store.node()

    async def test_attributes(self) -> None:
        """What changes with the ensemble becomes an attribute; counters do not."""
        text = "zk_version\t3.9.5\nzk_znode_count\t5\nzk_quorum_size\t3\nzk_server_state\tleader\n"
        async with server({"mntr": text}) as store:
            found = await store.store()

        assert (
            StoreReport(
                "coordination",
                {"zookeeper.apache.org/quorum.size": 3, "zookeeper.apache.org/server.state": "leader"},
            )
            == found
        )

    async def test_not_allowed(self) -> None:
        """Where mntr is not allowed there are no attributes, and no error."""
        async with server({"mntr": "mntr is not executed because it is not in the whitelist.\n"}) as store:
            found = await store.store()

        assert StoreReport("coordination") == found
