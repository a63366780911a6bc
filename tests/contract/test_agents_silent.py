"""Nodes that hang, beside healthy ones: the real client against hundreds of simulated agents on real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from statistics import quantiles

import pytest

from blocks.agents.client import HttpAgents
from blocks.agents.protocol import Target
from blocks.agents.settings import AgentsSettings
from blocks.models.look import Failure, Look, NodeInfo
from blocks.models.node import Protocol
from doubles.agents import MemoryNode
from doubles.fleets import http_fleet
from infra.agents.kit.models import Json
from infra.simulator.testing import RunningFleet, simulated_process

CLUSTERS, SIZE = 200, 3
HEALTHY = HANGING = 300
TIMEOUT_S = 5.0
NO_CONNECTION_S = 1.0
ROUNDS = 5


@pytest.fixture(scope="module")
def fleet() -> Iterator[RunningFleet]:
    """Six hundred agents in a process of their own; half of them hang: connected and silent, or dropped by a firewall."""
    with simulated_process("--clusters", str(CLUSTERS), "--kinds", "mongodb", "--protocols", "B") as fleet:
        names: list[Json] = [node["node"] for node in fleet.nodes()][-HANGING:]
        fleet.do("slow", nodes=names[::2], delay_s=600.0)
        fleet.do("black_hole", nodes=names[1::2])
        yield fleet


def targets(fleet: RunningFleet, *, silent: bool) -> tuple[list[Target], list[Target]]:
    """The healthy and the hanging; `silent` says whether those are known to be."""
    asked = [
        Target(
            node_id=str(node["node"]),
            agent_address=str(node["agent_address"]),
            protocol=Protocol.B,
            timeout_s=TIMEOUT_S,
        )
        for node in fleet.nodes()
    ]
    return asked[:HEALTHY], [target.evolve(silent=silent) for target in asked[HEALTHY:]]


async def timed(agents: HttpAgents, asked: Sequence[Target]) -> list[tuple[float, Look]]:
    """Look at all of them at once; for each, after how many seconds its look was there."""
    begun = time.monotonic()

    async def one(target: Target) -> tuple[float, Look]:
        look = await agents.look(target)
        return time.monotonic() - begun, look

    return list(await asyncio.gather(*(one(target) for target in asked)))


def p99(looks: Sequence[tuple[float, Look]]) -> float:
    """By when nearly all were there."""
    return quantiles([seconds for seconds, _ in looks], n=100)[98]


async def test_dead_nodes_delay_nobody(fleet: RunningFleet) -> None:
    """With 300 dead nodes asked first, the p99 of 300 healthy looks is at most twice that right before and without them, in
    the quietest round: other work on the machine comes and goes.
    """
    healthy, hanging = targets(fleet, silent=True)
    alone, beside = [], []
    async with HttpAgents(AgentsSettings(connect_timeout_s=NO_CONNECTION_S)) as agents:
        for _ in range(ROUNDS):
            alone.append(await timed(agents, healthy))
            dead = [asyncio.create_task(agents.look(target)) for target in hanging]
            beside.append(await timed(agents, healthy))
            for look in dead:
                look.cancel()
            ended = await asyncio.gather(*dead, return_exceptions=True)
            assert not [look for look in ended if isinstance(look, Look) and isinstance(look.info, NodeInfo)]

    assert all(isinstance(look.info, NodeInfo) for looks in (*alone, *beside) for _, look in looks)
    assert min(p99(with_dead) / p99(without) for with_dead, without in zip(beside, alone, strict=True)) <= 2


async def test_a_batch_waits_one_look_at_most(fleet: RunningFleet) -> None:
    """Nobody knows yet that 300 of 600 nodes hang: the healthy ones are done long before, all of it by one look's deadline."""
    healthy, hanging = targets(fleet, silent=False)
    async with HttpAgents(AgentsSettings(connect_timeout_s=NO_CONNECTION_S)) as agents:
        looks = await timed(agents, [*hanging, *healthy])

    assert all(isinstance(look.info, Failure) for _, look in looks[:HANGING])
    assert all(isinstance(look.info, NodeInfo) for _, look in looks[HANGING:])
    assert max(seconds for seconds, _ in looks) < 2 * TIMEOUT_S
    assert p99(looks[HANGING:]) < TIMEOUT_S


async def test_a_silent_node_without_a_place_is_not_asked() -> None:
    """Too many silent nodes at once: the last are not asked, which is neither an answer nor a failure of theirs."""
    async with http_fleet(AgentsSettings(silent_max=1)) as fleet:
        first, second = [(await fleet.put(MemoryNode(name, hangs=True))).evolve(silent=True) for name in ("h1", "h2")]
        waited_for = asyncio.create_task(fleet.agents.look(first))
        await fleet._servers["h1"].arrived(1)

        look = await fleet.agents.look(second.evolve(timeout_s=0.2))

        assert Failure(reason="not asked: too many other silent nodes are being waited for") == look.info
        assert (False, False) == (look.asked, waited_for.done())
        waited_for.cancel()
        await asyncio.gather(waited_for, return_exceptions=True)


async def test_a_knock_is_short() -> None:
    """A node that does not answer a knock was not asked; one that does is looked at with all the time that a look takes."""
    async with http_fleet() as fleet:
        hanging = (await fleet.put(MemoryNode("h1", hangs=True))).evolve(timeout_s=5.0, silent=True, knock_s=0.1)
        healthy = (await fleet.put(MemoryNode("n1"))).evolve(silent=True, knock_s=1.0)
        begun = time.monotonic()
        looks = await asyncio.gather(fleet.agents.look(hanging), fleet.agents.look(healthy))
        took_s = time.monotonic() - begun

    assert [(False, Failure), (True, NodeInfo)] == [(look.asked, type(look.info)) for look in looks]
    assert took_s < 2.0


async def test_the_deadline_of_a_silent_node_counts_from_the_call() -> None:
    """Waiting for a place included: silent nodes hold no batch for longer than one look."""
    async with http_fleet(AgentsSettings(silent_max=1)) as fleet:
        hanging = [(await fleet.put(MemoryNode(f"h{number}", hangs=True))) for number in range(6)]
        begun = time.monotonic()
        await asyncio.gather(*(fleet.agents.look(one.evolve(timeout_s=1.0, silent=True)) for one in hanging))

    assert time.monotonic() - begun < 2.5
