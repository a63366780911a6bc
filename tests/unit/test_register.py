"""Preparing the servers, as far as it needs none."""

from __future__ import annotations

import asyncio

from blocks.coordinator.protocol import ClaimKind
from deployments.register import DUTY, prepare
from doubles.cli import Outside
from doubles.coordinator import MemoryCoordinator


async def test_one_prepares_at_a_time() -> None:
    """Who comes second waits until the first is done, or is gone; afterwards nobody holds it."""
    outside = Outside()
    first = MemoryCoordinator(outside.coordinator_.zookeeper, worker="first")
    await first.connect()
    claim = await first.take(ClaimKind.DUTY, DUTY, "prepares")
    second = asyncio.create_task(prepare(outside))
    for _ in range(20):
        await asyncio.sleep(0)
    before = outside.bus.prepared
    await first.give_back([claim])
    await asyncio.wait_for(second, 5)

    assert (0, 1) == (before, outside.bus.prepared)
    assert [] == await first.holders(ClaimKind.DUTY)
