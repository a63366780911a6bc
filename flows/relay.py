"""Duty: carry events from the outbox to the bus. `operate` runs it as a loop; this is one turn by hand."""

from __future__ import annotations

from prefect import flow

from blocks.coordinator.protocol import ClaimKind
from blocks.fleet import Connections
from flows.entry import FLEET, run, utc_now, who
from tasks.decide.audit import Command
from tasks.duties import Relay, Relayed, relay_events

DUTY = "relay"


@flow(name="relay")
def relay(fleet: str = FLEET, wait_s: float = 15.0) -> Relayed:
    """Publish events that wait in the outbox, in their order, holding the duty so that no two relays run at once.

    Args:
        fleet: name of the Fleet block.
        wait_s: how many seconds to wait for the duty.
    """

    async def sentence(connections: Connections) -> Relayed:
        coordinator = await connections.coordinator()
        claim = await coordinator.take(ClaimKind.DUTY, DUTY, "relay by hand", wait_s=wait_s)
        try:
            return await relay_events(await connections.store(), await connections.event_bus(), Relay(), utc_now())
        finally:
            await coordinator.give_back([claim])

    return run(sentence, fleet, command=Command("relay", "one turn", who(None)))
