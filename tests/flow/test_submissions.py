"""Manifests that workers apply off the queue: what a crash, a refusal of the store and a large set come to."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

import pytest

from blocks.errors import DependencyUnavailableError, RecordError
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace
from blocks.models.record import Change, Fence
from blocks.models.request import Ended, WorkKind
from blocks.models.submission import Effect, Submission
from doubles.store import MemoryStore
from doubles.world import World
from flows.apply import apply_submission
from flows.consume import apply_batch
from flows.submit import submit

SPEC = """
apiVersion: replicante.io/v0
kind: ClusterSpec
metadata: {namespace: prod, cluster: orders}
spec: {interval: %d}
"""


class _NarrowStore(MemoryStore):
    """Takes no change of more than so many records, as MongoDB does with bytes."""

    def __init__(self, swaps_max: int) -> None:
        super().__init__()
        self._swaps_max = swaps_max

    async def commit(self, change: Change, *, now: datetime, fence: Fence | None = None) -> None:
        """See `Store.commit`."""
        if len(change.swaps) > self._swaps_max:
            message = "together they are too large"
            raise RecordError(message)
        await super().commit(change, now=now, fence=fence)


async def test_objects_and_the_end_are_one_transaction(world: World) -> None:
    """A crash after the commit: tried again, nothing is applied a second time, over what somebody changed meanwhile."""
    await world.save(Namespace(name="prod", version=1))
    of_ann = await submit(world.store, world.queue, SPEC % 5, "ann", world.clock())
    world.store.lost_answers.add("commit")
    with pytest.raises(DependencyUnavailableError):
        await apply_submission(world.store, world.queue, world.secrets, of_ann.key, world.clock)
    of_bob = await submit(world.store, world.queue, SPEC % 7, "bob", world.clock())
    await apply_submission(world.store, world.queue, world.secrets, of_bob.key, world.clock)
    again = await apply_submission(world.store, world.queue, world.secrets, of_ann.key, world.clock)
    spec = await world.store.get(ClusterSpec, "prod/orders")

    assert [Effect.CREATED] == [one.effect for one in again.applied or ()]
    assert 7.0 == (spec.interval if spec is not None else None)


async def test_what_a_crash_left_unasked_is_asked_for_again(world: World) -> None:
    """Applied, and gone before its work was asked for: the next try does that, and no more."""
    await world.declare()
    action = """
apiVersion: replicante.io/v0
kind: NodeAction
metadata: {namespace: prod, cluster: orders, node: n1, approval: granted}
spec: {action: agent.replicante.io/test.success}
"""
    handed_in = await submit(world.store, world.queue, action, "ann", world.clock())
    world.store.lost_answers.add("commit")
    with pytest.raises(DependencyUnavailableError):
        await apply_submission(world.store, world.queue, world.secrets, handed_in.key, world.clock)
    before = {item.kind for item in await world.store.list_work()}
    await apply_submission(world.store, world.queue, world.secrets, handed_in.key, world.clock)

    assert ({WorkKind.APPLY}, {WorkKind.APPLY, WorkKind.ORCHESTRATE}) == (
        before,
        {item.kind for item in await world.store.list_work()},
    )


async def test_a_set_that_the_store_refuses_ends_with_the_reason() -> None:
    """It would be refused again: the work is over, and the submission says why."""
    world = World(store=_NarrowStore(swaps_max=1))
    await world.save(Namespace(name="prod", version=1))
    handed_in = await submit(world.store, world.queue, SPEC % 5, "ann", world.clock())
    ended = await apply_batch.fn(await world.consumer(), [handed_in.key])
    kept = await world.store.get(Submission, handed_in.key)

    assert [Ended(key=f"{WorkKind.APPLY}:{handed_in.key}")] == ended
    assert kept is not None
    assert ("together they are too large", None) == (kept.error, kept.applied)
    assert kept.ended_at is not None
    assert [] == await world.store.find(ClusterSpec)


async def test_a_submission_that_cannot_be_read_is_not_lost(world: World) -> None:
    """Its work fails, is parked after its limit and told, and applies it once it can be read again."""
    await world.save(Namespace(name="prod", version=1))
    handed_in = await submit(world.store, world.queue, SPEC % 5, "ann", world.clock())
    world.store.broken = {(Submission, handed_in.key)}
    [unread] = await apply_batch.fn(await world.consumer(), [handed_in.key])
    world.store.broken = set()
    [applied] = await apply_batch.fn(await world.consumer(), [handed_in.key])

    assert "cannot be read" in str(unread.error)
    assert applied.error is None
    assert 1 == len(await world.store.find(ClusterSpec))


async def test_a_submission_whose_end_cannot_be_kept_fails_and_is_told() -> None:
    """When the store takes not even that, its work is parked after its limit."""
    store = _NarrowStore(swaps_max=1)
    world = World(store=store)
    await world.save(Namespace(name="prod", version=1))
    handed_in = await submit(store, world.queue, SPEC % 5, "ann", world.clock())
    store._swaps_max = 0
    ended = await apply_batch.fn(await world.consumer(), [handed_in.key])

    assert [(f"{WorkKind.APPLY}:{handed_in.key}", False)] == [(one.key, one.transient) for one in ended]
    assert ended[0].error is not None


async def test_a_large_set_lets_others_go_on(world: World) -> None:
    """Megabytes of manifests are read beside the event loop, which renews leases meanwhile."""
    nodes = ", ".join(f"n{number}: {{labels: {{zone: a}}}}" for number in range(160))
    document = (
        "apiVersion: replicante.io/v0\nkind: ClusterSpec\nmetadata: {{namespace: none, cluster: c{}}}\n"
        "spec: {{nodes: {{{}}}}}\n"
    )
    text = "---\n".join(document.format(number, nodes) for number in range(300))
    over = asyncio.Event()
    watch = asyncio.create_task(_busiest_turn(over))
    handed_in = await submit(world.store, world.queue, text, "ann", world.clock())
    ended = await apply_submission(world.store, world.queue, world.secrets, handed_in.key, world.clock)
    over.set()

    assert "300 faults in the manifests" in (ended.error or "")
    assert await watch < 1.0


async def _busiest_turn(over: asyncio.Event) -> float:
    """Seconds of processor time that the loop's own thread took at most between two looks."""
    longest = 0.0
    while not over.is_set():
        began = time.thread_time()
        await asyncio.sleep(0.01)
        longest = max(longest, time.thread_time() - began)
    return longest
