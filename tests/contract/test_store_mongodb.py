"""What only a real MongoDB shows: collections and indexes, removal of what is old, TLS and users."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pymongo.read_concern import ReadConcern

from blocks.errors import DependencyUnavailableError, RecordError
from blocks.models.action import Action, ActionState
from blocks.models.base import Fact
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace
from blocks.models.record import Change
from blocks.store.mapping import Document, Schemas, to_document
from blocks.store.mongodb import MongoStore
from blocks.store.mongodb_events import _stream_by_stream
from blocks.store.protocol import EventQuery
from blocks.store.settings import MongoDb
from doubles.store_samples import NOW, action, draft, fence, spec
from infra.stack.context import Security
from infra.stack.service import Plan
from infra.stack.testing import TestStack, running

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

DAY_S = 86_400
YEARS_AGO = NOW - timedelta(days=3_650)
WITHIN_S = 20.0


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Sockets that pymongo leaves to the garbage collector, of connections that failed or broke, go with their test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def own_mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoDb]:
    """A server of this file alone, in which what is old is looked for every second."""
    with running(["mongodb"], tmp_path_factory.mktemp("own-mongodb")) as stack:
        stack.stop("mongodb")
        plan = Plan.read(stack.layout.plan)
        service = plan.get("mongodb")
        assert service is not None
        hurried = replace(service, command=(*service.command, "--setParameter", "ttlMonitorSleepSecs=1"))
        plan.with_services(hurried).write(stack.layout.plan)
        stack.start("mongodb")
        yield MongoDb(uri=stack.mongodb_uri, database="own")


@pytest.fixture
async def fresh(own_mongodb: MongoDb) -> AsyncIterator[MongoStore]:
    """A store whose database does not exist yet."""
    async with MongoStore(own_mongodb) as store:
        await store.database.client.drop_database(store.database.name)
        yield store


async def kept_days(store: MongoStore) -> tuple[int, int]:
    """After how many days events and actions are removed, as the server knows it."""
    events, actions = [await store.collection(name).index_information() for name in ("events", "actions")]
    return events["keep"]["expireAfterSeconds"] // DAY_S, actions["keep"]["expireAfterSeconds"] // DAY_S


async def test_many_may_prepare_at_once(fresh: MongoStore) -> None:
    """Five that prepare an empty database together, and once more, end with one and the same."""
    await asyncio.gather(*(fresh.prepare() for _ in range(5)))
    first = {
        name: await fresh.collection(name).index_information() for name in await fresh.database.list_collection_names()
    }
    await fresh.prepare()
    second = {name: await fresh.collection(name).index_information() for name in first}

    assert first == second
    assert {"events", "work", "fences", "streams", "meta", "namespaces", "nodes", "actions"} <= set(first)
    assert {"_id_", "place", "history", "outbox", "waiting", "keep"} == set(first["events"])
    assert {"_id": "schema", "version": 1} == await fresh.collection("meta").find_one()


async def test_documents_of_an_older_schema_are_written_anew(fresh: MongoStore) -> None:
    """All of them, by several at once and broken off in between; what somebody writes meanwhile stays as written."""
    names = [f"n{number}" for number in range(1_200)]
    await fresh.prepare()
    await fresh.commit(Change(puts=tuple(Namespace(name=name) for name in names)), now=NOW)
    raced: list[str] = []

    def upgrade(_: type[Fact], one: Document) -> Document:
        if one["_id"] == "n7" and not raced:
            raced.append("n7")
            raise RecordError("broken off")
        return one | {"version": one["version"] + 1}

    schemas = Schemas(2, {1: upgrade})
    with pytest.raises(RecordError, match="broken off"):
        await fresh.migrate(schemas)
    counts = await asyncio.gather(*(fresh.migrate(schemas) for _ in range(3)))
    again = await fresh.migrate(schemas)
    versions = await fresh.versions(Namespace)
    older = await fresh.collection("namespaces").count_documents({"schema": {"$ne": 2}})

    assert dict.fromkeys(names, 1) == versions
    assert sum(counts) <= 1_200
    assert (0, 0) == (older, again)


async def test_days_to_keep_are_brought_up_to_date(fresh: MongoStore, own_mongodb: MongoDb) -> None:
    """Preparing with other days changes the indexes that are there."""
    await fresh.prepare()
    assert (14, 14) == await kept_days(fresh)
    changed = own_mongodb.model_copy(update={"events_keep_days": 3, "actions_keep_days": 5})
    async with MongoStore(changed) as store:
        await store.prepare()

    assert (3, 5) == await kept_days(fresh)


async def test_only_what_is_done_and_old_is_removed(fresh: MongoStore) -> None:
    """Old published events and actions that ended long ago go; unpublished events, unfinished actions and others stay.

    When an action ended is told by our clock: an agent's may be wrong by years.
    """
    await fresh.prepare()
    done, odd = action(1, ActionState.DONE), action(2, ActionState.DONE).evolve(finished_at=YEARS_AGO)
    old = Change(puts=(spec(), done, action(3)), drafts=(draft(1), draft(2)))
    events = await fresh.commit(old, now=YEARS_AGO)
    recent = await fresh.commit(Change(puts=(odd,), drafts=(draft(3, "recent"),)), now=NOW)
    await fresh.mark_published([events[1].event_id, recent[0].event_id])
    deadline = time.monotonic() + WITHIN_S
    while len(await fresh.find(Action)) > 2 or len(await fresh.events(EventQuery())) > 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)

    assert [action(3), odd] == await fresh.find(Action)
    assert [events[0], recent[0].evolve(published=True)] == await fresh.events(EventQuery())


async def test_successor_waits_for_a_commit_that_passed_the_fence(fresh: MongoStore) -> None:
    """Once a holder's commit has passed the fence, a newer one's claim comes after it: what it reads then includes it."""
    await fresh.prepare()
    await fresh.claim([fence(1)])
    async with fresh.database.client.start_session() as session:
        await session.start_transaction(ReadConcern("snapshot"))
        assert set() == await fresh.superseded(session, [fence(1)])
        claim = asyncio.create_task(fresh.claim([fence(2)]))
        done, _ = await asyncio.wait({claim}, timeout=0.2)
        assert set() == done
        await fresh.collection("specs").insert_one(to_document(spec()), session=session)
        await session.commit_transaction()

    assert set() == await claim
    assert spec() == await fresh.get(ClusterSpec, spec().key)


async def test_ready_refuses_a_server_that_is_no_replica_set(own_mongodb: MongoDb) -> None:
    """A URI that names another replica set than the server's ends in a sentence that says what to check."""
    settings = MongoDb(uri=own_mongodb.uri.get_secret_value().replace("=replicore", "=other"), timeout_s=0.5)
    async with MongoStore(settings) as store:
        with pytest.raises(DependencyUnavailableError, match=r"Check that mongod runs, .* the name of the replica set"):
            await store.ready()


@pytest.mark.parametrize("options", ["?replicaSet=replicore", "?directConnection=true"])
async def test_server_is_reached_both_ways(own_mongodb: MongoDb, options: str) -> None:
    """By the name of its set or directly, transactions work."""
    settings = MongoDb(uri=f"mongodb://{own_mongodb.endpoint}/{options}", database="own")
    async with MongoStore(settings) as store:
        await store.ready()
        events = await store.commit(Change(puts=(spec(),), drafts=(draft(1, options),)), now=NOW)

    assert 1 == len(events)


async def test_plans_use_indexes(fresh: MongoStore) -> None:
    """What is asked often never reads a whole collection."""
    await fresh.prepare()
    queries = {
        "nodes": ({"cluster_key": {"$in": ["a/b"]}}, [("_id", 1)]),
        "actions": ({"cluster_key": {"$in": ["a/b"]}, "state": {"$in": ["NEW"]}}, [("created_at", 1)]),
        "events": ({"published": False}, [("time", 1), ("stream", 1), ("sequence", 1)]),
        "work": ({"state": "queued"}, [("priority", 1), ("due_at", 1)]),
    }
    for name, (query, order) in queries.items():
        plan = await fresh.collection(name).find(query).sort(order).explain()

        assert "IXSCAN" in str(plan["queryPlanner"]["winningPlan"])
        assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])


async def test_outbox_is_searched_stream_by_stream(fresh: MongoStore) -> None:
    """However long the outbox, one place of the index is looked at for each stream, and no event."""
    await fresh.prepare()
    await fresh.commit(Change(drafts=tuple(draft(n, f"c{n % 3}") for n in range(60))), now=NOW)
    found = await fresh.unpublished(50, per_stream=2, skip=["c1"])
    pipeline = _stream_by_stream(50, 2, ["c1"])
    command = {"aggregate": "events", "pipeline": pipeline, "cursor": {}}
    plan = await fresh.database.command("explain", command, verbosity="executionStats")
    first = plan["stages"][0]["$cursor"]

    assert [("c0", 1), ("c0", 2), ("c2", 1), ("c2", 2)] == [(event.stream, event.sequence) for event in found]
    assert "DISTINCT_SCAN" in str(first["queryPlanner"]["winningPlan"])
    assert (0, True) == (
        first["executionStats"]["totalDocsExamined"],
        first["executionStats"]["totalKeysExamined"] < 10,
    )


# -- TLS and users ----------------------------------------------------------------------------------------------------


@pytest.fixture
def secure_settings(secure_mongodb: TestStack, tmp_path: Path) -> MongoDb:
    """Settings for a server that wants TLS and a user."""
    security = secure_mongodb.security
    assert isinstance(security, Security)
    pair = tmp_path / "client-with-key.pem"
    pair.write_text(Path(security.tls.certificate).read_text("ascii") + Path(security.tls.key).read_text("ascii"))
    return MongoDb(
        uri=secure_mongodb.mongodb_uri,
        user=security.user,
        password=security.password,
        tls=True,
        ca_file=security.tls.ca,
        cert_key_file=str(pair),
        timeout_s=5.0,
    )


async def test_secure_server_is_used(secure_settings: MongoDb) -> None:
    """With TLS, our certificate and a user everything works."""
    async with MongoStore(secure_settings) as store:
        await store.ready()
        await store.prepare()
        await store.commit(Change(puts=(action(1),), drafts=(draft(1),)), now=NOW)

        assert action(1) == await store.get(Action, action(1).key)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"password": "wr0ng"}, "Authentication failed.*Check user, password"),
        ({"user": None, "password": None}, "requires authentication.*Check user, password"),
        ({"tls": False, "ca_file": None, "cert_key_file": None}, "Check that mongod runs.*TLS settings"),
        ({"ca_file": None}, "certificate verify failed.*TLS settings"),
    ],
    ids=["password", "no user", "no tls", "unknown ca"],
)
async def test_secure_server_refuses_others(secure_settings: MongoDb, change: dict[str, object], reason: str) -> None:
    """Whatever is missing or wrong is said, with what to check, without the password."""
    fields = {name: getattr(secure_settings, name) for name in MongoDb.model_fields}
    settings = MongoDb(**{**fields, "timeout_s": 1.0, **change})
    async with MongoStore(settings) as store:
        with pytest.raises(DependencyUnavailableError, match=reason) as caught:
            await store.get(Action, "x")

    assert "wr0ng" not in str(caught.value)
