"""The unit of periodic work: observe a cluster and act on it, under one hold of its lock."""

from __future__ import annotations

from prefect import flow

from blocks.models.report import Report
from flows.cycle import Mode
from flows.entry import FLEET
from flows.turn import cycle_by_hand


@flow(name="orchestrate", flow_run_name="orchestrate {cluster}")
def orchestrate(cluster: str, wait_s: float = 30.0, fleet: str = FLEET) -> Report:
    """Look at a cluster, judge it, and do what is approved and due, all under one hold of its lock.

    Args:
        cluster: `namespace/cluster`.
        wait_s: how many seconds to wait for the cluster's lock.
        fleet: name of the Fleet block.
    """
    return cycle_by_hand(cluster, Mode.ORCHESTRATE, wait_s, fleet)
