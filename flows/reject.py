"""A person refuses an action."""

from __future__ import annotations

from uuid import UUID

from prefect import flow

from blocks.models.action import Action, ActionState
from blocks.models.rolling import Rolling
from flows.entry import FLEET
from flows.ordering import order_action


@flow(name="reject", flow_run_name="reject {action_id}")
def reject(action_id: UUID, comment: str = "", by: str | None = None, fleet: str = FLEET) -> Action | Rolling:
    """Reject an action that waits for approval; it is cancelled and never sent.

    Args:
        action_id: the action's id, or that of a rolling action.
        comment: why; kept in the action's history.
        by: who rejects it; None means this flow run.
        fleet: name of the Fleet block.
    """
    return order_action(
        "reject", action_id, ActionState.CANCELLED, comment, by, fleet, only_from=ActionState.PENDING_APPROVE
    )
