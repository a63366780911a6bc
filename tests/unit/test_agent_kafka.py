"""The Kafka agent's decisions: partitions, roles, offsets and lags from a broker's metadata."""

import asyncio
from types import SimpleNamespace

import pytest

from infra.agents.kafka.broker import Broker
from infra.agents.kafka.partitions import Partition, led_by, partitions_of, shard_of, under_replicated
from infra.agents.kafka.wire import DescribeClusterRequest, DescribeClusterResponse, MetadataResponse
from infra.agents.kit.errors import StoreDownError, StoreError
from infra.agents.kit.models import Offset, Other, Role, Shard

KEY = ("orders", 0)


def metadata(**topics: list[tuple[int, list[int], list[int], list[int]]]) -> MetadataResponse:
    """Return metadata; each partition is (leader, replicas, in sync, offline)."""
    found = [
        SimpleNamespace(
            name=name,
            partitions=[
                SimpleNamespace(
                    partition_index=index,
                    leader_id=leader,
                    replica_nodes=replicas,
                    isr_nodes=in_sync,
                    offline_replicas=offline,
                )
                for index, (leader, replicas, in_sync, offline) in enumerate(partitions)
            ],
        )
        for name, partitions in topics.items()
    ]
    return SimpleNamespace(topics=found)


class TestPartitions:
    """Which partitions are on a broker."""

    def test_ours_only(self) -> None:
        """Only partitions with a replica here are told, in order."""
        answer = metadata(
            b=[(2, [2, 3], [2, 3], []), (1, [1, 2], [1], [])],
            a=[(2, [1, 2], [2], [1])],
        )

        assert [
            Partition(("a", 0), leader=2, in_sync=False, offline=True),
            Partition(("b", 1), leader=1, in_sync=True, offline=False),
        ] == partitions_of(answer, 1)

    def test_under_replicated(self) -> None:
        """Only partitions that the broker leads count, and only those that lack a replica."""
        answer = metadata(a=[(1, [1, 2], [1], []), (1, [1, 2], [1, 2], []), (2, [1, 2], [2], [1])])

        assert [1, 1, 0] == [under_replicated(answer, broker) for broker in (1, 2, 3)]

    def test_led_by(self) -> None:
        """Partitions are grouped by leader, so that each leader is asked once; those without one are left out."""
        partitions = [
            Partition(("a", index), leader=leader, in_sync=True, offline=False)
            for index, leader in enumerate((1, 2, 1, -1))
        ]

        assert {1: [("a", 0), ("a", 2)], 2: [("a", 1)]} == led_by(partitions)


class TestShard:
    """A partition as a shard of broker 1."""

    @pytest.mark.parametrize(
        ("partition", "expected"),
        [
            (
                Partition(KEY, leader=1, in_sync=True, offline=False),
                Shard("orders/0", Role.PRIMARY, Offset(100, "offset")),
            ),
            (
                Partition(KEY, leader=2, in_sync=True, offline=False),
                Shard("orders/0", Role.SECONDARY, Offset(93, "offset"), Offset(7, "messages")),
            ),
            (
                Partition(KEY, leader=2, in_sync=False, offline=False),
                Shard("orders/0", Role.RECOVERING, Offset(93, "offset"), Offset(7, "messages")),
            ),
            (Partition(KEY, leader=-1, in_sync=True, offline=False), Shard("orders/0", Other("NO_LEADER"))),
            (Partition(KEY, leader=2, in_sync=False, offline=True), Shard("orders/0", Other("OFFLINE"))),
        ],
    )
    def test_roles(self, partition: Partition, expected: Shard) -> None:
        """The real leader is primary; a follower's offset is its leader's minus its lag."""
        assert expected == shard_of(partition, 1, {KEY: 100}, {KEY: 7})

    def test_unknown_lag(self) -> None:
        """A follower whose lag the broker cannot tell has neither lag nor offset: nothing is invented."""
        partition = Partition(KEY, leader=2, in_sync=True, offline=False)

        assert Shard("orders/0", Role.SECONDARY) == shard_of(partition, 1, {KEY: 100}, {})

    def test_unknown_offset(self) -> None:
        """A follower whose leader does not answer still has its lag."""
        partition = Partition(KEY, leader=2, in_sync=True, offline=False)

        assert Shard("orders/0", Role.SECONDARY, lag=Offset(7, "messages")) == shard_of(partition, 1, {}, {KEY: 7})


class TestBroker:
    """A server that is not a broker."""

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (b"", StoreDownError),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", StoreError),
            (b"\x00\x00\x00\x04\x00\x00\x00\x63", StoreError),
            (b"\xff\xff\xff\xff", StoreError),
        ],
    )
    async def test_something_else(self, answer: bytes, error: type[StoreError]) -> None:
        """Whatever else answers is an error of ours, never one of the client library's."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1024)
            writer.write(answer)
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with listening:
            broker = Broker("127.0.0.1", listening.sockets[0].getsockname()[1])
            with pytest.raises(error):
                await broker.ask(DescribeClusterRequest, DescribeClusterResponse)

    async def test_refused(self) -> None:
        """A broker that does not listen is down."""
        broker = Broker("127.0.0.1", 1)

        with pytest.raises(StoreDownError, match="does not answer DescribeClusterRequest: ConnectionRefusedError"):
            await broker.ask(DescribeClusterRequest, DescribeClusterResponse)
