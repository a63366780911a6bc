from __future__ import annotations

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.errors import BusyError, DependencyUnavailableError, FencedError, NotFoundError
from blocks.models.cluster import ClusterSpec
from blocks.models.event import EventType
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.record import Fence
from blocks.models.request import WorkKind, WorkState
from blocks.models.source import Rejected, Source, SourceReport
from blocks.sources.protocol import Found
from doubles.sources import MemorySources
from doubles.views import found
from doubles.world import SOURCE, World
from flows.discover import discover_source
from flows.steps import Steps
from tasks.hold import source_lock

REF = ClusterRef(namespace="prod", cluster_id="orders")


@pytest.fixture
async def told(world: World) -> World:
    """A source that tells of one cluster."""
    await world.save(Namespace(name="prod", version=1), SOURCE)
    world.tell(orders=["n1", "n2"])
    return world


async def _discover(world: World, name: str = "worker-1", sources: MemorySources | None = None) -> SourceReport:
    coordinator = await world.worker(name)
    return await discover_source(coordinator, world.store, sources or world.sources, SOURCE.ref, world.clock, Steps())


async def test_a_new_cluster_is_stored_told_and_put_to_work(told: World) -> None:
    """Record and spec are stored, both are events, and its first cycle is asked for at once."""
    report = await _discover(told)
    work = await told.store.list_work()

    assert (1, 2, 1, 0, 0, None) == (
        report.clusters,
        report.nodes,
        report.new,
        report.changed,
        report.missing,
        report.error,
    )
    assert [EventType.CLUSTER_SPEC_SYNTHESISED, EventType.CLUSTER_DISCOVERED] == told.types()
    assert [(WorkKind.ORCHESTRATE, REF.key, WorkState.QUEUED)] == [
        (item.kind, item.subject, item.state) for item in work
    ]
    assert (await told.store.get(ClusterSpec, REF.key)).synthetic


async def test_the_same_answer_again_is_silent(told: World) -> None:
    """Nothing new: no event, the report is fresh."""
    await _discover(told)
    events = len(told.events)
    told.advance(60)
    report = await _discover(told)

    assert ([], told.clock()) == (told.types(events), report.at)


async def test_missing_and_returned(told: World) -> None:
    """No longer told of: marked and told, nothing deleted; told of again: the same record, told."""
    await _discover(told)
    told.tell(payments=["p1"])
    await _discover(told)
    missing = (await told.discovery(REF)).missing_since
    told.tell(payments=["p1"], orders=["n1", "n2"])
    await _discover(told)

    assert told.clock() == missing
    assert None is (await told.discovery(REF)).missing_since
    assert {EventType.CLUSTER_MISSING, EventType.CLUSTER_RETURNED} <= set(told.types())


async def test_a_source_that_fails_concludes_nothing(told: World) -> None:
    """No answer: the report says why, told once until it changes; the answer after it is a recovery."""
    await _discover(told)
    events = len(told.events)
    told.sources.fail(SOURCE, "connection refused")
    failed = await _discover(told)
    await _discover(told)
    told.tell(orders=["n1", "n2"])
    await _discover(told)

    assert "connection refused" in str(failed.error)
    assert [EventType.SOURCE_FAILED, EventType.SOURCE_RECOVERED] == told.types(events)
    assert None is (await told.discovery(REF)).missing_since


async def test_an_empty_answer_is_a_failure_to_look_into(told: World) -> None:
    """A source that suddenly knows nothing is not believed: an error in its report, and told."""
    await _discover(told)
    told.tell()
    report = await _discover(told)

    assert "empty answer after one with 1 clusters" in str(report.error)
    assert EventType.SOURCE_FAILED == told.types()[-1]
    assert None is (await told.discovery(REF)).missing_since


async def test_unusable_records_keep_what_they_may_be_about(told: World) -> None:
    """A node whose record is broken stays, its cluster is not missing, the report lists the record with its reason."""
    await _discover(told)
    bad = Rejected(what="node n2", reason="no URL", cluster_id="orders", node_id="n2")
    (orders,) = (await told.sources.ask(SOURCE)).clusters
    told.sources._answers[SOURCE.key] = Found(clusters=(orders.evolve(nodes=(found("n1"),)),), rejected=(bad,))
    report = await _discover(told)

    assert ["n1", "n2"] == [node.node_id for node in (await told.discovery(REF)).nodes]
    assert (bad,) == report.rejected


async def test_a_source_that_others_ask_is_busy(told: World) -> None:
    """Two at once would tell everything twice: the second gives way."""
    await (await told.worker("other")).take(ClaimKind.LOCK, source_lock(SOURCE.ref), "test")
    with pytest.raises(BusyError, match="source prod/inventory"):
        await _discover(told)

    assert [] == told.sources.asked


async def test_an_unknown_source_or_namespace(world: World) -> None:
    """A sentence that says what is missing and what to apply."""
    with pytest.raises(NotFoundError, match="no source prod/inventory; apply"):
        await _discover(world)
    await world.save(SOURCE)
    with pytest.raises(NotFoundError, match="namespace prod, which does not exist"):
        await _discover(world)

    assert [] == await (await world.worker("other")).holders(ClaimKind.LOCK)


@pytest.mark.parametrize("status", [NamespaceStatus.INACTIVE, NamespaceStatus.DELETING])
async def test_a_namespace_that_is_left_alone_is_not_asked_about(told: World, status: NamespaceStatus) -> None:
    """Its source is not asked, and the report says why."""
    await told.save(Namespace(name="prod", version=2, status=status))
    report = await _discover(told)

    assert ([], f"namespace prod is {status}") == (told.sources.asked, report.error)


async def test_a_person_who_declares_meanwhile_wins(told: World) -> None:
    """A spec applied while the source was asked is not overwritten; the cluster is taken up next time."""
    mine = ClusterSpec(namespace="prod", cluster_id="orders", interval=5.0, version=1)

    class Meanwhile(MemorySources):
        async def ask(self, source: Source) -> Found:
            answer = await told.sources.ask(source)
            find = told.store._find

            def raced(*args: object) -> object:
                records = find(*args)  # type: ignore[arg-type]
                if args[0] is ClusterSpec:
                    told.store.records.setdefault(ClusterSpec, {})[mine.key] = mine
                return records

            told.store._find = raced  # type: ignore[method-assign, assignment]
            return answer

    report = await _discover(told, sources=Meanwhile())
    again = await _discover(told)

    assert mine == await told.store.get(ClusterSpec, REF.key)
    assert ["prod/orders"] == [rejected.what for rejected in report.rejected]
    assert ((), 1) == (again.rejected, again.new)


async def test_a_superseded_holder_saves_nothing(told: World) -> None:
    """A newer holder of the source came while it was asked: nothing is written."""

    class Overtaken(MemorySources):
        async def ask(self, source: Source) -> Found:
            await told.store.claim([Fence(subject=source_lock(source.ref), generation=1, token=10_000)])
            return await told.sources.ask(source)

    with pytest.raises(FencedError):
        await _discover(told, sources=Overtaken())

    assert ([], None) == (told.events, await told.store.get(SourceReport, SOURCE.key))


async def test_store_gone(told: World) -> None:
    """The error says what is away, and the lock is given back."""
    told.store.down = True
    with pytest.raises(DependencyUnavailableError, match="MongoDB"):
        await _discover(told)

    assert [] == await (await told.worker("other")).holders(ClaimKind.LOCK)
