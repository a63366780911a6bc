"""Keep that a person has seen a problem of a cluster, under the cluster's lock: its cycles write the problems anew."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.coordinator.protocol import Claim
from blocks.errors import NotFoundError, RecordError
from blocks.models.ids import ClusterRef
from blocks.models.problem import Acknowledgement, Problem
from blocks.store.protocol import Store
from tasks.decide.acknowledging import acknowledged, problems_of
from tasks.hold import fence_of
from tasks.poll import load_views


@task(name="acknowledge", cache_policy=NO_CACHE)
async def acknowledge_problems(
    store: Store, ref: ClusterRef, claim: Claim, code: str, node_id: str | None, word: Acknowledgement
) -> tuple[Problem, ...]:
    """Acknowledge the problems of a cluster that have this code; returns them as they were.

    Args:
        store: where they are.
        ref: the cluster.
        claim: its lock, which we hold.
        code: of the problems.
        node_id: of which node; None: of any, and of the cluster itself.
        word: who has seen them, when and why.

    Raises:
        NotFoundError: there is no such cluster, or no such problem.
        RecordError: what is stored of it cannot be read.
        FencedError: somebody else took the lock meanwhile; nothing was written.
    """
    loaded = await load_views.fn(store, [ref], with_dead=True)
    if ref.key in loaded.unreadable:
        raise RecordError(loaded.unreadable[ref.key])
    view = loaded.views.get(ref.key)
    if view is None:
        message = f"there is no cluster {ref}; `replictl clusters` lists those that are known"
        raise NotFoundError(message)
    seen = problems_of(view, code, node_id)
    await store.commit(acknowledged(view, seen, word), now=word.at, fence=fence_of(claim))
    return seen
