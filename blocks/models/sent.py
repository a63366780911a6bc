"""What came of sending an action to an agent."""

from __future__ import annotations

from blocks.models.base import Fact, Text


class Sent(Fact):
    """What came of sending an action."""

    accepted: bool
    """The agent has it (now, or already had it)."""
    refused: Text | None = None
    """The agent will never take it (bad kind or arguments): no use in trying again."""
    superseded: bool = False
    """The agent has seen a newer fencing token: we are not the holder any more."""
    failed: Text | None = None
    """It could not be sent, or nobody knows whether it was."""
    maybe_sent: bool = False
    """With `failed`: the request may have reached the agent."""
    notes: tuple[Text, ...] = ()
    """What of the action the agent's protocol had no room for."""
