"""Hold clusters (or a source) under their locks, announce that to the store, and let go again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.coordinator.protocol import Claim, ClaimKind, Coordinator
from blocks.errors import BusyError, FencedError
from blocks.models.ids import ClusterRef, SourceRef
from blocks.models.record import Fence
from blocks.store.protocol import Store


@dataclass(frozen=True, slots=True)
class Held:
    """What we hold."""

    claims: Mapping[str, Claim] = field(default_factory=dict)
    """By lock name: a cluster's key, or `source_lock` of a source."""
    busy: tuple[str, ...] = ()
    """Those that somebody else holds."""
    superseded: tuple[str, ...] = ()
    """Those whose lock was free and for which the store has seen a newer fence than ZooKeeper gave us."""

    def why_superseded(self, name: str) -> str:
        """What a person must know of a fence that is older than the store's."""
        return (
            f"the store has seen a newer fence for {name} than ZooKeeper gives now. Once is a race; again and again means "
            "that ZooKeeper lost its data: raise the generation (docs/backup.md)"
        )


def source_lock(source: SourceRef) -> str:
    """The name of a source's lock. No cluster's key has a colon before its first slash."""
    return f"source:{source.key}"


def fence_of(claim: Claim) -> Fence:
    """The fence that goes with a lock."""
    return Fence(subject=claim.name, generation=claim.generation, token=claim.token)


@task(name="hold clusters", cache_policy=NO_CACHE)
async def hold_clusters(
    coordinator: Coordinator, store: Store, clusters: Sequence[ClusterRef], purpose: str, wait_s: float = 0.0
) -> Held:
    """Take the locks of clusters: all that are free at once, or one with a bounded wait.

    Args:
        coordinator: where locks are.
        store: where the new holder is announced, before it reads anything.
        clusters: which.
        purpose: for people who look at the locks.
        wait_s: with a single cluster, how many seconds to wait for its lock.
    """
    names = [cluster.key for cluster in clusters]
    return await _hold(coordinator, store, names, purpose, wait_s)


@task(name="hold source", cache_policy=NO_CACHE)
async def hold_source(
    coordinator: Coordinator, store: Store, source: SourceRef, purpose: str, wait_s: float = 0.0
) -> Held:
    """Take the lock of a source, waiting at most `wait_s` seconds."""
    return await _hold(coordinator, store, [source_lock(source)], purpose, wait_s)


async def _hold(coordinator: Coordinator, store: Store, names: list[str], purpose: str, wait_s: float) -> Held:
    if len(names) == 1:
        try:
            claims = {names[0]: await coordinator.take(ClaimKind.LOCK, names[0], purpose, wait_s=wait_s)}
        except BusyError:
            return Held(busy=tuple(names))
    else:
        claims = await coordinator.take_many(ClaimKind.LOCK, names, purpose)
    try:
        superseded = await store.claim([fence_of(claim) for claim in claims.values()])
    except BaseException:
        await coordinator.give_back(claims.values())
        raise
    lost = [claims[name] for name in superseded]
    await coordinator.give_back(lost)
    held = {name: claim for name, claim in claims.items() if name not in superseded}
    busy = tuple(name for name in names if name not in claims)
    return Held(claims=held, busy=busy, superseded=tuple(sorted(superseded)))


async def forgotten(coordinator: Coordinator, store: Store) -> str | None:
    """Whether ZooKeeper has lost what it knew, so that holders are refused: what a person must know; None when it has not.

    The store is asked first: what it has seen by then ZooKeeper gave before.
    """
    seen = await store.newest_fence()
    if seen is None or (now := await coordinator.newest()) >= (seen.generation, seen.token):
        return None
    return (
        f"the store has seen the fence {seen.generation}:{seen.token}, and ZooKeeper is only at {now[0]}:{now[1]}: it was "
        "set up from nothing, or from an old copy (docs/backup.md)"
    )


async def check_held(coordinator: Coordinator, held: Held, name: str, what: str) -> None:
    """Make sure that a lock is ours.

    Raises:
        BusyError: somebody else has it: who, what for.
        FencedError: the store has seen a newer one.
    """
    if name in held.superseded:
        raise FencedError(held.why_superseded(name))
    if name in held.claims:
        return
    holders = [holder for holder in await coordinator.holders(ClaimKind.LOCK) if holder.name == name]
    by = f"{holders[0].owner} on {holders[0].host or '?'} (to {holders[0].purpose})" if holders else "another worker"
    raise BusyError("lock", what, f"{by}, see `replictl locks`; try again or wait longer")


@task(name="let go", cache_policy=NO_CACHE)
async def let_go(coordinator: Coordinator, claims: Iterable[Claim]) -> None:
    """Give locks back; what is no longer ours is left alone."""
    await coordinator.give_back(claims)
