"""Actions for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from blocks.models.action import Action, ActionState

CREATED = datetime(2026, 3, 1, 12, 0, 0, 123_000, UTC)


def action_id(number: int) -> str:
    """A UUID that is easy to recognise."""
    return str(UUID(int=number))


def make_action(number: int = 1, **fields: Any) -> Action:
    """An action on `prod/orders/n1`, ready to be sent."""
    basics = {
        "action_id": action_id(number),
        "namespace": "prod",
        "cluster_id": "orders",
        "node_id": "n1",
        "kind": "agent.replicante.io/test.success",
        "args": {"count": 3},
        "metadata": {"ticket": "42"},
        "state": ActionState.PENDING_SCHEDULE,
        "created_at": CREATED,
        "created_by": "ann",
    }
    return Action.model_validate({**basics, **fields})
