"""What a cycle writes and what it tells go together, as the store sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from blocks.models.cluster import ClusterState
from blocks.models.event import EventType
from blocks.models.node import Node, NodeStatus, ShardRole
from blocks.models.report import Report
from doubles.told import all_told
from doubles.views import REF, shard
from doubles.world import World
from flows.cycle import Mode, cycle


def _down(world: World) -> None:
    world.node("n3").down = True


def _well(world: World) -> None:
    world.node("n2").status, world.node("n2").status_text = NodeStatus.HEALTHY, None


def _unwell(world: World) -> None:
    world.node("n2").status, world.node("n2").status_text = NodeStatus.UNHEALTHY, "slow"


def _other_words(world: World) -> None:
    world.node("n2").status_text = "slower"


def _moved(world: World) -> None:
    world.node("n2").shards = (shard(lag_s=7),)


def _stale(world: World) -> None:
    world.node("n2").store_error = "no disk"


def _failover(world: World) -> None:
    world.node("n1").shards, world.node("n2").shards = (shard(),), (shard(ShardRole.PRIMARY),)


def _upgraded(world: World) -> None:
    world.node("n1").store_version = "7.0.1"


def _same(_: World) -> None:
    """Nothing happens."""


def _kept(world: World) -> tuple[list[Any], list[Any], list[Any]]:
    """What is told of nodes and state, all that is kept of them, and reports."""
    records = [one for type_ in (Node, ClusterState) for one in world.store.records.get(type_, {}).values()]
    seen = [one.evolve(observed_at=None) if isinstance(one, ClusterState) else one for one in records]
    return all_told(records), seen, list(world.store.records.get(Report, {}).values())


async def _cycles(world: World, happens: Callable[[World], None]) -> tuple[bool, bool]:
    """Let something happen, and look twice: another status is said by the second look that sees it.

    Returns:
        Whether a record changed, but for when it was seen; and whether there was an event of a fact.
    """
    before, log = _kept(world), len(world.events)
    happens(world)
    for _ in range(2):
        world.advance(60)
        await cycle(await world.turn(), [REF], Mode.ORCHESTRATE)
    after, told = _kept(world), world.types(log)
    facts = [one for one in told if one != EventType.CLUSTER_REPORT]

    assert (before[0] != after[0], before[2] != after[2]) == (bool(facts), EventType.CLUSTER_REPORT in told)
    return before[1] != after[1], bool(facts)


@pytest.mark.parametrize(
    ("happens", "saves", "tells"),
    [
        (_same, False, False),
        (_moved, True, False),
        (_other_words, True, False),
        (_stale, True, False),
        (_down, True, True),
        (_well, True, True),
        (_failover, True, True),
        (_upgraded, True, True),
    ],
)
async def test_events_for_every_change_and_none_for_no_change(
    world: World, happens: Callable[[World], None], *, saves: bool, tells: bool
) -> None:
    """There are events if and only if what is told of the stored records is another, and a report with them."""
    assert REF == await world.declare()
    begun = [await _cycles(world, one) for one in (_same, _unwell, _same)]

    assert [(True, True), (True, True), (False, False)] == begun
    assert (saves, tells) == await _cycles(world, happens)
