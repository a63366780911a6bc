"""A worker's shift: take a seat, run work off the queue, do the duties it wins, hand everything back at the end.

Seats bound the number of workers. A run that finds none free waits as *standby* and takes the next one that gets free, so
that no seat stays empty; any further run ends at once. What a shift holds are claims that vanish with its process: another
one takes over within a session timeout. SIGTERM (a planned stop) and the end of the shift hand over at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from prefect import flow

from blocks.fleet import Connections, Workers
from flows.entry import FLEET, run, utc_now
from flows.garbage import seldom_collected
from flows.shift import Shift, ShiftReport


@flow(name="operate", flow_run_name="shift")
def operate(shift_s: float | None = None, patience_s: float = 0.0, fleet: str = FLEET) -> ShiftReport:
    """Work for a bounded time as one of the fleet's workers.

    Args:
        shift_s: how long, in seconds; None means as the Fleet block says.
        patience_s: how many seconds to wait while all seats and the standby place are taken; 0 = end at once. A serving
            process that comes back uses it: what its dead shifts held goes only with their sessions.
        fleet: name of the Fleet block.
    """
    stop = asyncio.Event()

    async def sentence(connections: Connections) -> ShiftReport:
        workers = connections.settings.workers
        settings = workers if shift_s is None else workers.model_copy(update={"shift_s": shift_s})
        shift = await shift_of(connections, settings, stop, patience_s=patience_s)
        with seldom_collected(settings.collect_after):
            return await shift.work()

    return run(sentence, fleet, on_sigterm=stop.set)


async def shift_of(
    connections: Connections,
    settings: Workers,
    stop: asyncio.Event,
    *,
    patience_s: float = 0.0,
    clock: Callable[[], datetime] = utc_now,
) -> Shift:
    """A shift on live connections.

    Args:
        connections: all parts are connected.
        settings: how the shift works.
        stop: set to end it early.
        patience_s: see `operate`.
        clock: what tells it the time.
    """
    return Shift(
        coordinator=await connections.coordinator(),
        store=await connections.store(),
        queue=await connections.work_queue(),
        bus=await connections.event_bus(),
        agents=await connections.agents(),
        sources=await connections.sources(),
        runs=await connections.runs(),
        secrets=await connections.secrets(),
        settings=settings,
        clock=clock,
        outside=connections,
        stop=stop,
        patience_s=patience_s,
        metrics=await connections.metrics(),
    )
