"""Wait until a cluster is as it should be: for scripts, and for people who have just changed something."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

import typer

from blocks.errors import DependencyUnavailableError, NotFoundError, TransientError
from blocks.models.cluster import ClusterState, Health
from blocks.store.protocol import Store
from deployments.cli.clusters import CLUSTER_COLUMNS, cluster_rows
from deployments.cli.options import TheCluster
from deployments.cli.output import listing, show
from deployments.cli.resolve import known_cluster
from deployments.cli.session import Cli
from deployments.cli.world import Parts

WITHIN_S = 60.0
LOOK_EVERY_S = 0.5


class NotInTimeError(TransientError):
    """What was waited for did not come."""


async def until(store: Store, name: str, namespace: str | None, health: Health | None, within_s: float) -> ClusterState:
    """Look at a cluster again and again until it has been observed and, if asked for, has a health.

    Raises:
        NotInTimeError: it does not, within so many seconds; says how it is.
    """
    how = "it has not been observed"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while True:
                try:
                    ref = await known_cluster(store, name, namespace)
                    state = await store.get(ClusterState, ref.key)
                except (NotFoundError, DependencyUnavailableError) as error:
                    how, state = str(error), None
                if state is not None and state.observed_at is not None:
                    if health in {None, state.health}:
                        return state
                    worst = "".join(f"; {problem.description}" for problem in state.problems[:1])
                    how = f"it is {state.health}{worst}"
                await asyncio.sleep(LOOK_EVERY_S)
    wanted = f"be {health}" if health is not None else "be observed"
    message = f"{name} did not come to {wanted} within {within_s:g} s: {how}"
    raise NotInTimeError(message)


def wait(
    context: typer.Context,
    cluster: TheCluster,
    health: Annotated[Health | None, typer.Option(case_sensitive=False, help="Until it has this health.")] = None,
    *,
    observed: Annotated[bool, typer.Option("--observed", help="Until it has been looked at (the default).")] = False,
) -> None:
    """Wait until a cluster is known, observed, and well; --timeout says how long (60 s)."""
    _ = observed  # what is waited for in any case
    cli = Cli.of(context)

    async def look(parts: Parts) -> None:
        store = await parts.store()
        state = await until(store, cluster, cli.namespace, health, cli.timeout_s or WITHIN_S)
        rows = await cluster_rows(store, state.namespace, cli.world.clock())
        show(listing([row for row in rows if row["cluster"] == state.cluster_id], CLUSTER_COLUMNS, ""), cli.form)

    cli.run(look)
