"""A person agrees to an action."""

from __future__ import annotations

from uuid import UUID

from prefect import flow

from blocks.models.action import Action, ActionState
from blocks.models.rolling import Rolling
from flows.entry import FLEET
from flows.ordering import order_action


@flow(name="approve", flow_run_name="approve {action_id}")
def approve(
    action_id: UUID,
    comment: str = "",
    force: bool = False,
    digest: str | None = None,
    by: str | None = None,
    fleet: str = FLEET,
) -> Action | Rolling:
    """Approve an action that waits for approval; it is sent as soon as its node is free.

    Args:
        action_id: the action's id, or that of a rolling action.
        comment: why; kept in the action's history.
        force: it may go beyond budgets and risk the cluster's health; needs a comment.
        digest: of a rolling action: only if that is the digest of its plan.
        by: who approves it; None means this flow run.
        fleet: name of the Fleet block.
    """
    return order_action(
        "approve", action_id, ActionState.PENDING_SCHEDULE, comment, by, fleet, forced=force, digest=digest
    )
