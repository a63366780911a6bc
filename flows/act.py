"""Action execution: send what may start to its agents, read back what they say, save and tell of it."""

from __future__ import annotations

from prefect import flow

from blocks.models.report import Report
from flows.cycle import Mode
from flows.entry import FLEET
from flows.turn import cycle_by_hand


@flow(name="act", flow_run_name="act {cluster}")
def act(cluster: str, wait_s: float = 30.0, fleet: str = FLEET) -> Report:
    """Send what is approved and due on a cluster, and read back how its unfinished actions stand.

    Args:
        cluster: `namespace/cluster`.
        wait_s: how many seconds to wait for the cluster's lock.
        fleet: name of the Fleet block.
    """
    return cycle_by_hand(cluster, Mode.ACT, wait_s, fleet)
