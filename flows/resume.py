"""Go on with a cluster or source that was paused."""

from __future__ import annotations

from prefect import flow

from blocks.fleet import Connections
from blocks.models.request import Request
from flows.entry import FLEET, run, utc_now, who
from flows.steps import Steps
from tasks.decide.audit import Command
from tasks.decide.pausing import Pausable
from tasks.pausing import pause_turns


@flow(name="resume", flow_run_name="resume {kind} {name}")
def resume(kind: Pausable, name: str, reason: str = "", by: str | None = None, fleet: str = FLEET) -> Request:
    """End the pause of a cluster or source: its next turn comes within one interval.

    Args:
        kind: what it is.
        name: `namespace/name`.
        reason: why; kept with the event.
        by: who resumes it; None means this flow run.
        fleet: name of the Fleet block.
    """

    async def sentence(connections: Connections) -> Request:
        store, steps = await connections.store(), Steps(watched=True)
        return await steps("resume", pause_turns, store, kind, name, None, who(by), reason or None, utc_now())

    command = Command(name="resume", subject=f"{kind} {name}", by=who(by), arguments={"reason": reason})
    return run(sentence, fleet, command=command)
