"""Wait until a cluster is as it should be: for scripts, and for people who have just changed something."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime
from typing import Annotated, Any

import typer

from blocks.errors import DependencyUnavailableError, NotFoundError, TransientError
from blocks.models.cluster import ClusterState, Health
from blocks.models.ids import ClusterRef
from blocks.store.protocol import Store
from deployments.cli.clusters import CLUSTER_COLUMNS, cluster_rows
from deployments.cli.output import listing, show
from deployments.cli.resolve import known_cluster
from deployments.cli.session import Cli
from deployments.cli.world import Parts

WITHIN_S = 60.0
LOOK_EVERY_S = 0.5


class NotInTimeError(TransientError):
    """What was waited for did not come."""


async def until(
    store: Store,
    name: str,
    namespace: str | None,
    health: Health | None,
    within_s: float,
    *,
    after: datetime | None = None,
) -> ClusterState:
    """Look at a cluster again and again until it has been observed (after a moment, if given) and has the health asked for.

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
                if state is not None and _is_news(state, after):
                    if health in {None, state.health}:
                        return state
                    worst = "".join(f"; {problem.description}" for problem in state.problems[:1])
                    how = f"it is {state.health}{worst}"
                await asyncio.sleep(LOOK_EVERY_S)
    wanted = f"be {health}" if health is not None else "be observed"
    message = f"{name} did not come to {wanted} within {within_s:g} s: {how}"
    raise NotInTimeError(message)


def _is_news(state: ClusterState, after: datetime | None) -> bool:
    return state.observed_at is not None and (after is None or state.observed_at > after)


def wait(
    context: typer.Context,
    clusters: Annotated[list[str], typer.Argument(metavar="CLUSTER...", help="namespace/cluster, one or several.")],
    health: Annotated[Health | None, typer.Option(case_sensitive=False, help="Until it has this health.")] = None,
    *,
    observed: Annotated[bool, typer.Option("--observed", help="Until it has been looked at (the default).")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="What was seen before this command does not count.")] = False,
) -> None:
    """Wait until clusters are known, observed, and well; --timeout says how long (60 s)."""
    _ = observed  # what is waited for in any case
    cli = Cli.of(context)

    async def look(parts: Parts) -> None:
        store, after = await parts.store(), cli.world.clock() if fresh else None
        within_s = cli.timeout_s or WITHIN_S
        states = await asyncio.gather(
            *(until(store, name, cli.namespace, health, within_s, after=after) for name in clusters)
        )
        wanted = {state.key for state in states}
        rows = [
            row
            for space in sorted({s.namespace for s in states})
            for row in await cluster_rows(store, space, cli.world.clock())
        ]
        show(listing([row for row in rows if _key(row) in wanted], CLUSTER_COLUMNS, ""), cli.form)

    cli.run(look)


def _key(row: dict[str, Any]) -> str:
    return ClusterRef(namespace=row["namespace"], cluster_id=row["cluster"]).key
