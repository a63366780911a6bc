"""Health aggregation: look at every node of a cluster, judge, save what changed and tell of it."""

from __future__ import annotations

from prefect import flow

from blocks.models.report import Report
from flows.cycle import Mode
from flows.entry import FLEET
from flows.turn import cycle_by_hand


@flow(name="observe", flow_run_name="observe {cluster}")
def observe(cluster: str, wait_s: float = 30.0, fleet: str = FLEET) -> Report:
    """Look at every node of a cluster and say how it is; nothing is done to it.

    Args:
        cluster: `namespace/cluster`.
        wait_s: how many seconds to wait for the cluster's lock.
        fleet: name of the Fleet block.
    """
    return cycle_by_hand(cluster, Mode.OBSERVE, wait_s, fleet)
