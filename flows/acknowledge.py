"""A person says that a problem has been seen: others need not look, and what only tells of the past is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from prefect import flow

from blocks.coordinator.protocol import Coordinator
from blocks.errors import InvalidInputError
from blocks.fleet import Connections
from blocks.models.ids import ClusterRef
from blocks.models.problem import Acknowledgement, Problem
from blocks.store.protocol import Store
from flows.entry import FLEET, run, utc_now, who
from flows.steps import Steps
from tasks.acknowledge import acknowledge_problems
from tasks.decide.audit import Command
from tasks.hold import check_held, hold_clusters, let_go

PURPOSE = "acknowledge a problem"


@flow(name="acknowledge", flow_run_name="acknowledge {code} of {cluster}")
def acknowledge(
    cluster: str,
    code: str,
    reason: str,
    node: str | None = None,
    wait_s: float = 30.0,
    by: str | None = None,
    fleet: str = FLEET,
) -> tuple[Problem, ...]:
    """Acknowledge the problems of a cluster that have this code. It ends with the problem; OFFSET_WENT_BACK ends by it.

    Args:
        cluster: `namespace/cluster`.
        code: as `replictl problems` shows it.
        reason: why nobody else needs to look; shown beside the problem.
        node: only of this node; None: of all that have it.
        wait_s: how many seconds to wait for the cluster's lock.
        by: who has seen it; None means this flow run.
        fleet: name of the Fleet block.
    """

    async def sentence(connections: Connections) -> tuple[Problem, ...]:
        coordinator, store = await connections.coordinator(), await connections.store()
        return await acknowledge_under_lock(
            coordinator, store, ClusterRef.parse(cluster), code, node, reason, who(by), utc_now, Steps(watched=True), wait_s
        )  # fmt: skip

    command = Command(
        name="acknowledge", subject=cluster, by=who(by), arguments={"code": code, "node": node, "reason": reason}
    )
    return run(sentence, fleet, command=command)


async def acknowledge_under_lock(
    coordinator: Coordinator,
    store: Store,
    ref: ClusterRef,
    code: str,
    node: str | None,
    reason: str,
    by: str,
    clock: Callable[[], datetime],
    steps: Steps,
    wait_s: float = 0.0,
) -> tuple[Problem, ...]:
    """Acknowledge problems of a cluster, under its lock; returns them as they were.

    Raises:
        InvalidInputError: there is no reason.
        NotFoundError: there is no such cluster, or no such problem.
        BusyError: its lock did not become free in time.
        FencedError: somebody else took the lock meanwhile; nothing was written.
        DependencyUnavailableError: the store or the coordinator is gone.
    """
    if not reason.strip():
        message = f"say why {code} of {ref} needs nobody else: others will want to know"
        raise InvalidInputError(message)
    held = await steps("lock", hold_clusters, coordinator, store, [ref], PURPOSE, wait_s)
    await check_held(coordinator, held, ref.key, str(ref))
    try:
        word = Acknowledgement(who=by, why=reason, at=clock())
        return await steps("save", acknowledge_problems, store, ref, held.claims[ref.key], code.upper(), node, word)
    finally:
        await steps("unlock", let_go, coordinator, list(held.claims.values()))
