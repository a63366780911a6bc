"""A person no longer wants an action."""

from __future__ import annotations

from uuid import UUID

from prefect import flow

from blocks.models.action import Action, ActionState
from blocks.models.rolling import Rolling
from flows.entry import FLEET
from flows.ordering import order_action


@flow(name="cancel", flow_run_name="cancel {action_id}")
def cancel(action_id: UUID, comment: str = "", by: str | None = None, fleet: str = FLEET) -> Action | Rolling:
    """Cancel an action that has not finished. What its agent has already begun may still run to its end there.

    Args:
        action_id: the action's id, or that of a rolling action.
        comment: why; kept in the action's history.
        by: who cancels it; None means this flow run.
        fleet: name of the Fleet block.
    """
    return order_action("cancel", action_id, ActionState.CANCELLED, comment, by, fleet)
