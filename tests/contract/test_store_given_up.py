"""Calls of the MongoDB adapter whose callers are cancelled while the network is cut."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from threading import Thread
from uuid import uuid4

import pytest

from blocks.errors import DependencyUnavailableError
from blocks.models.cluster import ClusterState
from blocks.models.request import WorkState
from blocks.store.mongodb import MongoStore
from blocks.store.mongodb_calls import GIVEN_UP_MAX
from blocks.store.settings import MongoDb
from doubles.proxy import Mode, Proxy
from doubles.store_samples import KEY, NOW, items

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

CALLS = 150
ROUNDS = 5
TIMEOUT_S = 1.5
PATIENCE_S = 15.0


@asynccontextmanager
async def way(mongodb: str) -> AsyncIterator[Proxy]:
    """A way to the server that can be cut."""
    host, _, port = MongoDb(uri=mongodb).endpoint.partition(":")
    async with Proxy(host, int(port)) as proxy:
        yield proxy
    gc.collect()  # sockets of broken connections go with their test


@asynccontextmanager
async def store_by(proxy: Proxy) -> AsyncIterator[MongoStore]:
    """An empty store by that way."""
    uri, database = f"mongodb://{proxy.address}/?directConnection=true", f"given-up-{uuid4().hex}"
    async with MongoStore(MongoDb(uri=uri, database=database, timeout_s=TIMEOUT_S)) as store:
        await store.ready()
        yield store


@pytest.fixture
async def proxy(mongodb: str) -> AsyncIterator[Proxy]:
    """A way to the server that can be cut."""
    async with way(mongodb) as proxy:
        yield proxy


async def cut(proxy: Proxy, store: MongoStore) -> None:
    """Cut the network, so that calls look for a server twice a second, at the same moments."""
    proxy.mode = Mode.REFUSE
    proxy.reset()
    with suppress(DependencyUnavailableError, TimeoutError):
        async with asyncio.timeout(0.3):
            await store.ready()
    proxy.mode = Mode.BLACKHOLE


async def give_up(store: MongoStore, after_s: float) -> None:
    """Call, and go after so long."""
    with suppress(DependencyUnavailableError, TimeoutError):
        async with asyncio.timeout(after_s):
            await store.get(ClusterState, KEY)


async def get_in_the_end(store: MongoStore) -> None:
    """Call until the store answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(DependencyUnavailableError):
                await store.get(ClusterState, KEY)
                return


async def give_up_again_and_again(mongodb: str, hanging: list[int]) -> None:
    """Cut the network, have callers go, see how many cannot; then have it back, and use the store."""
    async with way(mongodb) as proxy, store_by(proxy) as store:
        await cut(proxy, store)
        for _ in range(ROUNDS):
            moments = [0.49 + 0.09 * number / CALLS for number in range(CALLS)]
            callers = [asyncio.create_task(give_up(store, moment)) for moment in moments]
            _, left = await asyncio.wait(callers, timeout=TIMEOUT_S + 2.0)
            hanging.append(len(left))
        proxy.mode = Mode.PASS
        proxy.reset()
        await get_in_the_end(store)
        await store.calls().settled(PATIENCE_S)


def test_cancelled_callers_leave_a_usable_store(mongodb: str, caplog: pytest.LogCaptureFixture) -> None:
    """They go when they want to, those after them end in time, and all is well when the network is back.

    Their moments are those at which pymongo's own waits end: cancelled within them, they left its lock taken for ever. An
    event loop with callers that hang cannot be closed: hence a thread that can be left.
    """
    hanging: list[int] = []
    thread = Thread(target=lambda: asyncio.run(give_up_again_and_again(mongodb, hanging)), daemon=True)
    thread.start()
    thread.join(timeout=ROUNDS * (TIMEOUT_S + 2.0) + 2 * PATIENCE_S)
    gc.collect()

    assert [0] * ROUNDS == hanging
    assert not thread.is_alive()
    assert [] == [record.message for record in caplog.records if record.name == "asyncio"]


async def test_closing_waits_for_given_up_calls_within_a_bound(proxy: Proxy) -> None:
    """They would run for minutes; nothing of them is left a few seconds later."""
    uri = f"mongodb://{proxy.address}/?directConnection=true"
    store = MongoStore(MongoDb(uri=uri, timeout_s=300.0))
    await store.connect()
    await store.ready()
    before = asyncio.all_tasks()
    proxy.mode = Mode.BLACKHOLE
    await asyncio.gather(*(give_up(store, 0.1) for _ in range(20)))
    started = time.monotonic()
    await store.close()
    left = [task for task in asyncio.all_tasks() - before if "MongoStore" in repr(task) or "Records" in repr(task)]

    assert time.monotonic() - started < 10.0
    assert [] == left


async def test_a_claim_that_was_given_up_does_not_come_after_the_release(proxy: Proxy) -> None:
    """A shift that is cancelled while it claims gives everything back: nothing is its own a moment later."""
    async with store_by(proxy) as store:
        keys = [item.key for item in items(3)]
        await store.ensure_work(items(3), NOW)
        await store.queue_due(NOW, 3)
        await asyncio.gather(*(store.list_work() for _ in range(10)))  # connections for both
        proxy.mode = Mode.BLACKHOLE
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await store.claim_work(keys, "w", NOW)
        releasing = asyncio.create_task(store.release_work("w", NOW))
        await asyncio.wait({releasing}, timeout=0.1)
        proxy.mode = Mode.PASS
        await releasing
        await store.calls().settled(PATIENCE_S)

        assert {WorkState.QUEUED} == {item.state for item in await store.list_work()}


async def test_calls_that_were_given_up_are_bounded() -> None:
    """With so many still running, new ones are refused at once."""
    async with MongoStore(MongoDb(uri="mongodb://127.0.0.1:1/?directConnection=true", timeout_s=2.0)) as store:
        callers = [asyncio.create_task(store.get(ClusterState, KEY)) for _ in range(GIVEN_UP_MAX)]
        await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        with pytest.raises(DependencyUnavailableError, match=f"{GIVEN_UP_MAX} calls that were given up still wait"):
            await store.get(ClusterState, KEY)
        await store._calls.settled(PATIENCE_S)
        with pytest.raises(DependencyUnavailableError, match="no server that takes writes"):
            await store.get(ClusterState, KEY)
