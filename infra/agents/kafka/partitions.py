"""What a broker's metadata says about its partitions, as pure functions: who leads, who is in sync, how far."""

from dataclasses import dataclass
from typing import TypeAlias

from infra.agents.kafka.wire import MetadataResponse
from infra.agents.kit.models import Offset, Other, Role, Shard

Key: TypeAlias = tuple[str, int]

NO_LEADER = -1


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition with a replica on the broker in question."""

    key: Key
    leader: int
    in_sync: bool
    offline: bool

    def role(self, broker_id: int) -> Role | Other:
        """Return what the broker is to the partition: by its real leader, not the preferred one."""
        if self.leader == NO_LEADER or self.offline:
            return Other("OFFLINE" if self.offline else "NO_LEADER")
        if self.leader == broker_id:
            return Role.PRIMARY
        return Role.SECONDARY if self.in_sync else Role.RECOVERING


def partitions_of(metadata: MetadataResponse, broker_id: int) -> list[Partition]:
    """Return the partitions with a replica on a broker, in order of topic and number."""
    found = [
        Partition(
            key=(topic.name, partition.partition_index),
            leader=partition.leader_id,
            in_sync=broker_id in partition.isr_nodes,
            offline=broker_id in (partition.offline_replicas or []),
        )
        for topic in metadata.topics
        if topic.name is not None
        for partition in topic.partitions
        if broker_id in partition.replica_nodes
    ]
    return sorted(found, key=lambda partition: partition.key)


def under_replicated(metadata: MetadataResponse, broker_id: int) -> int:
    """Return how many partitions that a broker leads have a replica that is not in sync."""
    return sum(
        len(partition.isr_nodes) < len(partition.replica_nodes)
        for topic in metadata.topics
        for partition in topic.partitions
        if partition.leader_id == broker_id
    )


def led_by(partitions: list[Partition]) -> dict[int, list[Key]]:
    """Return the partitions' keys by the broker that leads them."""
    leaders: dict[int, list[Key]] = {}
    for partition in partitions:
        if partition.leader != NO_LEADER:
            leaders.setdefault(partition.leader, []).append(partition.key)
    return leaders


def shard_of(partition: Partition, broker_id: int, offsets: dict[Key, int], lags: dict[Key, int]) -> Shard:
    """Return a partition as a shard.

    Args:
        partition: The partition.
        broker_id: Whose replica it is.
        offsets: Latest offset of each partition, from its leader.
        lags: Messages by which the replicas of this broker are behind.
    """
    role = partition.role(broker_id)
    offset = offsets.get(partition.key)
    lag = lags.get(partition.key) if role in {Role.SECONDARY, Role.RECOVERING} else None
    if role is not Role.PRIMARY:
        offset = None if offset is None or lag is None else max(offset - lag, 0)
    return Shard(
        id=f"{partition.key[0]}/{partition.key[1]}",
        role=role,
        commit_offset=None if offset is None else Offset(offset, "offset"),
        lag=None if lag is None else Offset(lag, "messages"),
    )
