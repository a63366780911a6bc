"""What is believed of actions after the store was set back to an earlier moment. Pure."""

from __future__ import annotations

from datetime import datetime

from blocks.models.action import Action, Intent
from blocks.models.base import Fact
from tasks.decide.lifecycle import noted


class Restored(Fact):
    """What was done to make a store safe that had been set back."""

    read_back: int
    """Events that it had lost and the bus had."""
    doubted: int
    """Actions that are asked for before anything is sent."""
    on_clusters: tuple[str, ...] = ()
    """Unfinished actions on whole clusters: nobody can be asked whether they were done since."""
    rollings: tuple[str, ...] = ()
    """Unfinished rolling actions: they know only of the nodes that were done by then."""


def doubted(action: Action, now: datetime) -> Action | None:
    """An action that looks unsent and may have been sent after the moment of the backup: with an intent, so that its agent is
    asked for it by id before it is sent, and by whoever cancels it. None where nothing has to change.
    """
    if action.node_id is None or action.state.final or action.state.on_agent or action.intent is not None:
        return None
    return noted(action, intent=Intent(attempt=action.attempts, generation=0, token=0, at=now, answer_by=now))
