"""Discovery of many clusters that ends half-way: the next run comes to the same, and tells of each change once."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from blocks.errors import DependencyUnavailableError, FencedError
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.event import Event, EventType
from blocks.models.namespace import Namespace
from blocks.models.record import Change, Fence
from blocks.models.request import WorkKind, work_key
from blocks.models.source import DiscoveredCluster, SourceReport
from blocks.store.protocol import EventQuery, Store
from doubles.coordinator import MemoryCoordinator, MemoryZooKeeper
from doubles.sources import MemorySources
from doubles.views import found
from doubles.world import SOURCE
from flows.discover import discover_source
from flows.steps import Steps
from tasks.ask import CLUSTERS_AT_ONCE
from tasks.duties import mend_timetable
from tasks.hold import source_lock

E = EventType
COUNT = 550
"""Clusters of the fleet: six transactions."""
Ends = Callable[[Callable[[], Awaitable[tuple[Event, ...]]]], Awaitable[tuple[Event, ...]]]


async def _before(commit: Callable[[], Awaitable[tuple[Event, ...]]]) -> tuple[Event, ...]:
    raise DependencyUnavailableError("MongoDB", "here", "it is gone", "Check.")


async def _after(commit: Callable[[], Awaitable[tuple[Event, ...]]]) -> tuple[Event, ...]:
    await commit()
    raise DependencyUnavailableError("MongoDB", "here", "its answer is lost", "Check.")


async def _within(commit: Callable[[], Awaitable[tuple[Event, ...]]]) -> tuple[Event, ...]:
    task = asyncio.ensure_future(commit())
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    raise asyncio.CancelledError


class Ending:
    """A store with which something happens in one of its commits."""

    def __init__(self, store: Store, commits: int, ends: Ends) -> None:
        self._store, self._left, self._ends = store, commits, ends

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, change: Change, *, now: datetime, fence: Fence | None = None) -> tuple[Event, ...]:
        """The same, but for the one in which it happens."""
        self._left -= 1
        if self._left == 0:
            return await self._ends(lambda: self._store.commit(change, now=now, fence=fence))
        return await self._store.commit(change, now=now, fence=fence)


class Fleet:
    """A source, the process that asks it, and the store."""

    def __init__(self, store: Store) -> None:
        self.store, self.sources, self.zookeeper = store, MemorySources(), MemoryZooKeeper()

    async def prepare(self) -> None:
        """Declare the source."""
        namespace = Namespace(name="prod", version=1)
        await self.store.commit(Change(puts=(namespace, SOURCE)), now=self.zookeeper.now)

    def tell(self, clusters: dict[str, str]) -> None:
        """From now on there are these clusters, each with this node."""
        told = [
            DiscoveredCluster(cluster_id=name, labels={"node": node}, nodes=(found(node),))
            for name, node in clusters.items()
        ]
        self.sources.tell(SOURCE, told)

    async def discover(self, store: object | None = None) -> SourceReport:
        """One run, by a process that is gone after it."""
        async with MemoryCoordinator(self.zookeeper, worker="worker-1") as coordinator:
            using: Any = store or self.store
            return await discover_source(
                coordinator, using, self.sources, SOURCE.ref, lambda: self.zookeeper.now, Steps()
            )

    async def told(self) -> dict[str, list[str]]:
        """By cluster id, the types of what was told of it, in order."""
        told: dict[str, list[str]] = defaultdict(list)
        for event in await self.store.events(EventQuery(newest=100_000)):
            if event.subject.startswith("prod/"):
                told[event.subject.removeprefix("prod/")].append(event.type)
        return told

    async def present(self) -> dict[str, str]:
        """The clusters that are not missing, each with its node."""
        known = await self.store.find(Discovery, limit=100_000)
        return {one.cluster_id: one.nodes[0].node_id for one in known if one.missing_since is None}


@pytest.fixture
async def fleet(store: Store) -> Fleet:
    """A large fleet that nobody knows yet."""
    fleet = Fleet(store)
    await fleet.prepare()
    fleet.tell({f"c{number:03}": "n1" for number in range(COUNT)})
    return fleet


@pytest.mark.parametrize("ends", [_before, _after, _within])
async def test_what_is_new_is_told_once(fleet: Fleet, ends: Ends) -> None:
    """It ends in the fourth transaction: the next run saves the rest; each cluster is there and told of once."""
    with pytest.raises((DependencyUnavailableError, asyncio.CancelledError)):
        await fleet.discover(Ending(fleet.store, 4, ends))
    report = await fleet.discover()
    told = await fleet.told()
    refused = [one for one in report.rejected if not one.partial]  # they all have one agent, which is said

    assert report.new in {
        COUNT - 3 * CLUSTERS_AT_ONCE,
        COUNT - 4 * CLUSTERS_AT_ONCE,
    }  # a call that was given up goes on
    assert (0, 0, []) == (report.changed, report.missing, refused)
    assert {f"c{number:03}": "n1" for number in range(COUNT)} == await fleet.present()
    assert COUNT == len(await fleet.store.find(ClusterSpec, limit=100_000))
    assert {(E.CLUSTER_SPEC_SYNTHESISED, E.CLUSTER_DISCOVERED): COUNT} == Counter(
        tuple(types) for types in told.values()
    )


@pytest.mark.parametrize("ends", [_before, _after, _within])
async def test_what_changed_is_told_once(fleet: Fleet, ends: Ends) -> None:
    """Changed, new and missing at once, and it ends in the middle: the next run does the rest, the one after it nothing."""
    await fleet.discover()
    wanted = {f"c{number:03}": "n2" if number % 2 else "n1" for number in range(50, COUNT + 50)}
    fleet.tell(wanted)
    with pytest.raises((DependencyUnavailableError, asyncio.CancelledError)):
        await fleet.discover(Ending(fleet.store, 3, ends))
    await fleet.discover()
    told = await fleet.told()
    again = await fleet.discover()
    later = Counter(tuple(types[2:]) for types in told.values())

    assert wanted == await fleet.present()
    assert {(E.CLUSTER_DISCOVERY_CHANGED,): 250, (E.CLUSTER_MISSING,): 50, (): 300} == later
    assert (0, 0, 0, told) == (again.new, again.changed, again.missing, await fleet.told())
    assert {2, 1} == {one.version for one in await fleet.store.find(Discovery, limit=100_000)}


async def test_a_newer_holder_stops_it(fleet: Fleet) -> None:
    """It loses the source's lock half-way: whole transactions are saved, nothing of the next, and no report."""

    async def overtaken(commit: Callable[[], Awaitable[tuple[Event, ...]]]) -> tuple[Event, ...]:
        await fleet.store.claim([Fence(subject=source_lock(SOURCE.ref), generation=1, token=10**6)])
        return await commit()

    with pytest.raises(FencedError):
        await fleet.discover(Ending(fleet.store, 3, overtaken))
    told = await fleet.told()

    assert 2 * CLUSTERS_AT_ONCE == len(await fleet.present()) == len(told)
    assert {2} == {len(types) for types in told.values()}
    assert None is await fleet.store.get(SourceReport, SOURCE.key)


async def test_the_timetable_is_complete_after_it(fleet: Fleet) -> None:
    """It ends between saving clusters and putting them to work: the sweep puts them on the timetable."""
    with pytest.raises(DependencyUnavailableError):
        await fleet.discover(Ending(fleet.store, 2, _after))
    await fleet.discover()
    await mend_timetable.fn(fleet.store, fleet.zookeeper.now + timedelta(seconds=30))
    work = {item.key for item in await fleet.store.list_work(limit=100_000)}
    clusters = {one.key for one in await fleet.store.find(Discovery, limit=100_000)}

    assert {work_key(WorkKind.ORCHESTRATE, key) for key in clusters} == work - {work_key(WorkKind.DISCOVER, SOURCE.key)}


async def test_unchanged_writes_nothing_but_the_report(fleet: Fleet) -> None:
    """The same answer again: one commit, of the source's own report and without an event."""
    await fleet.discover()
    before = await fleet.told()
    written: list[Change] = []

    class Watched(Ending):
        async def commit(self, change: Change, *, now: datetime, fence: Fence | None = None) -> tuple[Event, ...]:
            written.append(change)
            return await super().commit(change, now=now, fence=fence)

    fleet.zookeeper.advance(60)
    report = await fleet.discover(Watched(fleet.store, 0, _before))

    assert [Change(puts=(report,))] == written
    assert before == await fleet.told()
