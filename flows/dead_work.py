"""Have the problems of clusters name their dead work: nothing else looks at such a cluster again before a person does."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from blocks.coordinator.protocol import Claim, Coordinator
from blocks.errors import DependencyUnavailableError, ReplicoreError
from blocks.models.cluster import ClusterState
from blocks.models.ids import ClusterRef
from blocks.models.request import WorkKind, WorkState
from blocks.models.view import ClusterView
from blocks.store.protocol import Store
from flows.steps import Steps
from tasks.decide.rules.table import WORK_DEAD
from tasks.decide.settle import settle
from tasks.hold import hold_clusters, let_go
from tasks.poll import load_views
from tasks.save import save

PURPOSE = "tell of its dead work"
CLUSTERS_MAX = 50
"""So many in a turn, any of those that are untold: one that cannot be told keeps no other from it."""
DEAD_MAX = 10_000
AGAIN_S, AGAIN_MAX_S = 60.0, 600.0
"""A cluster that cannot be told of is left alone for so long, and each time for twice as long, up to the second; a half of
that at random."""

_logger = logging.getLogger("replicore.duties")


@dataclass(slots=True)
class Untellable:
    """Clusters that cannot be told of, by key: not active, not readable, gone. Whoever sweeps again and again keeps it, so
    that they are not locked each time.
    """

    waiting: dict[str, tuple[float, datetime]] = field(default_factory=dict)
    """For how many seconds each was left alone, and until when."""

    def due(self, untold: set[str], now: datetime) -> list[str]:
        """Those that may be tried; what is told, or dead no longer, is forgotten."""
        self.waiting = {key: waiting for key, waiting in self.waiting.items() if key in untold}
        return sorted(key for key in untold if key not in self.waiting or self.waiting[key][1] <= now)

    def tried(self, key: str, now: datetime) -> None:
        """It could not be told of."""
        last_s, _ = self.waiting.get(key, (AGAIN_S / 2, now))
        for_s = min(2 * last_s, AGAIN_MAX_S)
        self.waiting[key] = (for_s, now + timedelta(seconds=random.uniform(for_s / 2, for_s)))  # noqa: S311 - spreads retries


async def tell_dead_work(
    coordinator: Coordinator,
    store: Store,
    clock: Callable[[], datetime],
    steps: Steps,
    untellable: Untellable | None = None,
) -> int:
    """Judge clusters again whose work is dead and whose problems do not say so; returns how many do now.

    Agents are not asked, and nothing counts as seen: the cycle of such a cluster may be what kills workers.

    Args:
        coordinator: where locks are.
        store: where clusters are.
        clock: the present.
        steps: how to run the verbs.
        untellable: what earlier turns could not tell of; None: nothing is known of them.

    Raises:
        DependencyUnavailableError: the store or the coordinator is gone.
    """
    untellable = untellable if untellable is not None else Untellable()
    due = untellable.due(await _untold(store), clock())
    if not due:
        return 0
    clusters = [ClusterRef.from_key(key) for key in random.sample(due, min(len(due), CLUSTERS_MAX))]
    held = await steps("lock", hold_clusters, coordinator, store, clusters, PURPOSE, 0.0)
    try:
        mine = [cluster for cluster in clusters if cluster.key in held.claims]
        loaded = await steps("load", load_views, store, mine, with_dead=True)
        told = [key for key, view in loaded.views.items() if await _told(store, view, held.claims[key], clock(), steps)]
        for key in held.claims.keys() - set(told):
            untellable.tried(key, clock())
    finally:
        await steps("unlock", let_go, coordinator, list(held.claims.values()))
    return len(told)


async def _untold(store: Store) -> set[str]:
    dead = {
        item.subject
        for item in await store.list_work([WorkState.DEAD], limit=DEAD_MAX)
        if item.kind == WorkKind.ORCHESTRATE
    }
    states = await store.get_many(ClusterState, dead) if dead else {}
    return dead - {key for key, state in states.items() if WORK_DEAD in {problem.code for problem in state.problems}}


async def _told(store: Store, view: ClusterView, claim: Claim, now: datetime, steps: Steps) -> bool:
    if not view.spec.active or not view.namespace.may_look:
        return False
    try:
        settled = settle(view, {}, now=now)
        if not settled.change.empty:
            await steps("save", save, store, settled, claim, now)
    except DependencyUnavailableError:
        raise
    except ReplicoreError as error:
        _logger.warning("%s: its dead work could not be told as a problem: %s", claim.name, error)
        return False
    return not settled.change.empty
