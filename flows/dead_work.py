"""Have the problems of clusters name their dead work: nothing else looks at such a cluster again before a person does."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import datetime

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

_logger = logging.getLogger("replicore.duties")


async def tell_dead_work(coordinator: Coordinator, store: Store, clock: Callable[[], datetime], steps: Steps) -> int:
    """Judge clusters again whose work is dead and whose problems do not say so; returns how many do now.

    Agents are not asked, and nothing counts as seen: the cycle of such a cluster may be what kills workers.

    Raises:
        DependencyUnavailableError: the store or the coordinator is gone.
    """
    untold = await _untold(store)
    if not untold:
        return 0
    clusters = [ClusterRef.from_key(key) for key in random.sample(sorted(untold), min(len(untold), CLUSTERS_MAX))]
    held = await steps("lock", hold_clusters, coordinator, store, clusters, PURPOSE, 0.0)
    try:
        mine = [cluster for cluster in clusters if cluster.key in held.claims]
        loaded = await steps("load", load_views, store, mine, with_dead=True)
        told = [await _told(store, view, held.claims[key], clock(), steps) for key, view in loaded.views.items()]
    finally:
        await steps("unlock", let_go, coordinator, list(held.claims.values()))
    return sum(told)


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
