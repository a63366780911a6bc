"""Duty: put due work on the queue. `operate` runs it as a loop; this is one turn by hand."""

from __future__ import annotations

from prefect import flow

from blocks.fleet import Connections
from flows.entry import FLEET, run, utc_now, who
from tasks.decide.audit import Command
from tasks.duties import Enqueued, enqueue_due


@flow(name="enqueue")
def enqueue(fleet: str = FLEET) -> Enqueued:
    """Queue what is due and send pointers to it. Harmless when it runs twice: work coalesces.

    Args:
        fleet: name of the Fleet block.
    """

    async def sentence(connections: Connections) -> Enqueued:
        return await enqueue_due(await connections.store(), await connections.work_queue(), utc_now())

    return run(sentence, fleet, command=Command("enqueue", "one turn", who(None)))
