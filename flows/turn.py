"""One cluster's cycle by order of a person: connected, watched step by step, shown in the Prefect UI."""

from __future__ import annotations

from blocks.fleet import Connections
from blocks.models.ids import ClusterRef
from blocks.models.report import Report
from flows.artifacts import show_cluster
from flows.cycle import Mode, cycle_one
from flows.entry import run, utc_now, who
from flows.steps import Steps, Turn
from tasks.decide.audit import Command


async def watched_turn(connections: Connections) -> Turn:
    """For a run that a person starts: every verb is a task run."""
    return Turn(
        coordinator=await connections.coordinator(),
        store=await connections.store(),
        agents=await connections.agents(),
        clock=utc_now,
        steps=Steps(watched=True),
        outside=connections,
    )


def cycle_by_hand(cluster: str, mode: Mode, wait_s: float, fleet: str) -> Report:
    """What `observe`, `act` and `orchestrate` do when a person starts them.

    Raises:
        InvalidInputError: `cluster` is not the name of a cluster.
        NotFoundError: there is no such cluster.
        BusyError: its lock did not become free in time.
        DependencyUnavailableError: a server does not answer.
    """

    async def sentence(connections: Connections) -> Report:
        ref = ClusterRef.parse(cluster)
        report = await cycle_one(await watched_turn(connections), ref, mode, wait_s=wait_s)
        await show_cluster(await connections.store(), ref, report)
        return report

    command = Command(name=mode.value, subject=cluster, by=who(None))
    return run(sentence, fleet, command=command)
