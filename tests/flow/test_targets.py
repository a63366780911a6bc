"""Which nodes are watched: read again and again, of an unchanged fleet next to nothing."""

from __future__ import annotations

import pytest

from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.ids import ClusterRef
from blocks.models.record import Change
from doubles.world import World
from tasks.targets import WHOLE_EVERY, Known, Watchable, load_targets


@pytest.fixture
async def ref(world: World) -> ClusterRef:
    """A cluster that is known."""
    return await world.declare()


async def _loaded(world: World, known: Known) -> dict[str, Watchable]:
    return await load_targets.fn(world.store, world.clock(), known)


async def _swapped(world: World, record: ClusterSpec | Discovery) -> None:
    await world.store.commit(Change(swaps=(record.evolve(version=record.version + 1),)), now=world.clock())


async def test_unchanged_fleet_is_not_read_again(world: World, ref: ClusterRef) -> None:
    """The same nodes, the very same objects, from versions alone."""
    known = Known()
    first = await _loaded(world, known)
    spec = known.specs[ref.key]
    second = await _loaded(world, known)

    assert first
    assert first == second
    assert all(first[key] is second[key] for key in first)
    assert spec is known.specs[ref.key]


async def test_what_changed_is_read(world: World, ref: ClusterRef) -> None:
    """Another interval, and a node that is gone, are seen at the next reading; so is a cluster that is switched off."""
    known = Known()
    await _loaded(world, known)
    spec, told = known.specs[ref.key], known.discoveries[ref.key]
    await _swapped(world, spec.evolve(probe_interval=7.0))
    await _swapped(world, told.evolve(nodes=told.nodes[:1]))
    changed = await _loaded(world, known)
    await _swapped(world, known.specs[ref.key].evolve(active=False))

    assert [7.0] == [node.interval_s for node in changed.values()]
    assert {} == await _loaded(world, known)


async def test_now_and_then_everything_is_read(world: World, ref: ClusterRef) -> None:
    """A record that was made anew with the version of the one before it is found within a minute."""
    known = Known()
    await _loaded(world, known)
    spec = known.specs[ref.key]
    await world.store.commit(Change(puts=(spec.evolve(probe_interval=9.0),)), now=world.clock())
    soon = await _loaded(world, known)
    later = await load_targets.fn(world.store, world.clock() + WHOLE_EVERY, known)

    assert {9.0} != {node.interval_s for node in soon.values()}
    assert {9.0} == {node.interval_s for node in later.values()}
