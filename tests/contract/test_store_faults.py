"""The store while its server is killed, stands still, or is cut off."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sized
from uuid import uuid4

import psutil
import pytest
from pymongo.errors import OperationFailure

from blocks.errors import DependencyUnavailableError
from blocks.models.cluster import ClusterSpec
from blocks.models.event import Event, EventDraft
from blocks.models.record import Change
from blocks.models.request import Ended, Request, WorkState
from blocks.store.mongodb import MongoStore
from blocks.store.protocol import EventQuery, RetryPolicy
from blocks.store.settings import MongoDb
from doubles.proxy import Mode, Proxy
from doubles.store_samples import NOW, REF, draft, fence, item, items, spec
from infra.stack.testing import TestStack, running

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

WRITERS = 6
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Sockets that pymongo leaves to the garbage collector, of connections that failed or broke, go with their test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    """A server of this file alone, to be hurt."""
    with running(["mongodb"], tmp_path_factory.mktemp("hurt-mongodb")) as stack:
        yield stack


@pytest.fixture
async def hurt(server: TestStack) -> AsyncIterator[MongoStore]:
    """An empty store on the server that is to be hurt."""
    database = f"hurt-{uuid4().hex}"  # dropping one would wait for transactions that a test has left behind
    async with MongoStore(MongoDb(uri=server.mongodb_uri, database=database, timeout_s=PATIENCE_S)) as store:
        await store.prepare()
        yield store


@pytest.fixture
async def proxy(server: TestStack) -> AsyncIterator[Proxy]:
    """A way to the server that can be broken."""
    async with Proxy("127.0.0.1", server.settings.mongodb_port) as proxy:
        yield proxy


def through(proxy: Proxy, store: MongoStore, timeout_s: float) -> MongoDb:
    """Settings for the same database by way of the proxy."""
    uri = f"mongodb://{proxy.address}/?directConnection=true"
    return MongoDb(uri=uri, database=store.database.name, timeout_s=timeout_s)


async def write(store: MongoStore, writer: int, acknowledged: list[Event], enough: asyncio.Event) -> None:
    """Count up a record of one's own, each time with two events in a stream that all share."""
    for number in range(1, 100_000):
        if enough.is_set():
            return
        change = Change(puts=(spec(number, f"c{writer}"),), drafts=(draft(number), draft(number)))
        named = tuple(one.evolve(data={"number": number, "writer": writer}) for one in change.drafts)
        acknowledged += await store.commit(Change(puts=change.puts, drafts=named), now=NOW)


async def reach(done: Sized, count: int) -> None:
    """Wait until so many things are done."""
    async with asyncio.timeout(PATIENCE_S):
        while len(done) < count:  # noqa: ASYNC110 - looked at now and then, with a deadline
            await asyncio.sleep(0.002)


def freeze(server: TestStack) -> None:
    """Stop every thread of the server, and see that it has happened."""
    server.kill("mongodb", signal.SIGSTOP)
    process = psutil.Process(server.pid("mongodb"))
    deadline = time.monotonic() + PATIENCE_S
    while {psutil.Process(thread.id).status() for thread in process.threads()} != {psutil.STATUS_STOPPED}:
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def test_kill_during_commits_leaves_nothing_half_applied(server: TestStack, hurt: MongoStore) -> None:
    """After kill -9 under load: every acknowledged event is there, no hole, no half change, and writers just go on."""
    acknowledged: list[Event] = []
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(write(hurt, writer, acknowledged, enough))
        await reach(acknowledged, 60)
        before = len(acknowledged)
        await asyncio.to_thread(server.kill, "mongodb")
        await reach(acknowledged, before + 60)
        enough.set()
    stored = await hurt.events(EventQuery(newest=100_000))
    counted = defaultdict(list)
    for event in stored:
        counted[event.data["writer"]].append(event.data["number"])

    assert list(range(1, len(stored) + 1)) == [event.sequence for event in stored]
    assert {event.event_id for event in acknowledged} <= {event.event_id for event in stored}
    for writer in range(WRITERS):
        last = await hurt.get(ClusterSpec, f"prod/c{writer}")
        assert last is not None
        assert [number for number in range(1, last.version + 1) for _ in "12"] == counted[writer]


async def test_frozen_server_ends_calls_at_their_deadline(server: TestStack, hurt: MongoStore) -> None:
    """A server that stands still (SIGSTOP) costs a call its deadline, not more, and is used again when it goes on."""
    await hurt.commit(Change(puts=(spec(1),)), now=NOW)
    async with MongoStore(MongoDb(uri=server.mongodb_uri, database=hurt.database.name, timeout_s=0.5)) as store:
        await store.ready()
        freeze(server)
        try:
            calls = (
                lambda: store.get(ClusterSpec, REF.key),
                lambda: store.commit(Change(puts=(spec(2),)), now=NOW, fence=fence(1)),
                lambda: store.claim_any(["orchestrate"], "w", NOW, 10),
            )
            for call in calls:
                started = time.monotonic()
                with pytest.raises(
                    DependencyUnavailableError, match=r"no answer within 0.5 s|no server that takes writes"
                ):
                    await call()
                assert time.monotonic() - started < 3.0
        finally:
            server.kill("mongodb", signal.SIGCONT)

    assert spec(1) == (await hurt.get(ClusterSpec, REF.key))


async def test_broken_connections_apply_nothing_twice(proxy: Proxy, hurt: MongoStore) -> None:
    """Connections that break between any two messages: each commit succeeds by itself and counts once."""
    settings = through(proxy, hurt, PATIENCE_S)
    acknowledged: list[Event] = []
    enough = asyncio.Event()
    async with MongoStore(settings) as store, asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(write(store, writer, acknowledged, enough))
        for breaks in range(1, 4):
            await reach(acknowledged, 15 * breaks)
            proxy.reset()
        await reach(acknowledged, 60)
        enough.set()
    stored = await hurt.events(EventQuery(newest=100_000))

    assert sorted(acknowledged, key=lambda event: event.sequence) == stored
    assert list(range(1, len(stored) + 1)) == [event.sequence for event in stored]


async def test_lost_answer_is_an_error_and_the_truth_is_whole(proxy: Proxy, hurt: MongoStore) -> None:
    """When answers are lost the caller is told so; record and event are then both there or both not."""
    settings = through(proxy, hurt, 0.5)
    async with MongoStore(settings) as store:
        await store.ready()
        proxy.mode = Mode.DROP_ANSWERS
        with pytest.raises(DependencyUnavailableError):
            await store.commit(Change(puts=(spec(1),), drafts=(draft(1),)), now=NOW)
        proxy.mode = Mode.PASS
        proxy.reset()
    record = await hurt.get(ClusterSpec, REF.key)

    assert (record is not None) == (len(await hurt.events(EventQuery())) == 1)


async def test_abandoned_transaction_does_not_block_the_successor(server: TestStack, hurt: MongoStore) -> None:
    """A holder that dies within a commit keeps the next one waiting for a few seconds, not for a minute."""
    await hurt.claim([fence(1)])
    async with MongoStore(MongoDb(uri=server.mongodb_uri, database=hurt.database.name)) as dying:
        session = dying.database.client.start_session()
        await session.start_transaction()
        assert set() == await dying.superseded(session, [fence(1)])
        started = time.monotonic()

        assert set() == await hurt.claim([fence(2)])
        assert time.monotonic() - started < 6.0
        with pytest.raises(OperationFailure, match="has been aborted"):
            await session.commit_transaction()
        await session.end_session()


async def test_abandoned_transaction_does_not_keep_work_from_others(server: TestStack, hurt: MongoStore) -> None:
    """A worker that dies while it writes the death of an item: its work is queued again in seconds, not in a minute."""
    await hurt.ensure_work(items(2), NOW)
    await hurt.queue_due(NOW, 2)
    keys = [got.key for got in await hurt.claim_any(["orchestrate"], "dying", NOW, 2)]
    async with MongoStore(MongoDb(uri=server.mongodb_uri, database=hurt.database.name)) as dying:
        session = dying.database.client.start_session()
        await session.start_transaction()
        await dying.collection("work").update_one({"_id": keys[0]}, {"$set": {"state": "dead"}}, session=session)
        await asyncio.to_thread(time.sleep, 2.1)  # the session of a dead worker lives longer
        started = time.monotonic()

        assert 2 == await hurt.requeue_of({"dying"}, NOW)
        assert time.monotonic() - started < 2.0
        with pytest.raises(OperationFailure, match="has been aborted"):
            await session.commit_transaction()
        await session.end_session()


async def test_lost_answer_leaves_nobody_dead_untold(proxy: Proxy, hurt: MongoStore) -> None:
    """When the answer to an ending is lost, the item is dead and told of, or neither; ending it again makes it both."""
    await hurt.ensure_work([item("prod/a", None)], NOW)
    await hurt.queue_due(NOW, 1)
    (got,) = await hurt.claim_any(["orchestrate"], "w", NOW, 1)
    end, policy = [Ended(key=got.key, error="no")], RetryPolicy(attempts_max=1)

    def told(dead: Request) -> EventDraft:
        return draft(0, dead.key)

    async with MongoStore(through(proxy, hurt, 0.5)) as store:
        await store.ready()
        proxy.mode = Mode.DROP_ANSWERS
        with pytest.raises(DependencyUnavailableError):
            await store.finish_work(end, "w", NOW, policy, told)
        proxy.mode = Mode.PASS
        proxy.reset()
    dead = [len(await hurt.list_work([WorkState.DEAD])), len(await hurt.events(EventQuery()))]
    await hurt.finish_work(end, "w", NOW, policy, told)
    after = [len(await hurt.list_work([WorkState.DEAD])), len(await hurt.events(EventQuery()))]

    assert dead in ([0, 0], [1, 1])
    assert [1, 1] == after


async def test_work_survives_a_kill(server: TestStack, hurt: MongoStore) -> None:
    """Workers that claim and finish through a kill -9 run every item; none is held by nobody or lost."""
    keys = [item.key for item in items(60)]
    await hurt.ensure_work(items(60), NOW)
    await hurt.queue_due(NOW, 60)
    done: list[str] = []

    async def work(owner: str) -> None:
        while got := await hurt.claim_any(["orchestrate"], owner, NOW, 3):
            await hurt.finish_work([Ended(key=item.key) for item in got], owner, NOW, RetryPolicy())
            done.extend(item.key for item in got)

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(work(f"w{number}"))
        await reach(done, 12)
        await asyncio.to_thread(server.kill, "mongodb")

    assert keys == sorted(done)
    assert {WorkState.IDLE} == {item.state for item in await hurt.list_work()}
