from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta

import pytest

from blocks.errors import DependencyUnavailableError, InvalidInputError, NotFoundError
from blocks.models.cluster import ClusterSpec
from blocks.models.event import Event, EventType
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.record import Change
from blocks.models.request import Request, WorkKind, WorkState
from blocks.store.mongodb import MongoStore
from blocks.store.protocol import EventQuery, Store
from blocks.store.settings import MongoDb
from doubles.store import MemoryStore
from doubles.views import NOW, later
from doubles.world import SOURCE, World
from flows.cycle import Mode, cycle_one
from flows.pause import pause_until
from flows.steps import Steps
from infra.stack.testing import running
from tasks.decide.pausing import Pausable, pause_end
from tasks.pausing import pause_turns

REF = ClusterRef(namespace="prod", cluster_id="a/b")
CLUSTER = ClusterSpec(namespace="prod", cluster_id="a/b", interval=60.0, version=1)
RECORDS = (Namespace(name="prod", version=1), SOURCE.evolve(version=1), CLUSTER)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoDb]:
    """A MongoDB."""
    with running(["mongodb"], tmp_path_factory.mktemp("mongodb")) as stack:
        yield MongoDb.model_validate({"uri": stack.mongodb_uri, "database": "pause"})


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.real)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A store with a cluster and a source, in memory and the real one."""
    if request.param == "memory":
        memory = MemoryStore()
        await memory.commit(Change(puts=RECORDS), now=NOW)
        yield memory
        return
    async with MongoStore(request.getfixturevalue("mongodb")) as real:
        await real.prepare()
        for name in await real.database.list_collection_names():
            await real.collection(name).delete_many({})
        await real.commit(Change(puts=RECORDS), now=NOW)
        yield real


async def _pause(store: Store, kind: Pausable, name: str, end: datetime = NOW + HOUR, now: datetime = NOW) -> Request:
    return await pause_until(store, kind, name, end, "ann", "moving house", now, Steps())


async def _events(store: Store, stream: str) -> list[Event]:
    return await store.events(EventQuery(stream=stream))


@pytest.mark.parametrize(
    ("kind", "name", "key", "stream"),
    [
        (Pausable.CLUSTER, "prod/a/b", f"orchestrate:{REF.key}", REF.key),
        (Pausable.SOURCE, "prod/inventory", "discover:prod/inventory", "prod"),
    ],
)
async def test_paused_and_resumed(store: Store, kind: Pausable, name: str, key: str, stream: str) -> None:
    """No turn comes while it lasts, one comes within an interval after it ends; both are told once, in the right stream."""
    item = await _pause(store, kind, name)
    still = await store.queue_due(later(3_000), 10)
    resumed = await pause_turns.fn(store, kind, name, None, "bob", "done", later(3_100))
    queued = await store.queue_due(later(3_161), 10)
    again = await pause_turns.fn(store, kind, name, None, "bob", "done", later(3_200))
    paused, over = await _events(store, stream)

    assert (key, NOW + HOUR, "ann", "moving house") == (item.key, item.paused_until, item.paused_by, item.paused_why)
    assert (0, 1, None, None) == (still, queued, resumed.paused_until, again.paused_until)
    assert [EventType.WORK_PAUSED, EventType.WORK_RESUMED] == [paused.type, over.type]
    assert [key, key] == [paused.subject, over.subject]
    assert ("ann", "moving house", "2026-03-01T13:00:00Z") == tuple(paused.data[n] for n in ("who", "why", "until"))
    assert ("bob", "done", None) == tuple(over.data[name] for name in ("who", "why", "until"))


async def test_changed_pauses_are_told_and_equal_ones_are_not(store: Store) -> None:
    """The same order again is silent; a longer pause is told."""
    await _pause(store, Pausable.CLUSTER, "prod/a/b")
    await _pause(store, Pausable.CLUSTER, "prod/a/b")
    await _pause(store, Pausable.CLUSTER, "prod/a/b", NOW + 2 * HOUR)

    assert ["2026-03-01T13:00:00Z", "2026-03-01T14:00:00Z"] == [
        event.data["until"] for event in await _events(store, REF.key)
    ]


async def test_what_is_not_told_has_not_happened(store: Store) -> None:
    """Pause and event are one: when the event cannot be made, nothing is paused."""

    def broken(_: Request) -> object:
        message = "no event"
        raise ZeroDivisionError(message)

    key = f"orchestrate:{REF.key}"
    await store.ensure_work([Request(kind=WorkKind.ORCHESTRATE, subject=REF.key, interval=60)], NOW)
    with pytest.raises(ZeroDivisionError):
        await store.pause_work(key, NOW + HOUR, "ann", "x", NOW, broken)  # type: ignore[arg-type]

    assert ([], [None]) == (await _events(store, REF.key), [item.paused_until for item in await store.list_work()])


async def test_unknown_ones(store: Store) -> None:
    """No such cluster, no such source, no namespace; nothing is paused or told."""
    await store.commit(Change(puts=(CLUSTER.evolve(namespace="lost"),)), now=NOW)
    for kind, name, said in (
        (Pausable.CLUSTER, "prod/nope", "there is no cluster prod/nope; `replictl clusters`"),
        (Pausable.SOURCE, "prod/nope", "there is no source prod/nope"),
        (Pausable.CLUSTER, "lost/a/b", "its namespace does not exist"),
    ):
        with pytest.raises(NotFoundError, match=said):
            await _pause(store, kind, name)

    assert [] == await store.list_work()


async def test_a_reason_is_needed(store: Store) -> None:
    """Whoever finds it paused wants to know why."""
    with pytest.raises(InvalidInputError, match="say why"):
        await pause_until(store, Pausable.CLUSTER, "prod/a/b", NOW + HOUR, "ann", " ", NOW, Steps())


async def test_a_paused_cluster_is_orchestrated_by_name(world: World) -> None:
    """A pause holds back the timetable, not people."""
    ref = await world.declare()
    await pause_turns.fn(
        world.store, Pausable.CLUSTER, str(ref), world.clock() + HOUR, "ann", "moving house", world.clock()
    )
    report = await cycle_one(await world.turn(), ref, Mode.ORCHESTRATE, wait_s=0)
    (item,) = await world.store.list_work()

    assert (3, WorkState.IDLE, world.clock() + HOUR) == (report.nodes_synced, item.state, item.paused_until)


async def test_store_gone(world: World) -> None:
    """The error says what is away."""
    world.store.down = True
    with pytest.raises(DependencyUnavailableError, match="MongoDB"):
        await _pause(world.store, Pausable.SOURCE, "prod/inventory")


@pytest.mark.parametrize(
    ("until", "for_s", "said"),
    [
        (None, None, "one of the two"),
        (later(60), 60.0, "one of the two"),
        (later(0), None, "ends in the future"),
        (later(-1), None, "ends in the future"),
        (None, 0.0, "ends in the future"),
        (None, -5.0, "ends in the future"),
        (None, 1e300, "at most 366 days"),
        (None, float("nan"), "ends in the future"),
        (NOW + timedelta(days=367), None, "at most 366 days"),
        (later(60).replace(tzinfo=None), None, "no time zone"),
    ],
)
def test_no_end_of_a_pause(until: datetime | None, for_s: float | None, said: str) -> None:
    """Not in the future, too far, both, neither, or nobody knows when."""
    with pytest.raises(InvalidInputError, match=said):
        pause_end(until, for_s, now=NOW)


def test_end_of_a_pause() -> None:
    """As a moment or as a duration."""
    assert (later(60), later(7_200)) == (pause_end(later(60), None, now=NOW), pause_end(None, 7_200, now=NOW))
    assert NOW + timedelta(days=366) == pause_end(None, 366 * 86_400, now=NOW)


@pytest.mark.parametrize(
    ("word", "kind"), [("clusters", "cluster"), ("Platform", "source"), ("DiscoverySettings", "source")]
)
def test_kinds_in_any_spelling(word: str, kind: str) -> None:
    """The flow's parameter takes what manifests and people say."""
    assert kind == Pausable(word)


def test_other_things_cannot_be_paused() -> None:
    """Namespaces have a status for that."""
    with pytest.raises(ValueError, match="is not a valid Pausable"):
        Pausable("namespace")
