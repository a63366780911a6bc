"""What is handed in is not kept, or it is applied, once: whatever dies between any two steps."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from blocks.errors import ConflictError, DependencyUnavailableError, InvalidInputError
from blocks.models.action import Action
from blocks.models.cluster import ClusterSpec
from blocks.models.event import Event
from blocks.models.namespace import Namespace
from blocks.models.record import Change, Fence
from blocks.models.request import WorkKind, WorkState
from blocks.models.submission import Submission
from blocks.store.protocol import RetryPolicy
from doubles.dying import DyingStore
from doubles.store import MemoryStore
from doubles.world import World
from flows.apply import apply_at_once, apply_submission
from flows.consume import apply_batch
from flows.submit import WORKER_AFTER_S, hand_in, submit
from tasks.duties import enqueue_due

ID = UUID("00000000-0000-4000-8000-000000000001")
ACTION = """
apiVersion: replicante.io/v0
kind: NodeAction
metadata: {namespace: prod, cluster: orders, node: n1, approval: granted}
spec: {action: agent.replicante.io/test.success}
"""
SPEC = """
apiVersion: replicante.io/v0
kind: ClusterSpec
metadata: {namespace: prod, cluster: orders}
spec: {interval: %d}
"""
STEPS_MAX = 20


async def _dying() -> tuple[World, DyingStore]:
    store = DyingStore()
    world = World(store=store)
    await world.declare()
    return world, store


async def _worked_off(world: World) -> None:
    """A worker applies whatever is due."""
    consumer = await world.consumer()
    await enqueue_due.fn(world.store, world.queue, world.clock())
    while items := await world.store.claim_any([WorkKind.APPLY], "worker-1", world.clock(), 10):
        ended = await apply_batch.fn(consumer, [item.subject for item in items])
        await world.store.finish_work(ended, "worker-1", world.clock(), RetryPolicy())


@pytest.mark.parametrize("queue_down", [False, True], ids=["queue up", "queue down"])
@pytest.mark.parametrize("carried_out", [False, True], ids=["not carried out", "carried out"])
async def test_a_submission_is_not_kept_or_it_is_applied(*, carried_out: bool, queue_down: bool) -> None:
    """The store dies at each of the steps of `submit`; asked again with the same id there is one action, not two."""
    for step in range(1, STEPS_MAX):
        world, store = await _dying()
        world.queue.down = queue_down
        store.dies_at(step, carried_out=carried_out)
        with contextlib.suppress(DependencyUnavailableError):
            await submit(store, world.queue, ACTION, "ann", world.clock(), submission_id=ID)
        died = store.comes_back()
        world.queue.down = False
        kept = await store.get(Submission, str(ID))
        await _worked_off(world)
        actions = await store.find(Action)
        await submit(store, world.queue, ACTION, "ann", world.clock(), submission_id=ID)
        await _worked_off(world)

        assert (0 if kept is None else 1) == len(actions)
        assert 1 == len(await store.find(Action))
        if not died:
            break
    else:
        pytest.fail("it never came to its end")


@pytest.mark.parametrize("carried_out", [False, True], ids=["not carried out", "carried out"])
async def test_a_worker_that_dies_applying_leaves_it_to_another(*, carried_out: bool) -> None:
    """At each of its steps: the next worker applies it, or sees it applied, and the action's cluster is asked for."""
    for step in range(1, STEPS_MAX):
        world, store = await _dying()
        handed_in = await submit(store, world.queue, ACTION, "ann", world.clock())
        await store.claim_any([WorkKind.APPLY], "dying", world.clock(), 1)
        store.dies_at(step, carried_out=carried_out)
        with contextlib.suppress(DependencyUnavailableError):
            await apply_submission(store, world.queue, world.secrets, handed_in.key, world.clock)
        died = store.comes_back()
        await store.requeue_of({"dying"}, world.clock())
        await _worked_off(world)
        ended = await store.get(Submission, handed_in.key)

        assert ended is not None
        assert ended.applied is not None
        assert 1 == len(await store.find(Action))
        assert WorkKind.ORCHESTRATE in {item.kind for item in await store.list_work([WorkState.QUEUED])}
        if not died:
            break
    else:
        pytest.fail("it never came to its end")


@pytest.mark.parametrize("carried_out", [False, True], ids=["not carried out", "carried out"])
async def test_what_a_flow_run_was_to_apply_a_worker_applies(*, carried_out: bool) -> None:
    """The run dies at each of its steps, or never begins: a worker takes over, after a while, and the action is there once."""
    for step in range(1, STEPS_MAX):
        world, store = await _dying()
        handed_in = await hand_in(store, ACTION, "ann", world.clock())
        store.dies_at(step, carried_out=carried_out)
        with contextlib.suppress(DependencyUnavailableError):
            await apply_at_once(store, world.queue, world.secrets, handed_in.key, world.clock)
        died = store.comes_back()
        world.advance(WORKER_AFTER_S)
        await _worked_off(world)
        ended = await store.get(Submission, handed_in.key)

        assert ended is not None
        assert ended.applied is not None
        assert 1 == len(await store.find(Action))
        if not died:
            assert WorkKind.APPLY not in {item.kind for item in await store.list_work()}
            break
    else:
        pytest.fail("it never came to its end")


async def test_a_worker_does_not_hurry_what_a_flow_run_applies(world: World) -> None:
    """Until its time has come nobody but the run touches it."""
    await world.declare()
    handed_in = await hand_in(world.store, ACTION, "ann", world.clock())
    await _worked_off(world)
    before = await world.store.find(Action)
    (item,) = await world.store.list_work([WorkState.IDLE])

    assert [] == before
    assert (handed_in.key, world.clock() + timedelta(seconds=WORKER_AFTER_S)) == (item.subject, item.next_at)


async def test_an_id_is_of_one_submission(world: World) -> None:
    """Other manifests under the same id are refused, and nothing of them is kept."""
    await world.declare()
    await submit(world.store, world.queue, ACTION, "ann", world.clock(), submission_id=ID)
    with pytest.raises(InvalidInputError, match="give each an id of its own"):
        await submit(world.store, world.queue, SPEC % 5, "ann", world.clock(), submission_id=ID)
    (kept,) = await world.store.find(Submission)

    assert ACTION == kept.manifests


async def test_two_that_apply_the_same_both_see_it_applied(world: World) -> None:
    """A flow run and a worker at the same moment: one is quicker, the other reports what that one did."""
    await world.declare()
    handed_in = await submit(world.store, world.queue, ACTION, "ann", world.clock())
    ended = await asyncio.gather(
        *(apply_submission(world.store, world.queue, world.secrets, handed_in.key, world.clock) for _ in range(3))
    )
    kept = await world.store.get(Submission, handed_in.key)

    assert [kept] * 3 == ended
    assert 1 == len(await world.store.find(Action))


class _BusyStore(MemoryStore):
    """Others change cluster specs all the time."""

    async def commit(self, change: Change, *, now: datetime, fence: Fence | None = None) -> tuple[Event, ...]:
        """See `Store.commit`."""
        if any(isinstance(record, ClusterSpec) for record in change.swaps):
            message = "a record of specs has changed since it was read; nothing was written"
            raise ConflictError(message)
        return await super().commit(change, now=now, fence=fence)


async def test_a_run_that_conflicts_leaves_nothing_to_a_worker() -> None:
    """Its caller is told that nothing was applied, and orders anew: so it stays."""
    world = World(store=_BusyStore())
    await world.save(Namespace(name="prod", version=1))
    handed_in = await hand_in(world.store, SPEC % 5, "ann", world.clock())
    with pytest.raises(ConflictError):
        await apply_at_once(world.store, world.queue, world.secrets, handed_in.key, world.clock)
    ended = await world.store.get(Submission, handed_in.key)

    assert ended is not None
    assert (None, "a record of specs has changed since it was read; nothing was written") == (
        ended.applied,
        ended.error,
    )
