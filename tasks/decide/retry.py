"""What failed is done once more as another action, which points at the first: final states never move."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid5

from blocks.errors import RefusedError
from blocks.models.action import Action, ActionState
from tasks.decide.lifecycle import begun

S = ActionState
RETRIABLE = frozenset({S.FAILED, S.LOST, S.CANCELLED})


def retried(action: Action, *, now: datetime, who: str, why: str) -> Action:
    """A new order of the same, which waits for approval. Its id follows from the old one: asked for twice it is one.

    Raises:
        RefusedError: the action has not failed.
    """
    if action.state not in RETRIABLE:
        msg = f"action {action.action_id} is {action.state}; only what is FAILED, LOST or CANCELLED is done once more"
        raise RefusedError(msg)
    again = Action(
        action_id=str(uuid5(UUID(action.action_id), "retry")),
        namespace=action.namespace,
        cluster_id=action.cluster_id,
        node_id=action.node_id,
        kind=action.kind,
        args=action.args,
        metadata=action.metadata,
        state=S.PENDING_APPROVE,
        created_at=now,
        created_by=who,
        timeout_s=action.timeout_s,
        retry_of=action.action_id,
    )
    return begun(again, now=now, who=who, why=why or f"once more what {action.action_id} did not do")
