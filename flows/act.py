"""Action execution: send what may start to its agents, read back what they say, save and tell of it."""

from __future__ import annotations

from prefect import flow

from blocks.fleet import Connections
from blocks.models.ids import ClusterRef
from blocks.models.report import Report
from flows.artifacts import show_cluster
from flows.cycle import Mode, cycle_one
from flows.entry import FLEET, run
from flows.turn import watched_turn


@flow(name="act", flow_run_name="act {cluster}")
def act(cluster: str, wait_s: float = 30.0, fleet: str = FLEET) -> Report:
    """Send what is approved and due on a cluster, and read back how its unfinished actions stand.

    Args:
        cluster: `namespace/cluster`.
        wait_s: how many seconds to wait for the cluster's lock.
        fleet: name of the Fleet block.
    """

    async def sentence(connections: Connections) -> Report:
        ref = ClusterRef.parse(cluster)
        report = await cycle_one(await watched_turn(connections), ref, Mode.ACT, wait_s=wait_s)
        await show_cluster(await connections.store(), ref, report)
        return report

    return run(sentence, fleet)
