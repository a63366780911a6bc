"""Leave a cluster or a source alone for a while: work on it by hand, without the timetable in between."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from prefect import flow

from blocks.errors import InvalidInputError
from blocks.fleet import Connections
from blocks.models.request import Request
from blocks.models.rolling import Rolling, RollingState
from blocks.store.protocol import Store
from flows.entry import FLEET, run, utc_now, who
from flows.steps import Steps
from tasks.decide.audit import Command
from tasks.decide.pausing import Pausable, pause_end
from tasks.order_rolling import order_rolling
from tasks.pausing import pause_turns


@flow(name="pause", flow_run_name="pause {kind} {name}")
def pause(
    kind: Pausable | Literal["rolling"],
    name: str,
    reason: str,
    for_s: float | None = None,
    until: datetime | None = None,
    by: str | None = None,
    fleet: str = FLEET,
) -> Request | Rolling:
    """Have the timetable (and the watch) leave a cluster or source alone. Who asks for it by name is served all the same.
    Or let a rolling action begin nothing more, until it is resumed.

    Args:
        kind: what it is.
        name: `namespace/name`, or the id of a rolling action.
        reason: why; shown beside the pause.
        for_s: for how many seconds; or give until.
        until: until when, at most 366 days ahead; or give for_s.
        by: who pauses it; None means this flow run.
        fleet: name of the Fleet block.
    """

    async def sentence(connections: Connections) -> Request | Rolling:
        if kind == "rolling":
            return await pause_rolling(
                await connections.store(), name, for_s, until, who(by), reason, Steps(watched=True)
            )
        now = utc_now()
        end = pause_end(until, for_s, now=now)
        return await pause_until(await connections.store(), kind, name, end, who(by), reason, now, Steps(watched=True))

    command = Command(
        name="pause", subject=f"{kind} {name}", by=who(by), arguments={"reason": reason, "for_s": for_s, "until": until}
    )
    return run(sentence, fleet, command=command)


async def pause_rolling(
    store: Store,
    rolling_id: str,
    for_s: float | None,
    until: datetime | None,
    by: str,
    reason: str,
    steps: Steps,
) -> Rolling:
    """Let a rolling action begin nothing more. It goes on only by order: nothing of that kind begins unseen.

    Raises:
        InvalidInputError: an end is given, or no reason.
        NotFoundError: there is none of that id.
        RefusedError: it does not run.
    """
    if for_s is not None or until is not None:
        message = "a rolling action is paused until somebody resumes it: give neither for_s nor until"
        raise InvalidInputError(message)
    if not reason.strip():
        message = f"say why rolling action {rolling_id} is paused: others will want to know"
        raise InvalidInputError(message)
    return await steps("order", order_rolling, store, rolling_id, RollingState.PAUSED, by, reason, utc_now())


async def pause_until(
    store: Store, kind: Pausable, name: str, end: datetime, by: str, reason: str, now: datetime, steps: Steps
) -> Request:
    """Pause a cluster or source until then.

    Raises:
        InvalidInputError: there is no reason, or `name` is not the name of one.
        NotFoundError: there is none of that name.
        DependencyUnavailableError: the store is gone.
    """
    if not reason.strip():
        message = f"say why {kind} {name} is paused: others will want to know"
        raise InvalidInputError(message)
    return await steps("pause", pause_turns, store, kind, name, end, by, reason, now)
