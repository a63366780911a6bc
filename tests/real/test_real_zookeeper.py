"""A real ensemble of three ZooKeepers with our agents: a lost follower, a lost quorum, a lost leader; the health is right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kazoo.client import KazooClient

from blocks.models.cluster import Health
from blocks.models.view import ClusterView
from doubles.engines import Cluster, with_agents, zookeeper_cluster
from doubles.sight import Sight, codes, health, lags, primaries, problems, roles, statuses

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

NAMES = ("zk-1", "zk-2", "zk-3")
EPOCH_BITS = 32


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The ensemble and its agents."""
    folder = tmp_path_factory.mktemp("engines")
    with (
        zookeeper_cluster(folder / "stack", NAMES) as made,
        with_agents(made, "zookeeper", "coordination", folder / "agents"),
    ):
        yield made


@pytest.fixture(scope="module")
def sight(servers: Cluster) -> Sight:
    """The cluster as the product sees it; the tests build on each other, in order."""
    return Sight.of(servers, "coordination")


def whole(view: ClusterView) -> bool:
    """Whether all are well, and one of them leads."""
    return set(statuses(view).values()) == {"HEALTHY"} and len(primaries(view)) == 1


def lost(*names: str) -> dict[str, str]:
    """The statuses when these are dead."""
    return {name: "UNAVAILABLE" if name in names else "HEALTHY" for name in NAMES}


def epochs(view: ClusterView) -> dict[str, int]:
    """By node, the epoch of its last transaction."""
    found = {name: view.nodes[name].shards[0].commit_offset for name in NAMES}
    return {name: offset.value >> EPOCH_BITS for name, offset in found.items() if offset is not None}


def write(servers: Cluster, path: str) -> None:
    """Write to the ensemble."""
    client = KazooClient(hosts=servers.addresses)
    client.start(timeout=20)
    client.create(path)
    client.stop()
    client.close()


async def test_a_whole_ensemble(servers: Cluster, sight: Sight) -> None:
    """A leader and two followers, all of one epoch, none of them with a lag; and no problem."""
    write(servers, "/first")

    view = await sight.steady(whole)

    [leader] = primaries(view)
    assert {name: "primary" if name == leader else "secondary" for name in NAMES} == roles(view)
    assert 1 == len(set(epochs(view).values()))
    assert dict.fromkeys(NAMES, False) == lags(view)
    assert ([], Health.HEALTHY) == (problems(view), health(view))


async def test_a_lost_follower(servers: Cluster, sight: Sight) -> None:
    """With one of three dead the others serve on, and the majority is at risk."""
    [leader] = primaries(sight.view)
    follower = next(name for name in NAMES if name != leader)
    servers.kill(follower)

    view = await sight.steady(lambda view: statuses(view) == lost(follower))

    assert [leader] == primaries(view)
    assert {"MAJORITY_AT_RISK", "STORE_UNAVAILABLE"} <= codes(view)
    assert Health.DEGRADED is health(view)


async def test_a_lost_quorum(servers: Cluster, sight: Sight) -> None:
    """With two of three dead the last one runs and does not serve: UNHEALTHY with the reason, its last facts kept."""
    [leader] = primaries(sight.view)
    other = next(name for name, status in statuses(sight.view).items() if status == "HEALTHY" and name != leader)
    servers.kill(other)

    view = await sight.steady(lambda view: statuses(view)[leader] == "UNHEALTHY")

    node = view.nodes[leader]
    assert "no quorum" == node.attributes["zookeeper.apache.org/mode"]
    assert (1, True) == (len(node.shards), node.shards_stale_since is not None)
    assert {} == roles(view)
    assert "CLUSTER_NOT_SERVING" in codes(view)
    assert Health.CRITICAL is health(view)


async def test_back_again(servers: Cluster, sight: Sight) -> None:
    """With all three back there is a leader in a newer epoch. A follower of an older epoch is not said to be behind, nor to
    have lost anything.
    """
    before = max(epochs(sight.view).values())
    servers.start(*(name for name, status in statuses(sight.view).items() if status == "UNAVAILABLE"))

    view = await sight.steady(whole)

    [leader] = primaries(view)
    assert before < epochs(view)[leader]
    assert dict.fromkeys(NAMES, False) == lags(view)
    assert ([], Health.HEALTHY) == (problems(view), health(view))


async def test_a_lost_leader(servers: Cluster, sight: Sight) -> None:
    """When the leader dies one of the others leads, in a newer epoch, and the dead one counts as nothing."""
    [before] = primaries(sight.view)
    epoch = epochs(sight.view)[before]
    servers.kill(before)

    view = await sight.steady(lambda view: statuses(view) == lost(before) and len(primaries(view)) == 1)

    [leader] = primaries(view)
    assert (True, True) == (leader != before, epoch < epochs(view)[leader])
    assert {"MAJORITY_AT_RISK", "STORE_UNAVAILABLE"} <= codes(view)
    assert not {"SEVERAL_PRIMARIES", "NO_PRIMARY", "OFFSET_WENT_BACK"} & codes(view)
