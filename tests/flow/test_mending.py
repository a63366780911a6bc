"""What the sweep keeps in line with what is declared: the timetable, and sources that are files."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

import pytest

from blocks.errors import DependencyUnavailableError
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.record import Change, Record, RecordKey
from blocks.models.request import Priority, Request, WorkKind, WorkState, work_key
from blocks.models.source import FileDiscovery, Source, SourceReport
from doubles.store import MemoryStore
from doubles.views import later
from doubles.world import SOURCE, World, seconds
from tasks.duties import FILES_AGAIN_S, Files, ask_changed_files, mend_timetable

R = TypeVar("R", bound=Record)
SPEC = ClusterSpec(namespace="prod", cluster_id="orders", version=1)
FILE = Source(namespace="prod", name="file", file=FileDiscovery(path="/etc/clusters.yaml"), version=1)
CLUSTER_KEY, SOURCE_KEY = work_key(WorkKind.ORCHESTRATE, SPEC.key), work_key(WorkKind.DISCOVER, SOURCE.key)
FILE_KEY = work_key(WorkKind.DISCOVER, FILE.key)


# -- timetable ------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def scheduled(world: World) -> World:
    """A source and a cluster on the timetable."""
    await world.save(Namespace(name="prod", version=1), SOURCE, SPEC)
    await mend_timetable.fn(world.store, world.clock())
    return world


@pytest.mark.parametrize(
    ("gone", "dropped"),
    [
        (RecordKey(ClusterSpec, SPEC.key), {CLUSTER_KEY}),
        (RecordKey(Source, SOURCE.key), {SOURCE_KEY}),
        (RecordKey(Namespace, "prod"), {CLUSTER_KEY, SOURCE_KEY}),
    ],
)
async def test_work_about_nothing_is_dropped(scheduled: World, gone: RecordKey, dropped: set[str]) -> None:
    """Its cluster, source or namespace is gone: it goes, what is on no timetable and what we do not know stays."""
    await scheduled.store.ask(WorkKind.ORCHESTRATE, "prod/once", Priority.PERSON, scheduled.clock())
    await scheduled.store.ensure_work([Request(kind="newer", subject="prod/x", interval=60.0)], scheduled.clock())
    before = set(scheduled.store.work)
    await scheduled.store.commit(Change(deletes=(gone,)), now=scheduled.clock())
    counts = [await mend_timetable.fn(scheduled.store, scheduled.clock()) for _ in range(2)]

    assert [len(dropped), 0] == counts
    assert dropped == before - set(scheduled.store.work)


async def test_work_that_a_worker_has_is_not_dropped(scheduled: World) -> None:
    """It is dropped when the worker has ended it."""
    await scheduled.store.ask(WorkKind.ORCHESTRATE, SPEC.key, Priority.PERSON, scheduled.clock())
    await scheduled.store.claim_work([CLUSTER_KEY], "worker-1", scheduled.clock())
    await scheduled.store.commit(Change(deletes=(RecordKey(ClusterSpec, SPEC.key),)), now=scheduled.clock())
    while_claimed = await mend_timetable.fn(scheduled.store, scheduled.clock())
    await scheduled.store.release_work("worker-1", scheduled.clock())

    assert (0, 1) == (while_claimed, await mend_timetable.fn(scheduled.store, scheduled.clock()))


async def test_what_was_declared_meanwhile_keeps_its_work() -> None:
    """Declared and put to work after the others were read: it is read again and not dropped."""

    class Raced(MemoryStore):
        async def on_timetable(self, kinds: Collection[str]) -> set[str]:
            await self.commit(Change(puts=(SPEC,)), now=world.clock())
            item = Request(kind=WorkKind.ORCHESTRATE, subject=SPEC.key, interval=60.0)
            await self.ensure_work([item], world.clock())
            return await super().on_timetable(list(kinds))

    world = World(store=Raced())
    await world.save(Namespace(name="prod", version=1), SOURCE)
    await mend_timetable.fn(world.store, world.clock())

    assert {SOURCE_KEY, CLUSTER_KEY} == set(world.store.work)


# -- sources that are files -------------------------------------------------------------------------------------------------


@pytest.fixture
async def filed(world: World) -> World:
    """A source that is a file, and one that is not."""
    await world.save(Namespace(name="prod", version=1), SOURCE, FILE, _read("one"))
    world.sources.stamped(FILE, "one")
    return world


def _read(stamp: str) -> SourceReport:
    """The file was read when it was like this."""
    return SourceReport(namespace="prod", name=FILE.name, at=later(0), duration_s=0.1, stamp=stamp)


async def _looked(world: World, files: Files) -> int:
    return await ask_changed_files.fn(world.store, world.queue, world.sources, files, world.clock())


async def test_a_change_before_the_first_sight_counts(filed: World) -> None:
    """A file that has changed since it was read, while nobody looked, is asked for at once; not before it was ever read."""
    filed.sources.stamped(FILE, "two")
    seen = await _looked(filed, Files())
    filed.store.records[SourceReport].clear()

    assert (1, 0) == (seen, await _looked(filed, Files()))


async def test_a_changed_file_is_asked_at_once(filed: World) -> None:
    """Changed since it was read, it is asked for urgently, once."""
    files, counts = Files(), []
    for stamp in ("one", "one", "two", "two"):
        filed.sources.stamped(FILE, stamp)
        counts.append(await _looked(filed, files))

    assert [0, 0, 1, 0] == counts
    assert [(FILE_KEY, Priority.URGENT)] == [(item.key, item.priority) for item in filed.store.work.values()]
    assert [FILE_KEY] == [pointer.key for pointer in filed.queue.waiting]


async def test_other_settings_are_another_file(filed: World) -> None:
    """Who has changed the source has it asked: what was read then is compared with."""
    files = Files()
    await _looked(filed, files)
    await filed.save(FILE.evolve(file=FileDiscovery(path="/etc/other.yaml"), version=2), _read("two"))
    filed.sources.stamped(FILE, "two")

    assert [0, 0] == [await _looked(filed, files) for _ in range(2)]


@pytest.mark.parametrize("why", ["disabled", "namespace", "paused"])
async def test_what_is_off_is_looked_at_when_it_is_on_again(filed: World, why: str) -> None:
    """Switched off, in a namespace that is left alone, or paused: not asked, and asked when that is over."""
    files = Files()
    await _looked(filed, files)
    item = Request(kind=WorkKind.DISCOVER, subject=FILE.key, interval=600.0)
    await filed.store.ensure_work([item], filed.clock())
    if why == "disabled":
        await filed.save(FILE.evolve(enabled=False))
    elif why == "namespace":
        await filed.save(Namespace(name="prod", status=NamespaceStatus.INACTIVE, version=2))
    else:
        await filed.store.pause_work(FILE_KEY, filed.clock() + seconds(60), "ann", None, filed.clock())
    filed.sources.stamped(FILE, "two")
    off = await _looked(filed, files), filed.store.work[FILE_KEY].state
    await filed.save(FILE, Namespace(name="prod", version=3))
    filed.advance(61)

    assert ((0, WorkState.IDLE), 1) == (off, await _looked(filed, files))


async def test_a_change_is_not_lost_with_the_store(filed: World) -> None:
    """The store is away when the change is seen: it is asked for in a later turn."""
    files = Files()
    await _looked(filed, files)
    filed.sources.stamped(FILE, "two")
    filed.store.down = True
    with pytest.raises(DependencyUnavailableError):
        await _looked(filed, files)
    filed.store.down = False

    assert 1 == await _looked(filed, files)


async def test_without_files_hardly_anybody_looks(world: World) -> None:
    """No source is a file: the store is asked now and then only; a file that comes is found by that."""
    await world.save(Namespace(name="prod", version=1), SOURCE)
    files = Files()
    await _looked(world, files)
    world.store.down = True
    not_asked = await _looked(world, files)
    world.store.down = False
    await world.save(FILE, _read("one"))
    world.advance(FILES_AGAIN_S)
    for stamp in ("one", "two"):
        world.sources.stamped(FILE, stamp)
        last = await _looked(world, files)

    assert (0, 1) == (not_asked, last)
