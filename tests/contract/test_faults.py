"""What `admin validate` finds on real servers: each fault is made, and each is said."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from kazoo.client import KazooClient

from blocks.coordinator.protocol import ClaimKind
from blocks.coordinator.settings import ZooKeeper
from blocks.coordinator.zookeeper import ZooKeeperCoordinator
from blocks.event_bus.kafka import KafkaEventBus
from blocks.kafka.settings import Kafka
from blocks.models.record import Change
from blocks.store.mongodb import MongoStore
from blocks.store.settings import MongoDb
from blocks.work_queue.kafka import KafkaWorkQueue
from doubles import unique
from doubles.store_samples import NOW, draft, spec

pytestmark = pytest.mark.real
DATABASE = "faults"


@pytest.fixture
async def store(mongodb: str) -> AsyncIterator[MongoStore]:
    """A store with a database of its own, not prepared."""
    async with MongoStore(MongoDb.model_validate({"uri": mongodb, "database": DATABASE})) as store:
        await store.database.client.drop_database(DATABASE)
        yield store


async def test_a_store_says_what_is_wrong_with_it(store: MongoStore) -> None:
    """Never prepared; then as it should be; then an index dropped, another in its place, and records that cannot be read."""
    fresh = await store.faults()
    await store.prepare()
    await store.commit(Change(swaps=(spec(),), drafts=(draft(1),)), now=NOW)
    well = await store.faults()
    await store.database["nodes"].drop_index("cluster")
    await store.database["actions"].drop_index("newest")
    await store.database["actions"].create_index([("created_at", 1)], name="newest")
    await store.database["specs"].update_one({"_id": spec().key}, {"$set": {"interval": "soon"}})
    await store.database["work"].insert_one({"_id": "discover:a/b", "kind": "discover"})
    await store.database["events"].update_one({}, {"$set": {"sequence": "first"}})
    found = "\n".join(await store.faults())

    assert ("never prepared" in fresh[0], []) == (True, well)
    for said in (
        "index nodes.cluster is missing", "index actions.newest is another one", "the stored ClusterSpec 'prod/orders' cannot be read",
        "the stored Request 'discover:a/b' cannot be read", "the stored Event",
    ):  # fmt: skip
        assert said in found
    assert 2 == len(await store.faults(2))


async def test_a_newer_database_is_said(store: MongoStore) -> None:
    """An older version that comes back after an upgrade."""
    await store.prepare()
    await store.database["meta"].update_one({"_id": "schema"}, {"$set": {"version": 99}})

    assert "a newer one works with it" in (await store.faults())[0]


async def test_topics_that_are_missing_or_other_ones(kafka: str) -> None:
    """Not created; created; the settings say another number of partitions."""
    settings, bus = unique.work_queue(), unique.event_bus()
    server = Kafka(bootstrap=kafka)
    async with KafkaWorkQueue(server, settings) as queue, KafkaEventBus(server, bus) as events:
        missing = [*await queue.faults(), *await events.faults()]
        await queue.prepare()
        await events.prepare()
        well = [*await queue.faults(), *await events.faults()]
    more = settings.model_copy(update={"partitions": settings.partitions + 1})
    async with KafkaWorkQueue(server, more) as queue:
        other = await queue.faults()

    assert (3, []) == (len(missing), well)
    assert all("is missing" in fault for fault in missing)
    assert 2 == len(other)
    assert f"the settings say {more.partitions}" in other[0]


async def test_a_claim_that_never_goes(zookeeper: str) -> None:
    """Made by hand, without a session: said with how to take it away."""
    settings = ZooKeeper.model_validate({"hosts": zookeeper, "root": f"/faults-{uuid.uuid4().hex[:12]}"})
    async with ZooKeeperCoordinator(settings) as coordinator:
        await coordinator.take(ClaimKind.LOCK, "prod/orders", "")
        well = await coordinator.faults()
        client = KazooClient(zookeeper)
        client.start(10)
        client.create(f"{settings.base}/locks/prod%2Fstuck", b"{}")
        client.stop()
        client.close()
        found = await coordinator.faults()

    assert ([], 1) == (well, len(found))
    assert "lock 'prod/stuck' has no session" in found[0]
