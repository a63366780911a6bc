from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import pytest

from blocks.errors import DependencyUnavailableError, RefusedError
from blocks.models.event import SYSTEM_STREAM, EventType
from doubles.world import World
from flows.audit import audited, origin
from tasks.decide.audit import Command

COMMAND = Command("approve", "4711", "ann@here", {"comment": "go", "force": False})


async def _given(world: World, error: BaseException | None) -> None:
    if error is None:
        async with audited(world.store, COMMAND, world.clock):
            return
    with pytest.raises(type(error)):
        async with audited(world.store, COMMAND, world.clock):
            raise error


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (None, "done", None),
        (RefusedError("it is DONE"), "refused", "it is DONE"),
        (ValueError("a fault of ours"), "failed", "a fault of ours"),
        (asyncio.CancelledError(), "failed", "CancelledError"),
    ],
)
async def test_a_command_is_kept_whatever_comes_of_it(
    world: World, error: BaseException | None, outcome: str, reason: str | None
) -> None:
    """Who, what, from where, and the outcome with its reason; in the system's stream."""
    await _given(world, error)
    (event,) = world.events

    assert (EventType.COMMAND_GIVEN, SYSTEM_STREAM, "4711") == (event.type, event.stream, event.subject)
    assert ("approve", "ann@here", outcome, reason, origin()) == tuple(
        event.data[name] for name in ("command", "who", "outcome", "reason", "origin")
    )
    assert {"comment": "go"} == event.data["arguments"]


async def test_what_cannot_be_kept_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The store is away: the command's own outcome stands, and the log has the whole entry."""
    world.store.down = True
    with caplog.at_level(logging.ERROR):
        await _given(world, DependencyUnavailableError("MongoDB", "memory", "away", ""))

    assert "this is not in the audit" in caplog.text
    assert "ann@here" in caplog.text


async def test_arguments_are_json_of_a_bounded_size(world: World) -> None:
    """Times as text, long texts cut, what was not given left out."""
    command = Command(
        "freeze", "x" * 2_000, "ann", {"until": datetime(2026, 1, 1, tzinfo=UTC), "reason": "y" * 5_000, "none": None}
    )
    async with audited(world.store, command, world.clock):
        pass
    (event,) = world.events

    assert ({"until": "2026-01-01T00:00:00Z", "reason": "y" * 1_000}, 500) == (
        event.data["arguments"], len(event.subject),
    )  # fmt: skip
