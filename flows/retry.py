"""A person wants once more what failed."""

from __future__ import annotations

from uuid import UUID

from prefect import flow

from blocks.fleet import Connections
from blocks.models.action import Action
from blocks.models.rolling import Rolling
from flows.entry import FLEET, run, utc_now, who
from flows.ordering import is_rolling
from tasks.decide.audit import Command
from tasks.order import order_again
from tasks.order_rolling import order_rest


@flow(name="retry", flow_run_name="retry {action_id}")
def retry(action_id: UUID, comment: str = "", by: str | None = None, fleet: str = FLEET) -> Action | Rolling:
    """Order once more what is FAILED, LOST or CANCELLED: a new action that points at the old one, and waits for approval.
    Of a rolling action that is finished: a new one for the nodes on which it is not done.

    Args:
        action_id: the old action's id. Asked for twice, it is one order; to try a third time, retry the second.
        comment: why; kept in the new action's history.
        by: who orders it; None means this flow run.
        fleet: name of the Fleet block.
    """

    async def sentence(connections: Connections) -> Action | Rolling:
        store, now = await connections.store(), utc_now()
        verb = order_rest if await is_rolling(store, str(action_id)) else order_again
        return await verb(store, str(action_id), who(by), comment, now)

    command = Command(name="retry", subject=str(action_id), by=who(by), arguments={"comment": comment})
    return run(sentence, fleet, command=command)
