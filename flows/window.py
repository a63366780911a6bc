"""Times in which actions may begin, or may not."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from prefect import flow

from blocks.fleet import Connections
from blocks.models.gate import Gate, Weekly
from flows.entry import FLEET, run, utc_now, who
from tasks.decide.audit import Command
from tasks.decide.gating import window_of
from tasks.gating import place


@flow(name="window", flow_run_name="{kind} {name}")
def window(
    name: str,
    kind: Literal["maintenance", "blackout"],
    reason: str,
    owner: str,
    expires_at: datetime,
    target: str = "everything",
    labels: dict[str, str] | None = None,
    starts_at: datetime | None = None,
    weekly: Weekly | None = None,
    by: str | None = None,
    fleet: str = FLEET,
) -> Gate:
    """Declare a window, or change the one of its name.

    While a blackout is open nothing begins. Where there are maintenance windows, things begin only while one of them is open.

    Args:
        name: what it is called.
        kind: maintenance or blackout.
        reason: why; shown to everybody whose action waits.
        owner: who answers for it.
        expires_at: when it ends for good.
        target: `everything`, a namespace, or `namespace/cluster`.
        labels: only clusters that have all these.
        starts_at: not before this; None: at once.
        weekly: open at these times only (days, at, minutes, zone); None: all the time.
        by: who declares it; None means this flow run.
        fleet: name of the Fleet block.
    """

    async def sentence(connections: Connections) -> Gate:
        now = utc_now()
        gate = window_of(name, kind, reason, owner, expires_at, target, labels or {}, starts_at, weekly, who(by), now)
        return await place(await connections.store(), gate, now)

    command = Command(
        name="window",
        subject=name,
        by=who(by),
        arguments={
            "kind": kind,
            "reason": reason,
            "owner": owner,
            "expires_at": expires_at,
            "target": target,
            "labels": labels,
            "starts_at": starts_at,
            "weekly": weekly,
        },
    )
    return run(sentence, fleet, command=command)
