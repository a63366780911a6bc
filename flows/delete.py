"""What a person no longer wants at all: a cluster, a source, a platform, or a namespace with all that is in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from prefect import flow

from blocks.coordinator.protocol import Coordinator
from blocks.errors import InvalidInputError
from blocks.fleet import Connections
from blocks.models.ids import NAME, ClusterRef, SourceRef
from blocks.secrets.protocol import Secrets
from blocks.store.protocol import Store
from flows.entry import FLEET, run, utc_now, who
from flows.steps import Steps
from tasks.decide.audit import Command
from tasks.decide.remove import Order, Removed, Thing
from tasks.hold import check_held, hold_clusters, hold_source, let_go, source_lock
from tasks.remove import remove_cluster, remove_source
from tasks.remove_namespace import close_namespace

PURPOSE = "delete"


@flow(name="delete", flow_run_name="delete {kind} {name}")
def delete(
    kind: Thing,
    name: str,
    force: bool = False,
    reason: str = "",
    by: str | None = None,
    wait_s: float = 30.0,
    fleet: str = FLEET,
) -> Removed:
    """Delete a cluster, a source, a platform or a namespace. Events and finished actions are kept.

    A cluster goes with its nodes, and its unfinished actions are cancelled. The clusters of a source stay, marked missing. A
    namespace goes step by step with all that is in it and never comes back; deleted once more, its name is free again.

    Args:
        kind: what it is.
        name: `namespace/name`; of a namespace its name.
        force: also when an agent or a rolling action is at work on it, or when clusters name the platform; needs a reason.
        reason: why; kept with the event.
        by: who deletes it; None means this flow run.
        wait_s: how many seconds to wait for its lock.
        fleet: name of the Fleet block.
    """

    async def sentence(connections: Connections) -> Removed:
        coordinator, store = await connections.coordinator(), await connections.store()
        order, steps = Order(by=who(by), reason=reason, force=force), Steps(watched=True)
        match kind:
            case Thing.CLUSTER:
                ref = ClusterRef.parse(name)
                return await delete_cluster(coordinator, store, ref, order, utc_now, steps, wait_s=wait_s)
            case Thing.NAMESPACE:
                return await delete_namespace(store, name, order, utc_now, steps)
            case _:
                secrets, source = await connections.secrets(), SourceRef.parse(name)
                return await delete_source(
                    coordinator, store, secrets, source, order, utc_now, steps, wait_s=wait_s, kind=kind
                )

    command = Command(name="delete", subject=f"{kind} {name}", by=who(by), arguments={"force": force, "reason": reason})
    return run(sentence, fleet, command=command)


async def delete_cluster(
    coordinator: Coordinator,
    store: Store,
    ref: ClusterRef,
    order: Order,
    clock: Callable[[], datetime],
    steps: Steps,
    *,
    wait_s: float = 0.0,
) -> Removed:
    """Delete a cluster, under its lock, missing or not, discovered or only declared.

    Raises:
        NotFoundError: there is no such cluster.
        RefusedError: an agent or a rolling action is at work on it, and the order is not forced.
        BusyError: its lock did not become free in time.
        FencedError: somebody else took the lock meanwhile; the same order completes it.
        DependencyUnavailableError: the store or the coordinator is gone; the same order completes it.
    """
    held = await steps("lock", hold_clusters, coordinator, store, [ref], PURPOSE, wait_s)
    await check_held(coordinator, held, ref.key, str(ref))
    try:
        return await steps("remove", remove_cluster, store, ref, held.claims[ref.key], order, clock)
    finally:
        await steps("unlock", let_go, coordinator, list(held.claims.values()))


async def delete_source(
    coordinator: Coordinator,
    store: Store,
    secrets: Secrets,
    ref: SourceRef,
    order: Order,
    clock: Callable[[], datetime],
    steps: Steps,
    *,
    wait_s: float = 0.0,
    kind: Thing | None = None,
) -> Removed:
    """Delete a source or platform, under its lock.

    Raises:
        NotFoundError: there is no such source.
        RefusedError: clusters name the platform, and the order is not forced; or it is not of that kind.
        BusyError: its lock did not become free in time.
        FencedError: somebody else took the lock meanwhile; the same order completes it.
        DependencyUnavailableError: a server is gone; the same order completes it.
    """
    held = await steps("lock", hold_source, coordinator, store, ref, PURPOSE, wait_s)
    name = source_lock(ref)
    await check_held(coordinator, held, name, f"source {ref}")
    try:
        return await steps("remove", remove_source, store, secrets, ref, held.claims[name], order, clock, kind)
    finally:
        await steps("unlock", let_go, coordinator, list(held.claims.values()))


async def delete_namespace(
    store: Store, name: str, order: Order, clock: Callable[[], datetime], steps: Steps
) -> Removed:
    """Begin to delete a namespace (`sweep` does the rest), or free the name of one that is gone.

    Raises:
        NotFoundError: there is no such namespace.
        RefusedError: an agent or a rolling action is at work in it, or clusters outside name its platforms, and the order is not forced.
        DependencyUnavailableError: the store is gone.
    """
    try:
        NAME.validate_python(name)
    except ValueError:
        message = f"{name!r} is not the name of a namespace"
        raise InvalidInputError(message) from None
    return await steps("close", close_namespace, store, name, order, clock)
