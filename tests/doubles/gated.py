"""Cycles of clusters that have gates in front of them, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from blocks.agents.protocol import Agents
from blocks.models.gate import Gate
from blocks.models.ids import ClusterRef
from blocks.models.look import Look
from doubles.agents import MemoryAgents
from doubles.world import World
from flows.cycle import Mode, cycle
from tasks.decide.gating import EVERYTHING, freeze_of
from tasks.gating import place

RESTART = "agent.replicante.io/service.restart"
"""A kind that keeps its node from serving."""


async def turned(world: World, ref: ClusterRef, agents: Agents | None = None) -> dict[str, list[str]]:
    """One cycle; by action id, the rules that kept it."""
    [report] = (await cycle(await world.turn(agents=agents), [ref], Mode.ORCHESTRATE)).reports
    assert report.error is None
    world.advance(2)
    return {action_id: [block.rule for block in why] for action_id, why in report.choice.blocked.items()}


async def frozen(world: World, target: str = EVERYTHING, until: datetime | None = None) -> Gate:
    """A freeze."""
    return await place.fn(world.store, freeze_of(target, "disk trouble", until, "ann", world.clock()), world.clock())


def frozen_meanwhile(world: World, target: str) -> MemoryAgents:
    """Agents that are looked at just when a freeze comes: too late for the choice, in time for the sending."""

    class Freezing(MemoryAgents):
        async def look(self, target_: Any, action_ids: Sequence[str] = ()) -> Look:
            await frozen(world, target)
            return await super().look(target_, action_ids)

    return Freezing(world.agents.nodes)
