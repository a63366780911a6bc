from __future__ import annotations

import asyncio

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.models.event import EventType
from blocks.models.record import Fence
from blocks.store.protocol import EventQuery
from doubles.cli import Outside, replictl


async def test_coordinator_reset_raises_the_generation_and_is_told() -> None:
    """A reset raises the generation, and is an event that says who and why."""
    outside = Outside()
    code = await asyncio.to_thread(outside.replictl, "admin", "coordinator-reset", "--reason", "rebuilt")
    claim = await outside.coordinator_.take(ClaimKind.LOCK, "prod/orders", "")
    event, given = await outside.store_.events(EventQuery())

    assert (0, 2, EventType.COMMAND_GIVEN) == (code, claim.generation, given.type)
    assert (EventType.COORDINATOR_RESET, "rebuilt", 2) == (event.type, event.data["why"], event.data["generation"])


@pytest.mark.parametrize(("above", "raised"), [((), 8), (("--above", "20"), 21)])
async def test_coordinator_reset_goes_above_what_is_known(above: tuple[str, ...], raised: int) -> None:
    """A ZooKeeper that lost the generation too begins with 1: the store knows of more, and agents may know of more still."""
    outside = Outside()
    await outside.store_.claim([Fence(subject="prod/orders", generation=7, token=900)])
    await replictl(outside, "admin", "coordinator-reset", "--reason", "rebuilt", *above)
    claim = await outside.coordinator_.take(ClaimKind.LOCK, "prod/orders", "")

    assert raised == claim.generation


async def test_coordinator_reset_needs_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a reason nothing is raised, and that is wrong usage."""
    outside = Outside()
    code = await asyncio.to_thread(outside.replictl, "admin", "coordinator-reset")

    assert 2 == code
    assert "--reason" in capsys.readouterr().err
