"""Two orders at the same moment: whoever says first and looks afterwards is seen by the other, so that nothing slips through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest
import yaml

from blocks.errors import PartlyUndoneError, RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.ids import ClusterRef
from blocks.models.look import Look
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.record import Change, Fence, RecordKey
from blocks.models.submission import Submission
from doubles.actions import make_action
from doubles.agents import MemoryAgents
from doubles.store import MemoryStore
from doubles.world import World
from flows.apply import apply_at_once, apply_submission
from flows.cycle import Mode, cycle
from flows.delete import delete_cluster, delete_namespace
from flows.steps import Steps
from flows.submit import submit
from tasks.apply import apply_wanted
from tasks.decide.manifests import Asked, parse
from tasks.decide.remove import Order
from tasks.orphans import cancel_all_orphans

S = ActionState
ANN = Order(by="ann")
Happening = Callable[[], Awaitable[Any]]


class Meanwhile(MemoryAgents):
    """Agents of which the first look takes so long that something else happens."""

    def __init__(self, world: World, happening: Happening) -> None:
        super().__init__(world.agents.nodes)
        self._happening: Happening | None = happening

    async def look(self, target: Any, action_ids: Sequence[str] = ()) -> Look:
        """See `Agents`."""
        happening, self._happening = self._happening, None
        if happening is not None:
            await happening()
        return await super().look(target, action_ids)


async def cycled(world: World, ref: ClusterRef, happening: Happening) -> None:
    """A cycle during which something happens."""
    [report] = (await cycle(await world.turn(agents=Meanwhile(world, happening)), [ref], Mode.ORCHESTRATE)).reports
    assert report.error is None


# -- a cycle, and people who stop what it acts on --------------------------------------------------------------------------


@pytest.mark.parametrize("status", [NamespaceStatus.OBSERVED, NamespaceStatus.INACTIVE, NamespaceStatus.DELETING])
async def test_a_namespace_that_may_not_act_any_more(world: World, status: NamespaceStatus) -> None:
    """The cycle had read that it may: nothing is sent, and the intent is taken back."""
    ref = await world.declare()
    action = await world.order(make_action())

    async def stopped() -> None:
        home = await world.store.get(Namespace, "prod")
        assert home is not None
        await world.save(home.evolve(status=status, version=home.version + 1))

    await cycled(world, ref, stopped)
    after = await world.action(action)

    assert ([], S.PENDING_SCHEDULE, None) == (world.agents.sent, after.state, after.intent)


async def test_a_cluster_that_was_switched_off(world: World) -> None:
    """Its ClusterSpec says so meanwhile: nothing is sent."""
    ref = await world.declare()
    await world.order(make_action())

    async def off() -> None:
        await world.save(ClusterSpec(namespace="prod", cluster_id="orders", active=False, version=2))

    await cycled(world, ref, off)

    assert [] == world.agents.sent


async def test_a_namespace_that_is_deleted_meanwhile(world: World) -> None:
    """Deletion looked before the intent was there: then nothing is sent; nobody loses an action that runs."""
    ref = await world.declare()
    action = await world.order(make_action())

    async def deleted() -> None:
        await delete_namespace(world.store, "prod", ANN, world.clock, Steps())

    await cycled(world, ref, deleted)

    assert [] == world.agents.sent
    assert S.PENDING_SCHEDULE is await world.action_state(action)


async def test_a_deletion_that_finds_something_under_way_leaves_no_trace(world: World) -> None:
    """Refused: the namespace acts on as before, at once."""
    ref = await world.declare()
    first = await world.order(make_action())
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)
    with pytest.raises(RefusedError):
        await delete_namespace(world.store, "prod", ANN, world.clock, Steps())
    home = await world.store.get(Namespace, "prod")
    world.node("n1").move(first.action_id, S.DONE)
    await world.order(make_action(2))
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)

    assert home is not None
    assert (NamespaceStatus.ACTIVE, None) == (home.status, home.closing_until)
    assert 2 == len(world.agents.sent)


async def test_a_deletion_that_died_in_the_middle_stops_nothing_for_long(world: World) -> None:
    """Its mark holds for a minute."""
    ref = await world.declare()
    await world.order(make_action())
    home = await world.store.get(Namespace, "prod")
    assert home is not None
    marked = home.evolve(closing_until=world.clock(), version=2)
    await world.save(marked.evolve(closing_until=world.clock().replace(minute=1)))
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)
    kept = len(world.agents.sent)
    world.advance(61)
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)

    assert (0, 1) == (kept, len(world.agents.sent))


# -- apply, and a cluster that is deleted ----------------------------------------------------------------------------------

ACTION = {
    "apiVersion": "replicante.io/v0",
    "kind": "NodeAction",
    "metadata": {"namespace": "prod", "cluster": "orders", "node": "n1", "approval": "granted"},
    "spec": {"action": "agent.replicante.io/test.success"},
}


SOURCE = {
    "apiVersion": "replicante.io/v0",
    "kind": "DiscoverySettings",
    "metadata": {"namespace": "prod", "name": "inventory"},
    "spec": {"url": "http://inventory.test/"},
}


class Raced(MemoryStore):
    """A store in which something happens just before the first action is saved."""

    happening: Happening | None = None

    async def commit(self, change: Change, *, now: Any, fence: Fence | None = None) -> Any:
        """See `Store`."""
        if self.happening is not None and any(isinstance(record, Action) for record in change.swaps):
            happening, self.happening = self.happening, None
            await happening()
        return await super().commit(change, now=now, fence=fence)


async def test_an_action_for_a_cluster_that_is_deleted_meanwhile() -> None:
    """It is cancelled and the person is told; a cluster of that name that comes back finds nothing to do."""
    store = Raced()
    world = World(store=store)
    ref = await world.declare()

    async def deleted() -> None:
        await delete_cluster(await world.worker("deleter"), store, ref, ANN, world.clock, Steps())

    store.happening = deleted
    wanted = parse([ACTION], Asked(who="ann", now=world.clock(), new_id=uuid4))
    with pytest.raises(PartlyUndoneError, match="prod/orders was deleted at the same moment: 1 actions"):
        await apply_wanted.fn(store, wanted, "ann", world.clock())
    (action,) = await store.find(Action)
    await world.declare()
    await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)

    assert (S.CANCELLED, "its cluster was deleted") == (action.state, action.history[-1].why)
    assert [] == world.agents.sent


@pytest.mark.parametrize("apply", [apply_submission, apply_at_once])
async def test_what_was_handed_in_says_what_was_undone(apply: Callable[..., Awaitable[Submission]]) -> None:
    """Applied, but for the action of the cluster that was deleted; what the rest makes due is asked for. Again: the same."""
    store = Raced()
    world = World(store=store)
    ref = await world.declare()

    async def deleted() -> None:
        await delete_cluster(await world.worker("deleter"), store, ref, ANN, world.clock, Steps())

    store.happening = deleted
    handed_in = await submit(store, world.queue, yaml.safe_dump_all([ACTION, SOURCE]), "ann", world.clock())
    ended = await apply(store, world.queue, world.secrets, handed_in.key, world.clock)
    again = await apply_submission(store, world.queue, world.secrets, handed_in.key, world.clock)

    assert (2, ended) == (len(ended.applied or ()), again)
    assert "prod/orders was deleted at the same moment: 1 actions for it were cancelled" in (ended.error or "")
    assert "discover:prod/inventory" in {item.key for item in await store.list_work()}


async def test_what_died_before_it_looked_after_its_actions_says_so_when_done_again(world: World) -> None:
    """The cluster went just before the set was saved, and its process just after that."""
    ref = await world.declare()
    handed_in = await submit(world.store, world.queue, yaml.safe_dump(ACTION), "ann", world.clock())
    await apply_submission(world.store, world.queue, world.secrets, handed_in.key, world.clock)
    gone = (RecordKey(ClusterSpec, ref.key), RecordKey(Discovery, ref.key))
    await world.store.commit(Change(deletes=gone), now=world.clock())
    ended = await apply_submission(world.store, world.queue, world.secrets, handed_in.key, world.clock)
    (action,) = await world.store.find(Action)

    assert (S.CANCELLED, True) == (action.state, "prod/orders was deleted" in (ended.error or ""))


async def test_an_action_that_cannot_be_read_is_no_fault_of_what_was_applied(world: World) -> None:
    """Done again after a crash: the others of its set are looked after."""
    ref = await world.declare()
    handed_in = await submit(world.store, world.queue, yaml.safe_dump_all([ACTION, ACTION]), "ann", world.clock())
    await apply_submission(world.store, world.queue, world.secrets, handed_in.key, world.clock)
    broken, other = await world.store.find(Action)
    world.store.broken = {(Action, broken.key)}
    gone = (RecordKey(ClusterSpec, ref.key), RecordKey(Discovery, ref.key))
    await world.store.commit(Change(deletes=gone), now=world.clock())
    ended = await apply_submission(world.store, world.queue, world.secrets, handed_in.key, world.clock)

    assert "1 actions for it were cancelled" in (ended.error or "")
    assert S.CANCELLED is await world.action_state(other)


async def test_what_a_dead_process_left_is_cancelled_by_the_sweep(world: World) -> None:
    """Also where whoever applied it died before looking; actions of clusters that are there are left alone."""
    await world.declare()
    kept = await world.order(make_action(1))
    orphan = await world.order(make_action(2, cluster_id="gone"))
    counts = [await cancel_all_orphans.fn(world.store, world.clock()) for _ in range(2)]

    assert [1, 0] == counts
    assert (S.PENDING_SCHEDULE, S.CANCELLED) == (await world.action_state(kept), await world.action_state(orphan))
