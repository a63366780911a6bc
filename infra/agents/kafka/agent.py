"""The Kafka adapter (agent-protocol.md 4): one broker, one shard per partition with a replica on it.

Which broker of the cluster is ours is told by its advertised address (``--client``, else ``--store``). Three requests,
however many partitions: Metadata, DescribeLogDirs (lag of the replicas here), and ListOffsets, one per leading broker.
A follower's offset is its leader's minus its lag: brokers tell followers' offsets to nobody else. The release is not in
the protocol; ``--store-version`` says it, and the finalized metadata.version is an attribute. The controller is whom the
quorum follows: as "controller" brokers name any one of themselves to clients, another each time.
"""

import asyncio
import logging

from infra.agents.kafka.broker import Broker
from infra.agents.kafka.partitions import Key, Partition, led_by, partitions_of, shard_of, under_replicated
from infra.agents.kafka.wire import (
    DescribeClusterRequest,
    DescribeClusterResponse,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeQuorumRequest,
    DescribeQuorumResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    MetadataRequest,
    MetadataResponse,
)
from infra.agents.kit.errors import StoreDownError, StoreError
from infra.agents.kit.handlers import Handlers
from infra.agents.kit.models import Attributes, NodeReport, Shard, Status, StoreReport, Unknown, Version
from infra.agents.kit.options import Options, join_address, parse_address

log = logging.getLogger(__name__)

LATEST = -1
METADATA_TOPIC = "__cluster_metadata"


class KafkaStore:
    """One broker as its agent sees it."""

    store_id = "kafka"

    def __init__(self, broker: Broker, options: Options) -> None:
        """Speak for the broker that advertises ``--client``, or ``--store``."""
        self._broker = broker
        self._cluster_id = options.cluster_id
        self._version = options.store_version
        self._expected_id = int(options.node_id) if options.node_id.isdecimal() and len(options.node_id) < 10 else None  # noqa: PLR2004
        self._peers: dict[str, Broker] = {}
        self.address = options.client or broker.address

    async def node(self) -> NodeReport:
        """Return status and what there is of a version."""
        cluster = await self._cluster()
        own = next((b for b in cluster.brokers if join_address(b.host, b.port) == self.address), None)
        features = await self._broker.features()
        attributes: dict[str, str | int | bool] = {"kafka.apache.org/mode": "kraft"}
        if "metadata.version" in features:
            attributes["kafka.apache.org/metadata.version"] = features["metadata.version"]
        if own is not None:
            attributes["kafka.apache.org/broker.id"] = own.broker_id
        status: Status | Unknown = Status.HEALTHY
        if own is None or bool(getattr(own, "is_fenced", False)):
            status = Status.UNHEALTHY
        elif self._expected_id not in {None, own.broker_id}:
            status = Unknown(f"the broker at {self.address} has id {own.broker_id}, not {self._expected_id}")
        return NodeReport(status, Version(self._version) if self._version else None, attributes)

    async def store(self) -> StoreReport:
        """Return Kafka's own cluster id, its brokers and controller, and what is under-replicated of what we lead."""
        cluster = await self._cluster()
        metadata = await self._broker.ask(MetadataRequest, MetadataResponse, topics=None)
        own = self._own(metadata)
        attributes: Attributes = {
            "kafka.apache.org/cluster.id": str(cluster.cluster_id),
            "kafka.apache.org/brokers": len(cluster.brokers),
            "kafka.apache.org/brokers.serving": len(metadata.brokers),
            "kafka.apache.org/controller.id": await self._controller(),
            "kafka.apache.org/partitions.under-replicated": None if own is None else under_replicated(metadata, own),
        }
        return StoreReport(self._cluster_id, attributes)

    async def shards(self) -> list[Shard]:
        """Return the partitions with a replica on this broker."""
        metadata = await self._broker.ask(MetadataRequest, MetadataResponse, topics=None)
        addresses = {broker.node_id: join_address(broker.host, broker.port) for broker in metadata.brokers}
        own = self._own(metadata)
        if own is None:
            message = f"no broker of the cluster advertises {self.address}: the broker is fenced, or --client is wrong"
            raise StoreError(message)
        partitions = partitions_of(metadata, own)
        lags = await self._lags()
        offsets = await self._offsets(partitions, addresses, own)
        return [shard_of(partition, own, offsets, lags) for partition in partitions]

    def actions(self) -> Handlers:
        """Return nothing: a broker has no actions of its own here."""
        return {}

    async def close(self) -> None:
        """Drop the connections."""
        for broker in (self._broker, *self._peers.values()):
            broker.close()

    def _own(self, metadata: MetadataResponse) -> int | None:
        """Return the id under which the cluster serves our broker's address; None while it does not."""
        return next((b.node_id for b in metadata.brokers if join_address(b.host, b.port) == self.address), None)

    async def _controller(self) -> int | None:
        """Return the id of the controller that the quorum follows; None where that cannot be told."""
        partition = DescribeQuorumRequest.TopicData.PartitionData(partition_index=0)
        topic = DescribeQuorumRequest.TopicData(topic_name=METADATA_TOPIC, partitions=[partition])
        try:
            answer = await self._broker.ask(DescribeQuorumRequest, DescribeQuorumResponse, topics=[topic])
        except StoreError as error:
            log.debug("no controller: %s", error)
            return None
        leaders = [told.leader_id for found in answer.topics for told in found.partitions if not told.error_code]
        return next((int(leader) for leader in leaders if leader >= 0), None)

    async def _cluster(self) -> DescribeClusterResponse:
        """Return the cluster's brokers, fenced ones included where the broker can tell."""
        answer = await self._broker.ask(DescribeClusterRequest, DescribeClusterResponse, include_fenced_brokers=True)
        if answer.error_code:
            message = f"Kafka at {self._broker.address} refused DescribeCluster: error code {answer.error_code}"
            raise StoreError(message)
        return answer

    async def _lags(self) -> dict[Key, int]:
        """Return how many messages each replica here is behind; those the broker cannot tell are left out."""
        answer = await self._broker.ask(DescribeLogDirsRequest, DescribeLogDirsResponse, topics=None)
        return {
            (topic.name, partition.partition_index): partition.offset_lag
            for folder in answer.results
            for topic in folder.topics
            for partition in topic.partitions
            if not partition.is_future_key and partition.offset_lag >= 0
        }

    async def _offsets(self, partitions: list[Partition], addresses: dict[int, str], own: int) -> dict[Key, int]:
        """Return the latest offset of each partition, asked from the broker that leads it."""
        asked = [
            self._latest(self._broker if leader == own else self._peer(addresses[leader]), keys)
            for leader, keys in led_by(partitions).items()
            if leader in addresses
        ]
        offsets: dict[Key, int] = {}
        for answer in await asyncio.gather(*asked):
            offsets.update(answer)
        return offsets

    async def _latest(self, broker: Broker, keys: list[Key]) -> dict[Key, int]:
        """Ask one broker for the latest offsets of partitions it leads; a peer that is down only leaves gaps."""
        topics: dict[str, list[int]] = {}
        for topic, index in keys:
            topics.setdefault(topic, []).append(index)
        wanted = [
            ListOffsetsRequest.ListOffsetsTopic(
                name=topic,
                partitions=[
                    ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(
                        partition_index=index, current_leader_epoch=-1, timestamp=LATEST
                    )
                    for index in indexes
                ],
            )
            for topic, indexes in topics.items()
        ]
        try:
            answer = await broker.ask(
                ListOffsetsRequest, ListOffsetsResponse, replica_id=-1, isolation_level=0, topics=wanted
            )
        except StoreDownError:
            if broker is self._broker:
                raise
            log.debug("peer %s is down", broker.address)
            return {}
        return {
            (topic.name, partition.partition_index): partition.offset
            for topic in answer.topics
            for partition in topic.partitions
            if not partition.error_code and partition.offset >= 0
        }

    def _peer(self, address: str) -> Broker:
        """Return the connection to another broker."""
        if address not in self._peers:
            self._peers[address] = Broker(*parse_address(address))
        return self._peers[address]


def build(options: Options) -> KafkaStore:
    """Return the adapter."""
    return KafkaStore(Broker(*parse_address(options.store)), options)
