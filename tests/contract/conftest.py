"""Real servers for the contract suites, started once per session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from blocks.store.mongodb import MongoStore
from blocks.store.protocol import Store
from blocks.store.settings import MongoDb
from doubles.store import MemoryStore
from infra.stack.testing import TestStack, running


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker's address."""
    with running(["kafka"], tmp_path_factory.mktemp("kafka")) as stack:
        yield stack.kafka_bootstrap


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    """A broker that wants TLS and a user."""
    with running(["kafka"], tmp_path_factory.mktemp("secure-kafka"), secure=True) as stack:
        yield stack


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A ZooKeeper server's address."""
    with running(["zookeeper"], tmp_path_factory.mktemp("zookeeper")) as stack:
        yield stack.zookeeper_hosts


@pytest.fixture(scope="session")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a replica set of one."""
    with running(["mongodb"], tmp_path_factory.mktemp("mongodb")) as stack:
        yield stack.mongodb_uri


@pytest.fixture(scope="session")
def secure_mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    """A replica set that wants TLS and a user."""
    with running(["mongodb"], tmp_path_factory.mktemp("secure-mongodb"), secure=True) as stack:
        yield stack


@pytest.fixture(scope="session")
def prepared_mongodb(mongodb: str) -> MongoDb:
    """A database of that server with everything that a store needs."""
    settings = MongoDb(uri=mongodb, database="contract")

    async def prepare() -> None:
        async with MongoStore(settings) as store:
            await store.prepare()

    asyncio.run(prepare())
    return settings


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.real)])
def store_settings(request: pytest.FixtureRequest) -> MongoDb | None:
    """Settings of the real store, or None for the one in memory."""
    return request.getfixturevalue("prepared_mongodb") if request.param == "real" else None


@pytest.fixture
async def store(store_settings: MongoDb | None) -> AsyncIterator[Store]:
    """An empty store."""
    if store_settings is None:
        yield MemoryStore()
        return
    async with MongoStore(store_settings) as real:
        for name in await real.database.list_collection_names():
            await real.collection(name).delete_many({})
        yield real
