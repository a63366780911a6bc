"""Mark flow runs Crashed whose process is gone, so that nobody waits for them: Prefect alone would leave them Running."""

from __future__ import annotations

from datetime import datetime, timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.coordinator.protocol import ClaimKind, Coordinator
from blocks.runs.protocol import Runs

GRACE_S = 30.0
"""A shift that began this recently may not have taken its seat yet."""


@task(name="reap zombie runs", cache_policy=NO_CACHE)
async def reap_zombies(coordinator: Coordinator, runs: Runs, flow_name: str, now: datetime) -> int:
    """Mark running runs of `flow_name` as Crashed that neither a seat, the standby place nor a worker names.

    Returns how many. Runs are listed before the claims, so that one which has just begun is never taken for dead.
    """
    old = now - timedelta(seconds=GRACE_S)
    suspects = [run for run in await runs.running(flow_name) if run.started_at is not None and run.started_at < old]
    if not suspects:
        return 0
    alive = {
        holder.flow_run
        for kind in (ClaimKind.SEAT, ClaimKind.STANDBY, ClaimKind.WORKER)
        for holder in await coordinator.holders(kind)
    }
    message = "its worker's presence is gone; its work was taken over"
    return sum([await runs.crash(run.run_id, message) for run in suspects if run.run_id not in alive])
