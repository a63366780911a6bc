"""Duty: repair what dead processes left behind. `operate` runs it as a loop; this is one turn by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from prefect import flow

from blocks.coordinator.protocol import Coordinator
from blocks.fleet import Connections
from blocks.runs.protocol import Runs
from blocks.secrets.protocol import Secrets
from blocks.store.protocol import Store
from flows.dead_work import Untellable, tell_dead_work
from flows.emptying import empty_namespaces
from flows.entry import FLEET, run, utc_now, who
from flows.steps import Steps
from tasks.decide.audit import Command
from tasks.duties import Swept, mend_timetable, requeue_orphans
from tasks.orphans import cancel_all_orphans
from tasks.reap import reap_zombies

OPERATE = "operate"


@flow(name="sweep")
def sweep(fleet: str = FLEET) -> Swept:
    """Take work back from workers that are gone, mend the timetable, mark runs Crashed whose process is gone, have
    problems name dead work, and remove what is in namespaces that are being deleted.

    Args:
        fleet: name of the Fleet block.
    """

    async def sentence(connections: Connections) -> Swept:
        return await sweep_once(
            await connections.coordinator(),
            await connections.store(),
            await connections.runs(),
            await connections.secrets(),
            utc_now,
            Steps(watched=True),
        )

    return run(sentence, fleet, command=Command("sweep", "one turn", who(None)))


async def sweep_once(
    coordinator: Coordinator,
    store: Store,
    runs: Runs,
    secrets: Secrets,
    clock: Callable[[], datetime],
    steps: Steps,
    *,
    thorough: bool = True,
    untellable: Untellable | None = None,
) -> Swept:
    """One turn.

    Args:
        coordinator: who is alive.
        store: whose work must be saved.
        runs: Prefect's flow runs.
        secrets: where secrets are kept.
        clock: the present.
        steps: how to run the verbs.
        thorough: also mend the timetable, ask Prefect for zombies, have problems name dead work, and look into namespaces
            that are gone.
        untellable: clusters whose dead work earlier turns could not tell of.

    Raises:
        DependencyUnavailableError: a server is gone. While that is Prefect alone, everything else is done.
    """
    requeued = await steps("requeue", requeue_orphans, coordinator, store, clock())
    swept = Swept(requeued=requeued)
    if thorough:
        changes = await steps("mend", mend_timetable, store, clock())
        orphans = await steps("orphans", cancel_all_orphans, store, clock())
        told = await tell_dead_work(coordinator, store, clock, steps, untellable)
        swept = Swept(requeued=requeued, timetable_changes=changes, dead_told=told, orphans=orphans)
    emptied = await empty_namespaces(coordinator, store, secrets, clock, steps, thorough=thorough)
    swept = swept.evolve(removed=emptied.removed, removing=emptied.more)
    if thorough:  # last: nothing else needs Prefect
        swept = swept.evolve(crashed=await steps("reap", reap_zombies, coordinator, runs, OPERATE, clock()))
    return swept
