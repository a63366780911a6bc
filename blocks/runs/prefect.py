"""Flow runs through Prefect's own client. One short-lived client per call: this is asked twice a minute.

Failure modes: the API is away = `DependencyUnavailableError`; it refuses one run = logged, False.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import PrefectException, PrefectHTTPStatusError
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Crashed

from blocks.errors import DependencyUnavailableError
from blocks.runs.protocol import Run

RUNS_MAX = 100
LATE_MAX = 200
DEADLINE_S = 8.0
"""Of one call. Prefect's client alone would repeat for minutes."""

_logger = logging.getLogger("replicore.runs")


class PrefectRuns:
    """The live `Runs`. Which API: Prefect's own settings (`PREFECT_API_URL`)."""

    async def running(self, flow_name: str) -> list[Run]:
        """See `Runs.running`."""
        unfinished = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING])
        async with _translated(), get_client() as client:
            runs = await client.read_flow_runs(
                flow_filter=FlowFilter(name=FlowFilterName(any_=[flow_name])),
                flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=unfinished)),
                limit=RUNS_MAX,
            )
        return [Run(run_id=str(run.id), name=run.name, started_at=run.start_time) for run in runs]

    async def cancel_late(self, flow_name: str, before: datetime, message: str) -> int:
        """See `Runs.cancel_late`."""
        scheduled = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
        late = FlowRunFilter(
            state=scheduled,
            expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"before_": before}),
        )
        state: State[Any] = Cancelled(message=message)
        async with _translated(), get_client() as client:
            flow = FlowFilter(name=FlowFilterName(any_=[flow_name]))
            runs = await client.read_flow_runs(flow_filter=flow, flow_run_filter=late, limit=LATE_MAX)
            for run in runs:
                await client.set_flow_run_state(run.id, state, force=True)
        return len(runs)

    async def crash(self, run_id: str, message: str) -> bool:
        """See `Runs.crash`."""
        state: State[Any] = Crashed(message=message)
        async with _translated(), get_client() as client:
            try:
                await client.set_flow_run_state(run_id, state, force=True)
            except PrefectHTTPStatusError as error:
                _logger.warning("flow run %s could not be marked Crashed: %s", run_id, error)
                return False
        return True


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield
    except (httpx.HTTPError, PrefectException, TimeoutError) as error:
        url = str(get_current_settings().api.url)
        raise DependencyUnavailableError(
            "Prefect", url, type(error).__name__, "Running shifts go on without it."
        ) from error
