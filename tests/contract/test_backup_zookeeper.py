"""ZooKeeper loses everything under living workers: on real servers, wiped for real."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from blocks.coordinator.settings import ZooKeeper
from blocks.coordinator.zookeeper import ZooKeeperCoordinator
from blocks.errors import FencedError
from blocks.models.event import EventType
from blocks.models.ids import ClusterRef
from blocks.models.record import Change
from blocks.store.mongodb import MongoStore
from blocks.store.protocol import EventQuery
from blocks.store.settings import MongoDb
from doubles.eventually import until
from doubles.store_samples import NOW
from infra.stack.testing import TestStack, running
from tasks.hold import Held, check_held, fence_of, forgotten, hold_clusters, let_go

pytestmark = pytest.mark.real

ORDERS = ClusterRef(namespace="prod", cluster_id="orders")
REPLICTL = str(Path(sys.executable).parent / "replictl")


@pytest.fixture
async def store(mongodb: str) -> AsyncIterator[MongoStore]:
    """A store of its own, in which holders of the second generation were announced."""
    async with MongoStore(MongoDb(uri=mongodb, database="wiped_zookeeper")) as store:
        await store.prepare()
        yield store


async def replictl(stack: TestStack, mongodb: str, *arguments: str) -> str:
    """Run the command as people do; returns what it said."""
    environment = {
        **os.environ,
        "REPLICORE_ZOOKEEPER_HOSTS": stack.zookeeper_hosts,
        "REPLICORE_ZOOKEEPER_ROOT": "/wiped",
        "REPLICORE_MONGODB_URI": mongodb,
        "REPLICORE_MONGODB_DATABASE": "wiped_zookeeper",
        "REPLICORE_KAFKA_BOOTSTRAP": "127.0.0.1:9",
    }
    process = await asyncio.create_subprocess_exec(
        REPLICTL, *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(50):
        said, _ = await process.communicate()
    return said.decode()


async def _hold(coordinator: ZooKeeperCoordinator, store: MongoStore) -> Held:
    held = await hold_clusters.fn(coordinator, store, [ORDERS], "test")
    await let_go.fn(coordinator, held.claims.values())
    return held


async def test_zookeeper_wiped(store: MongoStore, mongodb: str, tmp_path: Path) -> None:
    """A living worker comes back to the empty server; its locks are refused, and that is said with the command; after the
    command they count again, and whoever held the lock before the loss still writes nothing.
    """
    with running(["zookeeper"], tmp_path / "stack") as stack:
        settings = ZooKeeper(hosts=stack.zookeeper_hosts, root="/wiped", session_timeout_s=2, request_timeout_s=4)
        async with ZooKeeperCoordinator(settings, worker="living") as worker:
            await worker.raise_generation()
            before = fence_of((await _hold(worker, store)).claims[ORDERS.key])
            await asyncio.to_thread(stack.wipe, "zookeeper")
            await until(lambda: worker.connected, 20)
            refused = await _hold(worker, store)
            why = await forgotten(worker, store)
            reset = await replictl(stack, mongodb, "admin", "coordinator-reset", "--reason", "the disk burned")
            await worker.ready()
            await until(lambda: worker._claims._generation == 3)
            after = fence_of((await _hold(worker, store)).claims[ORDERS.key])
            with pytest.raises(FencedError):
                await store.commit(Change(), now=NOW, fence=before)
            well = await forgotten(worker, store)

        assert (2, 3, (ORDERS.key,)) == (before.generation, after.generation, refused.superseded)
        with pytest.raises(FencedError, match="raise the generation"):
            await check_held(worker, refused, ORDERS.key, "prod/orders")

    assert why is not None
    assert f"the fence 2:{before.token}" in why
    assert ("the generation is now 3", None) == (reset.partition(";")[0], well)
    (told,) = await store.events(EventQuery(types=(EventType.COORDINATOR_RESET,)))
    assert "the disk burned" == told.data["why"]
