"""Stop everything: from now on nothing begins on a cluster, a namespace, or anywhere, until it is lifted."""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from blocks.errors import InvalidInputError
from blocks.fleet import Connections
from blocks.models.gate import Gate
from flows.entry import FLEET, run, utc_now, who
from tasks.decide.audit import Command
from tasks.decide.gating import freeze_of
from tasks.gating import place


@flow(name="freeze", flow_run_name="freeze {target}")
def freeze(
    reason: str,
    target: str = "everything",
    until: datetime | None = None,
    by: str | None = None,
    fleet: str = FLEET,
) -> Gate:
    """Let no action begin any more: not on nodes, not on clusters, whoever ordered it. What agents do already goes on.

    Args:
        reason: why; shown to everybody whose action waits.
        target: `everything`, a namespace, or `namespace/cluster`.
        until: when it ends by itself; None: when it is lifted.
        by: who freezes it; None means this flow run.
        fleet: name of the Fleet block.
    """

    async def sentence(connections: Connections) -> Gate:
        if not reason.strip():
            message = f"say why {target} is frozen: others will want to know"
            raise InvalidInputError(message)
        now = utc_now()
        gate = freeze_of(target, reason, until, who(by), now)
        return await place(await connections.store(), gate, now)

    command = Command(name="freeze", subject=target, by=who(by), arguments={"reason": reason, "until": until})
    return run(sentence, fleet, command=command)
