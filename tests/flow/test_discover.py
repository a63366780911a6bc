from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TypeVar

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.errors import BusyError, DependencyUnavailableError, FencedError, NotFoundError, RecordError
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.event import Event, EventType
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.record import Change, Fence, Record
from blocks.models.request import WorkKind, WorkState, work_key
from blocks.models.source import Rejected, Source, SourceReport
from blocks.sources.protocol import Found
from blocks.store.protocol import Where
from doubles.sources import MemorySources
from doubles.store import MemoryStore
from doubles.views import discovery, found
from doubles.world import SOURCE, World, seconds
from flows.discover import discover_source
from flows.steps import Steps
from tasks.ask import AT_ONCE_MAX
from tasks.decide.source_reports import some_of_each
from tasks.hold import source_lock

R = TypeVar("R", bound=Record)
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
    assert (told.clock(), 1, 2) == (failed.good_at, failed.clusters, failed.nodes)
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
    """A spec applied while the source was asked is not overwritten; that cluster alone is compared once more."""
    mine = ClusterSpec(namespace="prod", cluster_id="orders", interval=5.0, version=1)

    class Raced(MemoryStore):
        async def existing(self, type_: type[R], keys: Collection[str]) -> set[str]:
            found = await super().existing(type_, keys)
            if type_ is ClusterSpec:
                self.records.setdefault(ClusterSpec, {})[mine.key] = mine
            return found

    world = World(store=Raced())
    await world.save(Namespace(name="prod", version=1), SOURCE)
    world.tell(billing=["b1"], orders=["n1", "n2"], payments=["p1"])
    report = await _discover(world)
    again = await _discover(world)

    assert mine == await world.store.get(ClusterSpec, REF.key)
    assert ([], {"billing", "orders", "payments"}) == (
        [rejected.what for rejected in report.rejected],
        set(report.new_clusters),
    )
    assert ((), ()) == (again.rejected, again.new_clusters)


async def test_a_superseded_holder_saves_nothing(told: World) -> None:
    """A newer holder of the source came while it was asked: nothing is written."""

    class Overtaken(MemorySources):
        async def ask(self, source: Source) -> Found:
            await told.store.claim([Fence(subject=source_lock(source.ref), generation=1, token=10_000)])
            return await told.sources.ask(source)

    with pytest.raises(FencedError):
        await _discover(told, sources=Overtaken())

    assert ([], None) == (told.events, await told.store.get(SourceReport, SOURCE.key))


async def test_a_namespace_that_is_closed_meanwhile(told: World) -> None:
    """Made Inactive while its source is asked: nothing is concluded. That is no failure of the source, and nothing is told."""
    ask = told.sources.ask

    class Closing(type(told.sources)):  # type: ignore[misc]
        async def ask(self, source: Source) -> Found:
            home = await told.store.get(Namespace, "prod")
            await told.save(home.evolve(status=NamespaceStatus.INACTIVE, version=home.version + 1))
            return await ask(source)

    sources = Closing()
    sources.__dict__ = told.sources.__dict__
    events = len(told.events)
    report = await discover_source(await told.worker(), told.store, sources, SOURCE.ref, told.clock, Steps())
    again = await _discover(told)
    home = await told.store.get(Namespace, "prod")
    await told.save(home.evolve(status=NamespaceStatus.ACTIVE, version=home.version + 1))
    good = await _discover(told)

    assert ["namespace prod is Inactive"] * 2 == [report.error, again.error]
    assert (0, None, 1) == (report.new, good.error, good.new)
    assert not {EventType.SOURCE_FAILED, EventType.SOURCE_RECOVERED} & set(told.types(events))


async def test_two_sources_that_tell_of_a_cluster_at_the_same_moment(told: World) -> None:
    """Who comes second is told so at once: whose cluster it is, with the event, and not only at its next turn."""
    other = SOURCE.evolve(name="other", version=1)
    await told.save(other)
    told.sources.tell(other, (await told.sources.ask(SOURCE)).clusters)

    class Raced(MemoryStore):
        async def existing(self, type_: type[R], keys: Collection[str]) -> set[str]:
            found = await super().existing(type_, keys)
            if type_ is ClusterSpec and not told.store.records.get(Discovery):
                await discover_source(
                    await told.worker("quicker"), told.store, told.sources, other.ref, told.clock, Steps()
                )
            return found

    raced = Raced()
    raced.__dict__ = told.store.__dict__
    report = await discover_source(await told.worker(), raced, told.sources, SOURCE.ref, told.clock, Steps())

    assert (0, ["it belongs to source prod/other, which told of it first"]) == (
        report.new, [bad.reason for bad in report.rejected],
    )  # fmt: skip
    assert EventType.SOURCE_CONFLICT_CHANGED in told.types()


async def test_how_many_are_missing_now(told: World) -> None:
    """Not only those that went missing in the last run; also while the source gives no answer."""
    told.tell(orders=["n1"], payments=["n1"], zoo=["n1"])
    await _discover(told)
    counts = []
    for names in (["orders"], ["orders"], None, ["orders", "zoo"]):
        if names is None:
            told.sources.fail(SOURCE, "connection refused")
        else:
            told.tell(**{name: ["n1"] for name in names})
        report = await _discover(told)
        counts.append((report.missing, report.absent))

    assert [(2, 2), (0, 2), (0, 2), (0, 1)] == counts


def test_many_refusals_of_one_sort_hide_no_others() -> None:
    """Of each sort some are named, in the order of the sorts; a hundred in all."""
    many, few, some = (
        tuple(Rejected(what=f"{name}{number}", reason="r") for number in range(count))
        for name, count in (("a", 500), ("b", 2), ("c", 60))
    )
    chosen = [one.what[0] for one in some_of_each(many, few, some)]

    assert (100, sorted(chosen)) == (len(chosen), chosen)
    assert (2, True) == (chosen.count("b"), chosen.count("c") >= 33)


async def test_a_report_names_what_it_counts(told: World) -> None:
    """New, changed and missing clusters and refused records by name, the first hundred of each; all are counted."""
    await told.save(Source(namespace="prod", name="other", http=SOURCE.http))
    await told.save(*(discovery(["n1"], cluster_id=f"other{number:03}", source="prod/other") for number in range(120)))
    many = {f"c{number:03}": [f"n{number}"] for number in range(120)}
    told.tell(**many, **{f"other{number:03}": [f"o{number}"] for number in range(120)})
    first = await _discover(told)
    told.tell(**{name: ["another"] for name in many if name < "c050"})
    second = await _discover(told)

    assert (120, tuple(many)[:100]) == (first.new, first.new_clusters)
    assert (120, 100, "prod/other000") == (first.rejected_total, len(first.rejected), first.rejected[0].what)
    assert (50, tuple(many)[:50], 70, tuple(many)[50:]) == (
        second.changed,
        second.changed_clusters,
        second.missing,
        second.missing_clusters,
    )


async def test_however_many_are_known_all_are_compared(told: World) -> None:
    """What a source owns is read to its end: what is behind the longest list that is read at once is not new again."""

    class Short(MemoryStore):
        async def find(self, type_: type[R], where: Where | None = None, *, limit: int = 10_000) -> list[R]:
            return await super().find(type_, where, limit=min(limit, 10))

    world = World(store=Short())
    await world.save(Namespace(name="prod", version=1), SOURCE)
    world.tell(**{f"c{number:03}": ["n1"] for number in range(250)})
    first = await _discover(world)
    world.tell(c000=["n1"])
    second = await _discover(world)

    assert (250, 0, 249) == (first.new, second.new, second.missing)


async def test_an_orphaned_cluster_is_taken_over(told: World) -> None:
    """The source that owned it exists no more: this one owns it from now on."""
    await told.save(
        discovery(["n1"], source="prod/gone"), ClusterSpec(namespace="prod", cluster_id="orders", version=1)
    )
    report = await _discover(told)

    assert (("orders",), ()) == (report.changed_clusters, report.rejected)
    assert SOURCE.key == (await told.discovery(REF)).source


async def test_a_switched_off_source_answers_a_person(told: World) -> None:
    """The timetable leaves it alone, a run by hand asks it."""
    await told.save(SOURCE.evolve(enabled=False, version=2))

    assert 1 == (await _discover(told)).new


async def test_the_first_of_many_clusters_are_looked_at_at_once(told: World) -> None:
    """All are on the timetable; so many are queued that the others' turns are not held up."""
    told.tell(**{f"c{number:03}": ["n1"] for number in range(AT_ONCE_MAX + 20)})
    await _discover(told)
    work = await told.store.list_work()

    assert (AT_ONCE_MAX, AT_ONCE_MAX + 20) == (sum(item.state is WorkState.QUEUED for item in work), len(work))
    assert {60.0} == {item.interval for item in work}


async def test_a_paused_cluster_is_not_put_to_work(told: World) -> None:
    """It has changed: its record says so, and its pause is kept."""
    await _discover(told)
    key = work_key(WorkKind.ORCHESTRATE, REF.key)
    await told.store.pause_work(key, told.clock() + seconds(600), "ann", None, told.clock())
    told.tell(orders=["n1"])
    await _discover(told)

    assert 1 == len((await told.discovery(REF)).nodes)
    assert [WorkState.IDLE] == [item.state for item in await told.store.list_work()]


async def test_a_cluster_that_cannot_be_stored_is_refused_alone(told: World) -> None:
    """A record that is too large for the store is refused with the reason; those beside it are saved."""

    class Small(MemoryStore):
        def _commit(self, change: Change, now: datetime, fence: Fence | None) -> tuple[Event, ...]:
            if any(len(record.nodes) > 10 for record in change.swaps if isinstance(record, Discovery)):
                message = "a record cannot be stored: it is too large"
                raise RecordError(message)
            return super()._commit(change, now, fence)

    world = World(store=Small())
    await world.save(Namespace(name="prod", version=1), SOURCE)
    world.tell(small=["n0"], large=[f"n{number}" for number in range(1, 12)])
    report = await _discover(world)

    assert ("small",) == report.new_clusters
    assert [("prod/large", "a record cannot be stored: it is too large")] == [
        (rejected.what, rejected.reason) for rejected in report.rejected
    ]


async def test_store_gone(told: World) -> None:
    """The error says what is away, and the lock is given back."""
    told.store.down = True
    with pytest.raises(DependencyUnavailableError, match="MongoDB"):
        await _discover(told)

    assert [] == await (await told.worker("other")).holders(ClaimKind.LOCK)
