"""Serve every deployment of the catalog from one process: `python -m deployments.serve`.

SIGTERM is a planned stop: no new run is started, running ones are told to end (a shift hands its work over at once) and are
waited for, then whatever is left is cancelled. Schedules are not paused, so that other serving processes go on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner

from blocks.errors import ReplicoreError
from blocks.runs.prefect import PrefectRuns
from deployments.catalog import CATALOG, NAME, SHIFT_EVERY, Entry
from deployments.metrics import metrics_served
from deployments.prefect_api import wait_for_prefect

API_DEADLINE_S = 60.0
HAND_OVER_S = 20.0
POLL_S = 2.0
"""How often Prefect is asked for runs to start, in seconds: what a person waits who starts one in the UI."""
PATIENCE_S = 30.0
"""How long our first shift waits for what the shifts of a killed predecessor still hold: longer than a session timeout."""
READY_FILE = "REPLICORE_READY_FILE"


def deployment(entry: Entry) -> RunnerDeployment:
    """One deployment of the catalog."""
    return RunnerDeployment.from_entrypoint(
        entry.entrypoint,
        name=NAME,
        description=entry.description,
        interval=entry.every,
        tags=list(entry.tags),
        parameters=entry.parameters,
    )


class Server(Runner):
    """A runner that lets its runs hand over before it stops."""

    def handle_sigterm(self, *_: Any, **__: Any) -> None:
        """Stop starting runs, tell running ones to end, wait for them, then stop."""
        if not self.started or self.stopping or self._loop is None:
            sys.exit(0)
        self.stopping = True
        self.execute_in_background(self._hand_over)

    async def _hand_over(self) -> None:
        self._scheduled_run_poller.stopping = True
        ends = time.monotonic() + HAND_OVER_S
        for pid in _children():
            _tell(pid)
        while _children() and time.monotonic() < ends:  # noqa: ASYNC110 - the kernel has no event for that
            await asyncio.sleep(0.1)
        await self.astop()


async def _start_shift() -> None:
    """Start a shift now rather than when the timetable next says so; without a free seat it ends at once."""
    async with get_client() as client:
        operate = await client.read_deployment_by_name(f"operate/{NAME}")
        await client.create_flow_run_from_deployment(operate.id, parameters={"patience_s": PATIENCE_S})


async def _drop_late_shifts() -> None:
    """After a long stop every missed shift would start at once: keep the latest, cancel the others."""
    before = datetime.now(UTC) - 2 * SHIFT_EVERY
    await PrefectRuns().cancel_late("operate", before, "nobody was serving when it was due")


def _say_ready() -> None:
    """Tell whoever supervises us, by a file whose name it gave us, that every deployment is registered."""
    print(f"serving {len(CATALOG)} deployments", flush=True)  # noqa: T201 - a command speaks to its user
    if path := os.environ.get(READY_FILE):
        Path(path).write_text(f"{os.getpid()}\n")


def _children() -> list[int]:
    """Processes that we started and that still run."""
    tasks = Path(f"/proc/{os.getpid()}/task")
    listed = (task / "children" for task in tasks.iterdir())
    return [int(pid) for children in listed if children.exists() for pid in children.read_text().split()]


def _tell(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return


async def serve() -> None:
    """Serve the catalog until SIGTERM.

    Raises:
        DependencyUnavailableError: the Prefect API did not answer in time.
    """
    await wait_for_prefect(API_DEADLINE_S)
    await _drop_late_shifts()
    server = Server(name="replicore", pause_on_shutdown=False, limit=None, query_seconds=POLL_S)
    for entry in CATALOG:
        await server.aadd_deployment(deployment(entry))
    async with metrics_served(os.environ, lambda: datetime.now(UTC)):
        await _start_shift()
        _say_ready()
        await server.start()


def main() -> int:
    """The command."""
    try:
        asyncio.run(serve())
    except ReplicoreError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command speaks to its user
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
