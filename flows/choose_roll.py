"""A form with choices for a rolling action: on which cluster, what is done, on which of its nodes."""

from __future__ import annotations

from prefect import flow

from blocks.errors import NotFoundError
from blocks.fleet import Connections
from blocks.models.action import Action
from blocks.models.cluster import ClusterSpec
from blocks.models.ids import ClusterRef
from blocks.models.rolling import Pace, Prospect, Rolling
from blocks.store.protocol import Store, Where
from flows.entry import FLEET, run
from flows.forms import WITHIN_S, cluster_form, filled_in, roll_form
from flows.roll import roll
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.offers import OFFERED_MAX, RollOffers, roll_offers
from tasks.order_rolling import cluster_of

LOOKED_THROUGH_MAX = 1_000
"""So many of the newest orders of a namespace tell which kinds there are."""


@flow(name="choose_roll", flow_run_name="choose what to roll")
def choose_roll(
    cluster: str | None = None, namespace: str | None = None, within_s: int = WITHIN_S, fleet: str = FLEET
) -> Prospect:
    """Order a rolling action by forms: first its cluster, then what is done to which nodes. It waits for approval as any.

    The run pauses: "Resume" in the Prefect UI shows the form. For arguments, selectors, and other kinds than were ever done
    in the namespace, there is `roll`.

    Args:
        cluster: `namespace/cluster`; None: chosen in the first form, which offers 100 at most.
        namespace: only clusters in it.
        within_s: how many seconds each form waits, at most a day.
        fleet: name of the Fleet block.

    Raises:
        NotFoundError: there is no such cluster, or none at all.
        RefusedError: nobody chose in time, or the cluster is not fit for it.
    """
    if cluster is None:

        async def known(connections: Connections) -> list[str]:
            return await clusters_offered(await connections.store(), namespace)

        cluster = str(filled_in(cluster_form(run(known, fleet)), within_s).cluster.value)
    ref = ClusterRef.parse(cluster)

    async def there(connections: Connections) -> RollOffers:
        return await rolls_offered(await connections.store(), ref)

    offered = run(there, fleet)
    chosen = filled_in(roll_form(offered), within_s)
    by = getattr(chosen, "by", None)
    pace = Pace(batch=chosen.batch, by=by.value if by is not None else None)
    return roll(
        cluster=str(ref), kind=chosen.kind.value, nodes=[offered.nodes[one.value] for one in chosen.nodes] or None, pace=pace,
        reason=chosen.reason, force=chosen.force or None, by=chosen.who or None, fleet=fleet,
    )  # fmt: skip


async def clusters_offered(store: Store, namespace: str | None) -> list[str]:
    """The clusters that a person may choose from, by name, at most `OFFERED_MAX`.

    Raises:
        NotFoundError: there is none.
    """
    specs = await store.find(ClusterSpec, Where(namespace=namespace), limit=OFFERED_MAX)
    names = sorted(str(spec.ref) for spec in specs if spec.active)
    if not names:
        message = "there is no active cluster" + (f" in namespace {namespace}" if namespace is not None else "")
        raise NotFoundError(message)
    return names


async def rolls_offered(store: Store, ref: ClusterRef) -> RollOffers:
    """What a person may choose from on a cluster.

    Raises:
        NotFoundError: there is no such cluster, or it has no nodes.
    """
    view, where = await cluster_of(store, ref), Where(namespace=ref.namespace)
    actions = [a for a in await store.find(Action, where, limit=LOOKED_THROUGH_MAX) if a.node_id is not None]
    rollings = await store.find(Rolling, where, limit=LOOKED_THROUGH_MAX)
    offered = roll_offers(view, (*actions, *rollings), CATALOGUE)
    if not offered.nodes:
        message = f"no source tells of a node of cluster {ref}"
        raise NotFoundError(message)
    return offered
