"""Save what a cycle found, each cluster under its own fence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.coordinator.protocol import Claim
from blocks.models.event import EventDraft, EventType
from blocks.models.record import Change, Seen
from blocks.models.report import Report
from blocks.store.protocol import Store
from tasks.decide.diff import plain
from tasks.decide.settle import Settled
from tasks.hold import fence_of


@task(name="save", cache_policy=NO_CACHE)
async def save(store: Store, settled: Settled, claim: Claim, now: datetime) -> int:
    """Write a changed cluster with its events in one transaction; returns how many events were made.

    Raises:
        FencedError: a newer holder has taken the cluster; nothing was written.
        ConflictError: a person changed an action meanwhile; nothing was written, the next cycle sees it all.
    """
    return len(await store.commit(settled.change, now=now, fence=fence_of(claim)))


@task(name="save seen", cache_policy=NO_CACHE)
async def save_seen(store: Store, unchanged: Sequence[tuple[Settled, Claim]], now: datetime) -> set[str]:
    """Write of unchanged clusters only that they were seen, all in one; returns those that a newer holder has taken."""
    seen = [_seen(settled, claim, now) for settled, claim in unchanged]
    return await store.seen([one for one in seen if one is not None])


@task(name="save report", cache_policy=NO_CACHE)
async def save_report(store: Store, report: Report, claim: Claim, now: datetime) -> None:
    """Keep a cycle's report as the cluster's latest, with its event."""
    told = EventDraft(
        type=EventType.CLUSTER_REPORT,
        stream=report.key,
        subject=str(report.cluster),
        data={"report": plain(report)},
    )
    await store.commit(Change(puts=(report,), drafts=(told,)), now=now, fence=fence_of(claim))


def _seen(judged: Settled, claim: Claim, now: datetime) -> Seen | None:
    if judged.view.state is None:
        return None
    state = judged.view.state.evolve(offsets_at=now) if judged.moved else judged.view.state
    return Seen(fence=fence_of(claim), state=state, nodes=judged.moved)
