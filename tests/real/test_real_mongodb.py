"""Five real mongods with our agents: an arbiter, a hidden member, members that die, elections under load; the health is right."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from blocks.agents.client import HttpAgents
from blocks.agents.settings import AgentsSettings
from blocks.models.cluster import Health
from blocks.models.node import NodeStatus
from blocks.models.view import ClusterView
from doubles.engines import WITHIN_S, Cluster, command, formed, mongodb_cluster, with_agents
from doubles.sight import Sight, are, codes, health, lags, primaries, problems, roles, said, statuses

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

DATA = ("orders-1", "orders-2", "orders-3")
HIDDEN, ARBITER = "orders-hidden", "orders-arbiter"
NAMES = (*DATA, HIDDEN, ARBITER)
EVERY_S = 0.1
CALM_S = 1.0
"""For so long one and the same primary ends an election."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Five mongods that know nothing of each other yet, and their agents."""
    folder = tmp_path_factory.mktemp("engines")
    with (
        mongodb_cluster(folder / "stack", NAMES) as made,
        with_agents(made, "mongodb", "orders", folder / "agents"),
    ):
        yield made


@pytest.fixture(scope="module")
def sight(servers: Cluster) -> Sight:
    """The cluster as the product sees it; the tests build on each other, in order."""
    return Sight.of(servers, "orders")


def whole(view: ClusterView) -> bool:
    """Whether everybody is well, and one of them leads."""
    return set(statuses(view).values()) == {"HEALTHY"} and len(primaries(view)) == 1


@contextmanager
def load(servers: Cluster) -> Iterator[list[str]]:
    """Write all the time, as an application does; gives, for each write that was acknowledged, the primary at that time."""
    over, written = threading.Event(), list[str]()
    uri = f"mongodb://{','.join(servers.address(name) for name in DATA)}/?replicaSet=orders"

    def write() -> None:
        with MongoClient[dict[str, Any]](uri, heartbeatFrequencyMS=500, timeoutMS=5_000) as client:
            while not over.wait(0.002):
                try:
                    client.load.writes.insert_one({"x": 1})
                    host, port = client.primary or ("?", 0)
                except PyMongoError:
                    continue
                written.append(f"{host}:{port}")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield written
    finally:
        over.set()
        writer.join(WITHIN_S)


async def until_calm(sight: Sight, before: str, looks: list[ClusterView]) -> str:
    """Look, as time really passes, until another than `before` has led for a while, and nobody beside it."""
    async with HttpAgents(AgentsSettings()) as agents:
        last, since, leader = time.monotonic(), 0.0, before
        deadline = last + WITHIN_S
        while leader == before or last - since < CALM_S:
            time_s = time.monotonic()
            looks.append(await sight.look(agents, time_s - last + EVERY_S))
            last = time_s
            found = primaries(looks[-1])
            if found != [leader] or leader == before:
                leader, since = (found[0] if len(found) == 1 else before), time_s
            assert time_s < deadline, f"no other primary than {before}; last seen {said(looks[-1])}"
        return leader


async def test_before_there_is_a_set(sight: Sight) -> None:
    """Mongods without a set are in no cluster, and serve nothing."""
    view = await sight.steady(lambda view: set(statuses(view).values()) == {"NOT_IN_CLUSTER"})

    assert (Health.CRITICAL, set()) == (health(view), set(primaries(view)))


async def test_a_whole_set(servers: Cluster, sight: Sight) -> None:
    """Everybody is well, the arbiter too; it has a role of its own and neither offset nor lag; the hidden one is said so."""
    formed(servers, orders_hidden={"priority": 0, "hidden": True}, orders_arbiter={"arbiterOnly": True})

    view = await sight.steady(whole)

    [leader] = primaries(view)
    followers = {name: "secondary" for name in (*DATA, HIDDEN) if name != leader}
    assert {leader: "primary", ARBITER: "ARBITER", **followers} == roles(view)
    assert {name: name in followers for name in NAMES} == lags(view)
    assert [None] == [shard.commit_offset for shard in view.nodes[ARBITER].shards]
    assert [HIDDEN] == [name for name in NAMES if "mongodb.com/member.hidden" in view.nodes[name].attributes]
    assert ([], Health.HEALTHY) == (problems(view), health(view))


async def test_a_primary_steps_down_under_load(servers: Cluster, sight: Sight) -> None:
    """Each look during an election is right: nobody is ill, no two primaries are a problem, and the new one is seen."""
    [before] = primaries(sight.view)
    looks: list[ClusterView] = []
    with load(servers) as written:
        command(servers, before, "replSetStepDown", 20, secondaryCatchUpPeriodSecs=5)
        leader = await until_calm(sight, before, looks)
        count = len(written)
        await until_calm(sight, "", looks)

    assert {frozenset({"HEALTHY"})} == {frozenset(statuses(look).values()) for look in looks}
    assert not {"SEVERAL_PRIMARIES", "NO_PRIMARY"} & set().union(*(codes(look) for look in looks))
    assert {servers.address(leader)} == set(written[count:])


async def test_a_primary_dies_under_load(servers: Cluster, sight: Sight) -> None:
    """From the first look after kill -9 on the old primary is UNAVAILABLE, the others are well; then another leads."""
    [before] = primaries(sight.view)
    looks: list[ClusterView] = []
    with load(servers) as written:
        servers.kill(before)
        leader = await until_calm(sight, before, looks)
        count = len(written)
        await until_calm(sight, "", looks)

    expected = {name: "UNAVAILABLE" if name == before else "HEALTHY" for name in NAMES}
    assert [expected] * len(looks) == [statuses(look) for look in looks]
    assert not {"SEVERAL_PRIMARIES", "MAJORITY_AT_RISK"} & set().union(*(codes(look) for look in looks))
    assert {servers.address(leader)} == set(written[count:])
    assert (Health.DEGRADED, True) == (health(looks[-1]), "STORE_UNAVAILABLE" in codes(looks[-1]))


async def test_the_majority_is_at_risk(servers: Cluster, sight: Sight) -> None:
    """With two of five dead there is still a primary; one more loss would take it. The dead have no lag, the others have."""
    servers.kill(HIDDEN)

    view = await sight.steady(lambda view: view.nodes[HIDDEN].status is NodeStatus.UNAVAILABLE)

    [leader] = primaries(view)
    living = [name for name in NAMES if view.nodes[name].status is NodeStatus.HEALTHY]
    assert {name: name not in {leader, ARBITER} for name in living} == lags(view)
    assert "MAJORITY_AT_RISK" in codes(view)
    assert Health.DEGRADED is health(view)


async def test_the_majority_is_lost(servers: Cluster, sight: Sight) -> None:
    """With three of five dead the primary steps down: it is well and not primary, and the cluster is critical."""
    [leader] = primaries(sight.view)
    other = next(name for name in DATA if name != leader and sight.view.nodes[name].status is NodeStatus.HEALTHY)
    servers.kill(other)

    view = await sight.steady(lambda view: not primaries(view) and "UNHEALTHY" not in statuses(view).values())

    assert {leader: "secondary", ARBITER: "ARBITER"} == roles(view)
    assert {leader: False, ARBITER: False} == lags(view)
    assert {"MAJORITY_LOST", "NO_PRIMARY"} <= codes(view)
    assert Health.CRITICAL is health(view)


async def test_back_again(servers: Cluster, sight: Sight) -> None:
    """When the dead are back there is a primary, and no problem is left."""
    servers.start(*(name for name in NAMES if sight.view.nodes[name].status is NodeStatus.UNAVAILABLE))

    view = await sight.steady(whole)

    assert ([], Health.HEALTHY) == (problems(view), health(view))


async def test_a_removed_member(servers: Cluster, sight: Sight) -> None:
    """A member that was taken out of the set is not in the cluster, and its copy of the shard is gone."""
    [leader] = primaries(sight.view)
    command(servers, leader, "setDefaultRWConcern", defaultWriteConcern={"w": 1})
    config = command(servers, leader, "replSetGetConfig")["config"]
    members = [member for member in config["members"] if member["host"] != servers.address(HIDDEN)]
    command(servers, leader, "replSetReconfig", {**config, "version": config["version"] + 1, "members": members})

    view = await sight.steady(are(orders_hidden=NodeStatus.NOT_IN_CLUSTER))

    assert () == view.nodes[HIDDEN].shards
    assert ["NODE_NOT_IN_CLUSTER"] == sorted(codes(view))


async def test_a_dead_agent(servers: Cluster, sight: Sight) -> None:
    """A mongod whose agent is dead is UNREACHABLE, whatever the mongod does; its last good facts are kept, and said to be old."""
    [leader] = primaries(sight.view)
    known = sight.view.nodes[leader]
    servers.agents[leader].kill()

    view = await sight.steady(lambda view: view.nodes[leader].status is NodeStatus.UNREACHABLE)

    node = view.nodes[leader]
    assert [(shard.shard_id, shard.role) for shard in known.shards] == [(one.shard_id, one.role) for one in node.shards]
    assert node.shards_stale_since == node.info_stale_since is not None
    assert {"NODE_UNREACHABLE", "PRIMARY_UNKNOWN"} <= codes(view)
    assert "NO_PRIMARY" not in codes(view)
