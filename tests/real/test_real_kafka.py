"""Three real Kafka brokers with our agents: one is killed and comes back; leaders, replicas and health are right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from blocks.agents.client import HttpAgents
from blocks.agents.settings import AgentsSettings
from blocks.models.cluster import Health
from blocks.models.node import NodeStatus, Shard, ShardRole
from blocks.models.view import ClusterView
from doubles.engines import Cluster, kafka_cluster, with_agents
from doubles.sight import Sight, codes, health, problems, statuses

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

NAMES = ("kafka-1", "kafka-2", "kafka-3")
VICTIM = "kafka-3"
PARTITIONS, MESSAGES = 6, 10
UNDER_REPLICATED = "kafka.apache.org/partitions.under-replicated"
QUIET = {"log_level": 0}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The brokers, their agents, and a topic with three replicas of everything."""
    folder = tmp_path_factory.mktemp("engines")
    with (
        kafka_cluster(folder / "stack", NAMES) as made,
        with_agents(made, "kafka", "queue", folder / "agents", "--store-version", "4.4.0"),
    ):
        admin = AdminClient({"bootstrap.servers": made.addresses, **QUIET})
        admin.create_topics([NewTopic("orders", PARTITIONS, 3)])["orders"].result(20)
        producer = Producer({"bootstrap.servers": made.addresses, "acks": "all", **QUIET})
        for number in range(PARTITIONS * MESSAGES):
            producer.produce("orders", b"x", partition=number % PARTITIONS)
        producer.flush(20)
        yield made


@pytest.fixture(scope="module")
def sight(servers: Cluster) -> Sight:
    """The cluster as the product sees it; the tests build on each other, in order."""
    return Sight.of(servers, "queue")


def copies(view: ClusterView, *names: str) -> list[Shard]:
    """All copies of partitions on these brokers, or on all."""
    return [shard for name in names or NAMES for shard in view.nodes[name].shards]


def led(view: ClusterView, *names: str) -> int:
    """How many partitions these brokers lead."""
    return sum(shard.role is ShardRole.PRIMARY for shard in copies(view, *names))


def under_replicated(view: ClusterView, *names: str) -> int:
    """How many partitions lack a replica, as their leaders say."""
    return sum(int(view.nodes[name].store_attributes[UNDER_REPLICATED] or 0) for name in names)


def whole(view: ClusterView) -> bool:
    """Whether all brokers serve, and every replica is in sync."""
    in_sync = {ShardRole.PRIMARY, ShardRole.SECONDARY}
    return (
        set(statuses(view).values()) == {"HEALTHY"}
        and led(view) == PARTITIONS
        and {shard.role for shard in copies(view)} == in_sync
        and under_replicated(view, *NAMES) == 0
    )


async def test_a_whole_cluster(sight: Sight) -> None:
    """Each partition has one leader and two followers in sync, with offsets; and there is no problem."""
    view = await sight.steady(whole)

    offsets = {shard.commit_offset.value for shard in copies(view) if shard.commit_offset is not None}
    behind = {shard.lag.value for shard in copies(view) if shard.lag is not None}
    assert (3 * PARTITIONS, {MESSAGES}, {0}) == (len(copies(view)), offsets, behind)
    assert ([], Health.HEALTHY) == (problems(view), health(view))


async def test_nothing_happens(sight: Sight) -> None:
    """Looks at brokers that nothing happens to bring no event, however often (brokers name a random one as controller)."""
    before = len(sight.events)
    async with HttpAgents(AgentsSettings()) as agents:
        for _ in range(10):
            await sight.look(agents, 1.0)

    assert [] == sight.events[before:]


async def test_a_killed_broker(servers: Cluster, sight: Sight) -> None:
    """Its partitions are led by others and lack a replica; it is UNAVAILABLE, and what it last told of is kept as old."""
    servers.kill(VICTIM)
    living = [name for name in NAMES if name != VICTIM]

    view = await sight.steady(
        lambda view: (
            view.nodes[VICTIM].status is NodeStatus.UNAVAILABLE
            and led(view, *living) == PARTITIONS
            and under_replicated(view, *living) == PARTITIONS
        )
    )

    node = view.nodes[VICTIM]
    assert {**dict.fromkeys(living, "HEALTHY"), VICTIM: "UNAVAILABLE"} == statuses(view)
    assert (PARTITIONS, True) == (len(node.shards), node.shards_stale_since is not None)
    assert view.state is not None
    assert (PARTITIONS, PARTITIONS) == (view.state.shards, view.state.primaries)
    assert "STORE_UNAVAILABLE" in codes(view)
    assert not {"NO_PRIMARY", "SEVERAL_PRIMARIES", "OFFSET_WENT_BACK"} & codes(view)
    assert Health.DEGRADED is health(view)


async def test_back_again(servers: Cluster, sight: Sight) -> None:
    """A broker that is back is in sync again and leads nothing yet; no problem is left."""
    servers.start(VICTIM)

    view = await sight.steady(whole)

    assert 0 == led(view, VICTIM)
    assert ([], Health.HEALTHY) == (problems(view), health(view))


async def test_a_dead_agent(servers: Cluster, sight: Sight) -> None:
    """A broker whose agent is dead is UNREACHABLE, though it serves."""
    servers.agents[VICTIM].kill()

    view = await sight.steady(lambda view: view.nodes[VICTIM].status is NodeStatus.UNREACHABLE)

    assert "NODE_UNREACHABLE" in codes(view)
    assert PARTITIONS == len(view.nodes[VICTIM].shards)
    assert 0 == under_replicated(view, "kafka-1", "kafka-2")
