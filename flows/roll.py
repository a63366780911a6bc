"""One kind of action on many nodes of a cluster, batch by batch: the plan is shown, ordered, approved, and then carried out."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from prefect import flow

from blocks.fleet import Connections
from blocks.models.ids import ClusterRef
from blocks.models.request import Priority, WorkKind
from blocks.models.rolling import Pace, Prospect
from flows.entry import FLEET, run, utc_now, who
from tasks.decide.audit import Command
from tasks.order_rolling import cluster_of, order_new, proposed
from tasks.request import request_work


@flow(name="roll", flow_run_name="roll {kind} on {cluster}")
def roll(
    cluster: str,
    kind: str,
    args: Any = None,
    nodes: list[str] | None = None,
    selectors: list[str] | None = None,
    where: list[str] | None = None,
    pace: Pace = Pace(),  # noqa: B008 - frozen; the form shows its defaults
    reason: str = "",
    force: str | None = None,
    granted: bool = False,
    dry_run: bool = False,
    digest: str | None = None,
    rolling_id: UUID | None = None,
    by: str | None = None,
    fleet: str = FLEET,
) -> Prospect:
    """Plan a rolling action and, unless it is a dry run, order exactly that plan. It waits for approval.

    Args:
        cluster: `namespace/cluster`.
        kind: what is done to each node, such as `agent.replicante.io/node.restart`.
        args: with which arguments.
        nodes: only these nodes; None: all that the conditions leave.
        selectors: only nodes with these labels, as `replictl nodes -l` has them.
        where: only nodes of which that is so, as `replictl nodes --where` has it.
        pace: order, size of batches, and what must be between them.
        reason: why; kept with it.
        force: why it may begin although the cluster is not well, and go beyond budgets; None: it may not.
        granted: it needs no approval; refused where a namespace wants somebody else to approve.
        dry_run: only show the plan, the health now, and what would keep it.
        digest: order it only if that is the digest of the plan, as a dry run showed it.
        rolling_id: its id, if you want to be able to order it twice and have it once.
        by: who orders it; None means this flow run.
        fleet: name of the Fleet block.
    """

    async def sentence(connections: Connections) -> Prospect:
        store, now = await connections.store(), utc_now()
        ref = ClusterRef.parse(cluster)
        choice = {"nodes": nodes, "selectors": selectors or (), "where": where or ()}
        found = await proposed(store, ref, kind, args, choice, pace, force, now)
        if dry_run:
            return found
        new = str(rolling_id or uuid4())
        view = await cluster_of(store, ref)
        made = await order_new(
            store, view, found.plan, new, who(by), reason, now, forced=force, granted=granted, digest=digest
        )
        await request_work(store, await connections.work_queue(), WorkKind.ORCHESTRATE, ref.key, Priority.PERSON, now)
        return found.evolve(rolling=made)

    arguments = {
        "args": args,
        "nodes": nodes,
        "selectors": selectors,
        "where": where,
        "pace": pace,
        "reason": reason,
        "force": force,
        "granted": granted,
        "digest": digest,
    }
    command = None if dry_run else Command("roll", f"{kind} on {cluster}", who(by), arguments)
    return run(sentence, fleet, command=command)
