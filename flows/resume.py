"""Go on with a cluster or source that was paused."""

from __future__ import annotations

from typing import Literal

from prefect import flow

from blocks.fleet import Connections
from blocks.models.request import Request
from blocks.models.rolling import Rolling, RollingState
from flows.entry import FLEET, run, utc_now, who
from flows.ordering import look_after
from flows.steps import Steps
from tasks.decide.audit import Command
from tasks.decide.pausing import Pausable
from tasks.order_rolling import order_rolling
from tasks.pausing import pause_turns


@flow(name="resume", flow_run_name="resume {kind} {name}")
def resume(
    kind: Pausable | Literal["rolling"], name: str, reason: str = "", by: str | None = None, fleet: str = FLEET
) -> Request | Rolling:
    """End the pause of a cluster or source: its next turn comes within one interval. Or go on with a rolling action.

    Args:
        kind: what it is.
        name: `namespace/name`, or the id of a rolling action.
        reason: why; kept with the event.
        by: who resumes it; None means this flow run.
        fleet: name of the Fleet block.
    """

    async def sentence(connections: Connections) -> Request | Rolling:
        if kind == "rolling":
            return await resume_rolling(connections, name, who(by), reason, Steps(watched=True))
        store, steps = await connections.store(), Steps(watched=True)
        return await steps("resume", pause_turns, store, kind, name, None, who(by), reason or None, utc_now())

    command = Command(name="resume", subject=f"{kind} {name}", by=who(by), arguments={"reason": reason})
    return run(sentence, fleet, command=command)


async def resume_rolling(connections: Connections, rolling_id: str, by: str, reason: str, steps: Steps) -> Rolling:
    """Go on with a rolling action that is paused, at once.

    Raises:
        NotFoundError: there is none of that id.
        RefusedError: it is not paused, or its cluster is not the one of its plan any more: then it has lapsed.
    """
    store, running, paused = await connections.store(), RollingState.RUNNING, RollingState.PAUSED
    rolling = await steps("order", order_rolling, store, rolling_id, running, by, reason, utc_now(), paused)
    await look_after(connections, rolling.cluster, steps)
    return rolling
