"""A freeze or a window is over before its time."""

from __future__ import annotations

from prefect import flow

from blocks.fleet import Connections
from blocks.models.gate import Gate
from blocks.models.ids import ClusterRef
from blocks.models.request import Priority, WorkKind
from flows.entry import FLEET, run, utc_now, who
from tasks.decide.audit import Command
from tasks.gating import lift as lift_gate
from tasks.request import request_work


@flow(name="lift", flow_run_name="lift {name}")
def lift(name: str, reason: str = "", by: str | None = None, fleet: str = FLEET) -> Gate:
    """Lift a freeze, or remove a window. What waited because of it begins with the next cycle of its cluster.

    Args:
        name: its name, as `replictl windows` shows it.
        reason: why; kept with the event.
        by: who lifts it; None means this flow run.
        fleet: name of the Fleet block.
    """

    async def sentence(connections: Connections) -> Gate:
        store, now = await connections.store(), utc_now()
        gate = await lift_gate(store, name, who(by), reason, now)
        if gate.namespace is not None and gate.cluster_id is not None:
            ref = ClusterRef(namespace=gate.namespace, cluster_id=gate.cluster_id)
            queue = await connections.work_queue()
            await request_work(store, queue, WorkKind.ORCHESTRATE, ref.key, Priority.PERSON, now)
        return gate

    command = Command(name="lift", subject=name, by=who(by), arguments={"reason": reason})
    return run(sentence, fleet, command=command)
