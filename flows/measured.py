"""Agents and the bus as before, with what they do counted and timed. Only there when somebody wants to know."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

from blocks.agents.protocol import Agents, Proof, Target
from blocks.event_bus.protocol import EventBus
from blocks.metrics.protocol import Metrics
from blocks.models.action import Action
from blocks.models.event import Event
from blocks.models.look import AgentAction, Failure, Glimpse, Look
from blocks.models.sent import Sent


class MeasuredAgents:
    """See `Agents`."""

    def __init__(self, agents: Agents, metrics: Metrics) -> None:
        """Measure these."""
        self._agents = agents
        self._metrics = metrics

    async def look(self, target: Target, action_ids: Sequence[str] = ()) -> Look:
        """See `Agents.look`."""
        begun = time.monotonic()
        look = await self._agents.look(target, action_ids)
        self._metrics.looked(_outcome(look), time.monotonic() - begun)
        return look

    async def probe(self, target: Target, *, shards: bool) -> Glimpse | Failure:
        """See `Agents.probe`."""
        begun = time.monotonic()
        answer = await self._agents.probe(target, shards=shards)
        self._metrics.probed(time.monotonic() - begun, answered=not isinstance(answer, Failure))
        return answer

    async def action(self, target: Target, action_id: str) -> AgentAction | Failure | None:
        """See `Agents.action`."""
        return await self._agents.action(target, action_id)

    async def send(
        self, target: Target, action: Action, fence: str, budget_s: float, *, proof: Proof | None = None
    ) -> Sent:
        """See `Agents.send`."""
        return await self._agents.send(target, action, fence, budget_s, proof=proof)


class MeasuredBus:
    """See `EventBus`."""

    def __init__(self, bus: EventBus, metrics: Metrics) -> None:
        """Measure this one."""
        self._bus = bus
        self._metrics = metrics

    async def ready(self) -> None:
        """See `EventBus.ready`."""
        await self._bus.ready()

    async def prepare(self) -> None:
        """See `EventBus.prepare`."""
        await self._bus.prepare()

    async def faults(self) -> list[str]:
        """See `EventBus.faults`."""
        return await self._bus.faults()

    async def publish(self, events: Sequence[Event], *, within_s: float | None = None) -> list[str]:
        """See `EventBus.publish`."""
        stored = await self._bus.publish(events, within_s=within_s)
        there = set(stored)
        self._metrics.published(event.type for event in events if event.event_id in there)
        return stored

    def recorded(self, since: datetime) -> AsyncGenerator[list[Event], None]:
        """See `EventBus.recorded`."""
        return self._bus.recorded(since)

    def follow(self, since: datetime | None = None) -> AsyncGenerator[Event, None]:
        """See `EventBus.follow`."""
        return self._bus.follow(since)


def _outcome(look: Look) -> str:
    if isinstance(look.info, Failure):
        return "failed"
    parts = (look.store, look.shards, look.actions, *look.details.values())
    return "partial" if any(isinstance(part, Failure) for part in parts) else "complete"
