"""Records that a real MongoDB does not take, or that cannot be read: each is that record's own trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from blocks.errors import RecordError
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.record import Change
from blocks.models.source import DiscoveredCluster, DiscoveredNode
from blocks.store.mongodb import MongoStore
from blocks.store.settings import MongoDb
from doubles.coordinator import MemoryCoordinator, MemoryZooKeeper
from doubles.secrets import MemorySecrets
from doubles.sources import MemorySources
from doubles.store_samples import NOW, spec
from doubles.world import SOURCE
from flows.delete import delete_cluster, delete_namespace
from flows.discover import discover_source
from flows.emptying import empty_namespaces
from flows.steps import Steps
from tasks.decide.remove import Order

pytestmark = pytest.mark.real
NODES, LABELS = 10_000, {f"k{number}": "v" * 250 for number in range(8)}
"""More than 16 MB."""


@pytest.fixture
async def store(mongodb: str) -> AsyncIterator[MongoStore]:
    """A store with a database of its own."""
    async with MongoStore(MongoDb.model_validate({"uri": mongodb, "database": "broken"})) as store:
        await store.database.client.drop_database("broken")
        await store.prepare()
        yield store


def cluster(name: str, nodes: int, labels: dict[str, str]) -> DiscoveredCluster:
    """A cluster as a source tells of it."""
    return DiscoveredCluster(
        cluster_id=name,
        nodes=tuple(
            DiscoveredNode(node_id=f"n{number}", agent_address="http://10.0.0.1:8000", labels=labels)
            for number in range(nodes)
        ),
    )


@pytest.mark.parametrize("swap", [True, False], ids=["swap", "put"])
async def test_a_record_that_is_too_large(store: MongoStore, swap: bool) -> None:
    """It is that record's fault, not the server's; nothing of the change is kept."""
    huge = Discovery(
        namespace="prod", cluster_id="huge", source="prod/x", nodes=cluster("huge", NODES, LABELS).nodes, version=1
    )
    change = Change(swaps=(spec(), huge)) if swap else Change(puts=(spec(), huge))
    with pytest.raises(RecordError, match="larger than the store keeps"):
        await store.commit(change, now=NOW)

    assert [] == await store.find(ClusterSpec)


async def test_a_cluster_that_is_too_large_is_refused_alone(store: MongoStore) -> None:
    """Discovery saves those beside it, and says why that one is not there."""
    zookeeper, sources = MemoryZooKeeper(), MemorySources()
    await store.commit(Change(puts=(Namespace(name="prod", version=1), SOURCE)), now=zookeeper.now)
    sources.tell(SOURCE, [cluster("a", 1, {}), cluster("huge", NODES, LABELS), cluster("z", 1, {})])
    async with MemoryCoordinator(zookeeper, worker="w") as coordinator:
        report = await discover_source(coordinator, store, sources, SOURCE.ref, lambda: zookeeper.now, Steps())

    assert ["a", "z"] == [record.cluster_id for record in await store.find(Discovery)]
    assert [("prod/huge", True)] == [
        (one.what, "larger than the store keeps" in one.reason) for one in report.rejected if not one.partial
    ]


async def test_a_broken_record_among_others(store: MongoStore) -> None:
    """`find` says that it is there, `readable` gives the others and names it."""
    await store.commit(Change(puts=(spec(cluster_id="a"), spec(cluster_id="b"))), now=NOW)
    await store.collection("specs").update_one({"_id": "prod/a"}, {"$set": {"active": "perhaps"}})
    with pytest.raises(RecordError, match="prod/a"):
        await store.find(ClusterSpec)
    found, broken = await store.readable(ClusterSpec)

    assert (["b"], ["prod/a"]) == ([record.cluster_id for record in found], broken)


async def test_broken_records_by_piece_and_by_key(store: MongoStore) -> None:
    """`pages` and `readable_many` give the others and name it, `get_many` fails."""
    await store.commit(Change(puts=(spec(cluster_id="a"), spec(cluster_id="b"))), now=NOW)
    await store.collection("specs").update_one({"_id": "prod/a"}, {"$set": {"active": "perhaps"}})
    pages = [([one.key for one in page], broken) async for page, broken in store.pages(ClusterSpec)]
    found, broken = await store.readable_many(ClusterSpec, {"prod/a", "prod/b", "prod/none"})
    with pytest.raises(RecordError, match="prod/a"):
        await store.get_many(ClusterSpec, {"prod/a"})

    assert [(["prod/b"], ["prod/a"])] == pages
    assert (["prod/b"], ["prod/a"]) == (list(found), broken)


async def test_a_broken_discovery_stops_nothing_but_itself(store: MongoStore) -> None:
    """Its source goes on, its cluster can be deleted, its namespace goes."""
    zookeeper, sources, secrets = MemoryZooKeeper(), MemorySources(), MemorySecrets()
    await store.commit(Change(puts=(Namespace(name="prod", version=1), SOURCE.evolve(version=1))), now=zookeeper.now)
    broken = {"$set": {"nodes": [{"node_id": ""}]}}

    def clock() -> datetime:
        return zookeeper.now

    async with MemoryCoordinator(zookeeper, worker="w") as coordinator:
        sources.tell(SOURCE, [cluster(name, 1, {}) for name in ("a", "b")])
        await discover_source(coordinator, store, sources, SOURCE.ref, clock, Steps())
        await store.collection("discoveries").update_many({}, broken)
        sources.tell(SOURCE, [cluster(name, 1, {}) for name in ("a", "b", "c")])
        report = await discover_source(coordinator, store, sources, SOURCE.ref, clock, Steps())
        ref = ClusterRef(namespace="prod", cluster_id="a")
        await delete_cluster(coordinator, store, ref, Order(by="ann"), clock, Steps())
        left = await store.existing(Discovery, {"prod/a", "prod/b", "prod/c"})
        await delete_namespace(store, "prod", Order(by="ann"), clock, Steps())
        for _ in range(3):
            await empty_namespaces(coordinator, store, secrets, clock, Steps())
    namespace = await store.get(Namespace, "prod")

    assert (("c",), ["prod/a", "prod/b"]) == (report.new_clusters, [one.what for one in report.rejected[:2]])
    assert ({"prod/b", "prod/c"}, set()) == (left, await store.existing(Discovery, {"prod/a", "prod/b", "prod/c"}))
    assert namespace is not None
    assert NamespaceStatus.DELETED is namespace.status
