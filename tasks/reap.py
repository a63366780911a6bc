"""Mark flow runs Crashed whose process is gone, so that nobody waits for them: Prefect alone would leave them Running."""

from __future__ import annotations

from datetime import datetime, timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed

from blocks.coordinator.protocol import ClaimKind, Coordinator

GRACE_S = 30.0
"""A shift that began this recently may not have taken its seat yet."""
RUNS_MAX = 100


@task(name="reap zombie runs", cache_policy=NO_CACHE)
async def reap_zombies(coordinator: Coordinator, flow_name: str, now: datetime) -> int:
    """Mark Running runs of `flow_name` as Crashed when neither a seat, the standby place nor a worker names them."""
    alive = {
        holder.flow_run
        for kind in (ClaimKind.SEAT, ClaimKind.STANDBY, ClaimKind.WORKER)
        for holder in await coordinator.holders(kind)
    }
    crashed = 0
    async with get_client() as client:
        runs = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow_name])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING]))
            ),
            limit=RUNS_MAX,
        )
        for run in runs:
            begun = run.start_time
            if str(run.id) in alive or begun is None or begun > now - timedelta(seconds=GRACE_S):
                continue
            message = "its worker's presence is gone; its work was taken over"
            await client.set_flow_run_state(run.id, Crashed(message=message), force=True)
            crashed += 1
    return crashed
