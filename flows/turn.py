"""Connect what a turn of the cycle needs."""

from __future__ import annotations

from blocks.fleet import Connections
from flows.entry import utc_now
from flows.steps import Steps, Turn


async def watched_turn(connections: Connections) -> Turn:
    """For a run that a person starts: every verb is a task run."""
    return Turn(
        coordinator=await connections.coordinator(),
        store=await connections.store(),
        agents=await connections.agents(),
        clock=utc_now,
        steps=Steps(watched=True),
    )
