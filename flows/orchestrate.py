"""The unit of periodic work: observe a cluster and act on it, under one hold of its lock."""

from __future__ import annotations

from prefect import flow

from blocks.fleet import Connections
from blocks.models.ids import ClusterRef
from blocks.models.report import Report
from flows.artifacts import show_cluster
from flows.cycle import Mode, cycle_one
from flows.entry import FLEET, run
from flows.turn import watched_turn


@flow(name="orchestrate", flow_run_name="orchestrate {cluster}")
def orchestrate(cluster: str, wait_s: float = 30.0, fleet: str = FLEET) -> Report:
    """Look at a cluster, judge it, and do what is approved and due, all under one hold of its lock.

    Args:
        cluster: `namespace/cluster`.
        wait_s: how many seconds to wait for the cluster's lock.
        fleet: name of the Fleet block.
    """

    async def sentence(connections: Connections) -> Report:
        ref = ClusterRef.parse(cluster)
        report = await cycle_one(await watched_turn(connections), ref, Mode.ORCHESTRATE, wait_s=wait_s)
        await show_cluster(await connections.store(), ref, report)
        return report

    return run(sentence, fleet)
