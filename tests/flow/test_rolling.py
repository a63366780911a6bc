"""Rolling actions through the cycle and the orders of people: planned, approved, carried out node by node, stopped, gone on with."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.errors import ConflictError, InvalidInputError, NotFoundError, RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.event import EventType
from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.models.node import Node, NodeStatus
from blocks.models.record import Change, RecordKey
from blocks.models.request import WorkState
from blocks.models.rolling import Rolling, RollingPhase, RollingState
from doubles.cli import Outside
from doubles.rollings import RESTART, ROLLING_ID, rolled, shown, stored
from doubles.views import NODES, REF, discovery
from doubles.world import World
from flows.cycle import Mode, cycle
from flows.pause import pause_rolling
from flows.resume import resume_rolling
from flows.steps import Steps
from tasks.decide.gating import freeze_of
from tasks.decide.remove import Order
from tasks.decide.settle import settle
from tasks.dispatch import dispatch
from tasks.gating import lift, place
from tasks.hold import hold_clusters
from tasks.order import order
from tasks.order_rolling import cluster_of, order_new, order_rest, order_rolling
from tasks.orphans import cancel_all_orphans
from tasks.poll import poll_nodes
from tasks.remove import remove_cluster
from tasks.remove_namespace import clusters_left

S, A, P = RollingState, ActionState, RollingPhase
QUICK = NamespaceSettings(status_hold=0)


@pytest.fixture
async def fleet(world: World) -> World:
    """A cluster of three that was looked at, n1 its primary."""
    await world.declare(settings=QUICK)
    await turned(world)
    return world


async def turned(world: World, seconds: float = 2.0) -> None:
    """One cycle, and some time."""
    [report] = (await cycle(await world.turn(), [REF], Mode.ORCHESTRATE)).reports
    assert report.error is None
    world.advance(seconds)


def answer(world: World, state: ActionState = A.DONE, error: str | None = None) -> list[str]:
    """Every agent brings what it has to its end; says on which nodes."""
    found = []
    for node_id in NODES:
        for action_id in world.node(node_id).listed(final=False):
            world.node(node_id).move(action_id, state, error=error)
            found.append(node_id)
    return found


async def ran(world: World, rolling: Rolling, turns: int = 20) -> tuple[Rolling, list[list[str]]]:
    """Cycle by cycle until it has ended: it then, and on which nodes agents worked in each cycle."""
    worked = []
    for _ in range(turns):
        await turned(world)
        worked.append(answer(world))
        if (await stored(world, rolling)).state.final:
            break
    return await stored(world, rolling), [nodes for nodes in worked if nodes]


async def ordered(
    world: World, after: RollingState, who: str = "bob", why: str = "", only_from: RollingState | None = None
) -> Rolling:
    """An order about it."""
    return await order_rolling.fn(world.store, ROLLING_ID, after, who, why, world.clock(), only_from)


# -- from order to end -----------------------------------------------------------------------------------------------------


async def test_the_whole_way(fleet: World) -> None:
    """Ordered, approved, each node once, the primary last, one at a time; told at each step; its actions say whose they are."""
    rolling, worked = await ran(fleet, await rolled(fleet))
    actions = await fleet.store.find(Action)
    told = [event.data["state"] for event in fleet.events if event.type == EventType.ROLLING_CHANGED]

    assert (S.DONE, [["n2"], ["n3"], ["n1"]]) == (rolling.state, worked)
    assert {(A.DONE, ROLLING_ID, "bob")} == {(a.state, a.rolling_id, a.approved_by) for a in actions}
    assert 3 == len(fleet.agents.sent)
    assert ["PENDING_APPROVE", "RUNNING", "DONE"] == list(dict.fromkeys(told))
    assert 1 + 1 + 2 * 3 <= len(told)


async def test_nothing_begins_before_it_is_approved(fleet: World) -> None:
    """However many cycles there are."""
    rolling = await rolled(fleet, approved=False)
    for _ in range(4):
        await turned(fleet)

    assert (S.PENDING_APPROVE, []) == ((await stored(fleet, rolling)).state, fleet.agents.sent)


async def test_it_is_ordered_once_under_one_id(fleet: World) -> None:
    """Whoever did not hear the answer may ask again."""
    first, second = await rolled(fleet, approved=False), await rolled(fleet, approved=False)

    assert (first, 1) == (second, len(await fleet.store.find(Rolling)))


async def test_a_batch_of_several(fleet: World) -> None:
    """All gates hold for each action: with three members the second of a batch waits for the majority, and then has its turn."""
    rolling, worked = await ran(fleet, await rolled(fleet, batch=2))

    assert (S.DONE, [["n2"], ["n3"], ["n1"]]) == (rolling.state, worked)
    assert (("n2", "n3"), ("n1",)) == rolling.plan.batches


async def test_health_between_batches(fleet: World) -> None:
    """A node that does not come back keeps the others; the time that it may take is bounded."""
    rolling = await rolled(fleet, health_within_s=60)
    await turned(fleet)
    answer(fleet)
    fleet.node("n2").status = NodeStatus.UNAVAILABLE
    for _ in range(5):
        await turned(fleet)
    waits = await stored(fleet, rolling)
    fleet.advance(60)
    await turned(fleet)
    after = await stored(fleet, rolling)

    assert (S.RUNNING, P.SETTLING, S.FAILED) == (waits.state, waits.phase, after.state)
    assert "node n2 is UNAVAILABLE" in str(after.error)
    assert ["n2"] == [node_id for node_id, _ in fleet.agents.sent]


async def test_a_failed_action_ends_it(fleet: World) -> None:
    """With the agent's reason; nothing more begins."""
    rolling = await rolled(fleet)
    await turned(fleet)
    answer(fleet, A.FAILED, "no disk")
    for _ in range(4):
        await turned(fleet)
    after = await stored(fleet, rolling)

    assert (S.FAILED, "its action on n2 is FAILED: no disk", 1) == (after.state, after.error, len(fleet.agents.sent))


async def test_what_was_shown_is_ordered(fleet: World) -> None:
    """Or nothing, when the plan would be another one by now."""
    before = await shown(fleet)
    await fleet.save(discovery((*NODES, "n4")))
    after = await shown(fleet, force="n4 is new")
    view = await cluster_of(fleet.store, REF)
    with pytest.raises(RefusedError, match=f"the plan is {after.digest} now, not {before.digest}"):
        await order_new.fn(
            fleet.store, view, after.plan, ROLLING_ID, "ann", "", fleet.clock(), forced="x", digest=before.digest
        )  # fmt: skip


@pytest.mark.parametrize("must_differ", [False, True])
async def test_granted_by_its_order(world: World, must_differ: bool) -> None:
    """It needs no approval; not where somebody else must approve."""
    await world.declare(settings=QUICK.model_copy(update={"approver_must_differ": must_differ}))
    await turned(world)
    plan, view = (await shown(world)).plan, await cluster_of(world.store, REF)
    ordering = order_new.fn(world.store, view, plan, ROLLING_ID, "ann", "", world.clock(), granted=True)
    if must_differ:
        with pytest.raises(RefusedError, match="wants somebody else to approve it"):
            await ordering
    else:
        assert (S.RUNNING, "ann") == ((made := await ordering).state, made.approved_by)


# -- what keeps it ---------------------------------------------------------------------------------------------------------


async def test_it_is_refused_on_a_sick_cluster(fleet: World) -> None:
    """With what is wrong, which a dry run shows as well; by force it is ordered, and tolerates just that."""
    fleet.node("n2").status = NodeStatus.UNAVAILABLE
    await turned(fleet)
    shows = await shown(fleet)
    with pytest.raises(RefusedError, match="is not fit for a rolling action: node n2 is UNAVAILABLE"):
        await rolled(fleet)
    forced = await rolled(fleet, approved=False, force="it is the disk of n2")

    assert "node n2 is UNAVAILABLE" in shows.unwell[0]
    assert {"MAJORITY"} <= {one.block.rule for one in shows.hindrances}
    assert ("it is the disk of n2", ("MAJORITY_AT_RISK", "STORE_UNAVAILABLE n2")) == (
        forced.forced,
        forced.plan.tolerated,
    )


async def test_a_freeze_stops_it_between_two_nodes(fleet: World) -> None:
    """And it goes on where it stood when that is lifted, however long that takes."""
    rolling = await rolled(fleet, batch_within_s=30)
    await turned(fleet)
    answer(fleet)
    gate = await place.fn(fleet.store, freeze_of("prod", "disks", None, "ann", fleet.clock()), fleet.clock())
    for _ in range(4):
        await turned(fleet, 300)
    sent = len(fleet.agents.sent)
    await lift.fn(fleet.store, gate.name, "ann", "", fleet.clock())
    after, _ = await ran(fleet, rolling)

    assert (1, S.DONE, 3) == (sent, after.state, len(fleet.agents.sent))


async def test_an_approval_of_another_cluster_lapses(fleet: World) -> None:
    """A member came after it was ordered: whoever approves is told, and it is over."""
    await rolled(fleet, approved=False)
    await fleet.save(discovery((*NODES, "n4")))
    with pytest.raises(RefusedError, match=r"has lapsed: .*n4 came"):
        await ordered(fleet, S.RUNNING)
    [after] = await fleet.store.find(Rolling)

    assert (S.LAPSED, "bob") == (after.state, after.history[-1].who)


async def test_an_approval_that_comes_too_late(fleet: World) -> None:
    """Its time is over although no cycle has cancelled it: refused, and told."""
    await rolled(fleet, approved=False)
    await fleet.save(Namespace(name="prod", settings=QUICK.evolve(approval_within=3_600.0)))
    fleet.advance(3_601)
    with pytest.raises(RefusedError, match="could be approved until"):
        await ordered(fleet, S.RUNNING)
    [after] = await fleet.store.find(Rolling)

    assert (S.PENDING_APPROVE, EventType.ROLLING_REFUSED) == (after.state, fleet.types()[-1])


async def test_an_approved_one_lapses(fleet: World) -> None:
    """A member came between two batches: what is under way ends, nothing more begins."""
    rolling = await rolled(fleet)
    await turned(fleet)
    await fleet.save(discovery((*NODES, "n4")))
    for _ in range(4):
        await turned(fleet)
        answer(fleet)
    after = await stored(fleet, rolling)

    assert (S.LAPSED, 1) == (after.state, len(fleet.agents.sent))
    assert A.DONE is (await fleet.store.find(Action))[0].state


# -- orders ----------------------------------------------------------------------------------------------------------------


async def test_somebody_else_approves(world: World) -> None:
    """Where the namespace wants that; a refused order is told."""
    await world.declare(settings=QUICK.model_copy(update={"approver_must_differ": True}))
    await turned(world)
    await rolled(world, approved=False)
    with pytest.raises(RefusedError, match="wants somebody else to approve it"):
        await ordered(world, S.RUNNING, who="ann")
    refused = world.events[-1]
    after = await ordered(world, S.RUNNING, who="bob", why="go")

    assert (EventType.ROLLING_REFUSED, "ann", "RUNNING") == (refused.type, refused.data["who"], refused.data["wanted"])
    assert ("bob", S.RUNNING) == (after.approved_by, after.state)


@pytest.mark.parametrize("digest", ["0123456789abcdef", ""])
async def test_an_approval_is_of_one_plan(fleet: World, digest: str) -> None:
    """With another digest nothing is approved."""
    rolling = await rolled(fleet, approved=False)
    with pytest.raises(RefusedError, match=f"is {rolling.plan.digest}, not"):
        await order_rolling.fn(fleet.store, ROLLING_ID, S.RUNNING, "bob", "", fleet.clock(), digest=digest)
    good = await order_rolling.fn(
        fleet.store, ROLLING_ID, S.RUNNING, "bob", "", fleet.clock(), digest=rolling.plan.digest
    )  # fmt: skip

    assert S.RUNNING is good.state


async def test_pause_and_resume(fleet: World) -> None:
    """Paused, what its agent has goes on and nothing more begins; resumed it goes on where it stood."""
    rolling = await rolled(fleet)
    await turned(fleet)
    await ordered(fleet, S.PAUSED, why="lunch")
    for _ in range(5):
        await turned(fleet)
        answer(fleet)
    paused = await stored(fleet, rolling)
    sent = len(fleet.agents.sent)
    await ordered(fleet, S.RUNNING, only_from=S.PAUSED)
    after, worked = await ran(fleet, rolling)

    assert (S.PAUSED, {"n2": A.DONE}, 1) == (paused.state, paused.ended, sent)
    assert (S.DONE, [["n3"], ["n1"]]) == (after.state, worked)


async def test_the_flows_pause_and_resume(fleet: World) -> None:
    """Paused with a reason and without an end; resumed, its cluster is looked after at once."""
    await rolled(fleet)
    outside: Any = Outside(store_=fleet.store)
    for reason, until in (("lunch", fleet.clock()), (" ", None)):
        with pytest.raises(InvalidInputError):
            await pause_rolling(fleet.store, ROLLING_ID, None, until, "eve", reason, Steps())
    paused = await pause_rolling(fleet.store, ROLLING_ID, None, None, "eve", "lunch", Steps())
    with pytest.raises(RefusedError, match="cannot become PAUSED"):
        await pause_rolling(fleet.store, ROLLING_ID, None, None, "eve", "lunch", Steps())
    resumed = await resume_rolling(outside, ROLLING_ID, "eve", "", Steps())
    with pytest.raises(RefusedError, match="this needs it to be PAUSED"):
        await resume_rolling(outside, ROLLING_ID, "eve", "", Steps())

    assert (S.PAUSED, S.RUNNING) == (paused.state, resumed.state)
    assert ["orchestrate:prod/orders"] == [item.key for item in await fleet.store.list_work([WorkState.QUEUED])]


async def test_cancelled(fleet: World) -> None:
    """Before it began: no node is touched, ever."""
    rolling = await rolled(fleet)
    await ordered(fleet, S.CANCELLED, why="not today")
    for _ in range(4):
        await turned(fleet)
    after = await stored(fleet, rolling)

    assert (S.CANCELLED, [], "not today") == (after.state, fleet.agents.sent, after.history[-1].why)


async def test_cancelled_while_actions_wait(fleet: World) -> None:
    """Those that have not begun end with it, in the same transaction; the one that runs goes on to its end."""
    rolling = await rolled(fleet, batch=2)
    await turned(fleet)
    await ordered(fleet, S.CANCELLED)
    states = {a.node_id: a.state for a in await fleet.store.find(Action)}
    answer(fleet)
    await turned(fleet)
    ends = {a.node_id: a.state for a in await fleet.store.find(Action)}

    assert ({"n2": A.NEW, "n3": A.CANCELLED}, {"n2": A.DONE, "n3": A.CANCELLED}) == (states, ends)
    assert S.CANCELLED is (await stored(fleet, rolling)).state


@pytest.mark.parametrize("after", [S.PAUSED, S.CANCELLED])
async def test_an_order_between_choice_and_sending_wins(fleet: World, after: RollingState) -> None:
    """What was chosen is asked about once more after its intent was saved; nothing is sent."""
    rolling = await rolled(fleet)
    [node] = [n for n in NODES if n == rolling.plan.batches[0][0]]
    fleet.node(node).actions_on = False
    await turned(fleet)
    fleet.node(node).actions_on = True
    fleet.advance(30)
    view = (await fleet.store.views([REF]))[REF.key]
    coordinator = await fleet.worker("worker-2")
    held = await hold_clusters.fn(coordinator, fleet.store, [REF], "test")
    chosen = list(view.actions.values())
    if after is S.PAUSED:
        await ordered(fleet, after, why="lunch")
    else:  # as if the action had not been read: a cancel in the same moment swaps it
        await fleet.save((await stored(fleet, rolling)).evolve(state=after, version=9))
    done = await dispatch.fn(fleet.agents, coordinator, fleet.store, view, held.claims[REF.key], chosen, fleet.clock)

    assert (0, []) == (done.sent, fleet.agents.sent)
    assert [None] == [action.intent for action in done.actions]
    assert "was stopped just now" in done.notes[0]


async def test_cancelling_and_saving_an_intent_exclude_each_other(fleet: World) -> None:
    """The one that comes second is refused: an action is cancelled or sent, never both."""
    await rolled(fleet, batch=2)
    await turned(fleet)
    [waiting] = [a for a in await fleet.store.find(Action) if a.state is A.PENDING_SCHEDULE]
    await ordered(fleet, S.CANCELLED)
    with pytest.raises(ConflictError):
        await fleet.store.commit(Change(swaps=(waiting.evolve(version=waiting.version + 1),)), now=fleet.clock())


async def test_only_the_rest_is_done_once_more(fleet: World) -> None:
    """Another one, for the nodes on which it failed or was not done; it waits for approval; asked for twice it is one."""
    rolling = await rolled(fleet)
    await turned(fleet)
    answer(fleet)
    for _ in range(3):
        await turned(fleet)
    answer(fleet, A.FAILED)
    await turned(fleet)
    new = await order_rest.fn(fleet.store, rolling.rolling_id, "eve", "", fleet.clock())
    again = await order_rest.fn(fleet.store, rolling.rolling_id, "eve", "", fleet.clock())
    await order_rolling.fn(fleet.store, new.rolling_id, S.RUNNING, "bob", "", fleet.clock())
    after, worked = await ran(fleet, new)

    assert (new, (("n3",), ("n1",)), rolling.rolling_id) == (again, new.plan.batches, new.retry_of)
    assert (S.DONE, [["n3"], ["n1"]]) == (after.state, worked)


async def test_what_ends_later_is_known_when_its_actions_are_not(fleet: World) -> None:
    """An agent's end after the rolling action was given up is kept with that: the rest is the rest when actions are swept."""
    rolling = await rolled(fleet, batch=2)
    for _ in range(3):
        await turned(fleet)
    await ordered(fleet, S.CANCELLED)
    agents_had = answer(fleet)
    await turned(fleet)
    ended = await stored(fleet, rolling)
    swept = tuple(RecordKey(Action, action.key) for action in await fleet.store.find(Action))
    await fleet.store.commit(Change(deletes=swept), now=fleet.clock())
    new = await order_rest.fn(fleet.store, rolling.rolling_id, "eve", "", fleet.clock())

    assert (S.CANCELLED, dict.fromkeys(agents_had, A.DONE)) == (ended.state, ended.ended)
    assert agents_had
    assert set(NODES) - set(agents_had) == set(new.plan.nodes)


async def test_what_ends_while_a_person_gives_it_up_is_not_forgotten(fleet: World) -> None:
    """The end is saved with the rolling action itself, or not at all: then the next cycle sees it."""
    rolling = await rolled(fleet)
    await turned(fleet)
    answer(fleet)
    view = (await fleet.store.views([REF]))[REF.key]
    await ordered(fleet, S.CANCELLED)
    polled = await poll_nodes.fn(fleet.agents, view, now=fleet.clock())
    settled = settle(view, polled.looks, now=fleet.clock())
    with pytest.raises(ConflictError):
        await fleet.store.commit(settled.change, now=fleet.clock())
    await turned(fleet)

    assert {"n2": A.DONE} == (await stored(fleet, rolling)).ended


async def test_a_failure_that_a_look_saw_says_why(fleet: World) -> None:
    """Seen by a cycle that only looks: the next one that acts still knows the reason."""
    rolling = await rolled(fleet)
    await turned(fleet)
    answer(fleet, A.FAILED, "no disk")
    await cycle(await fleet.turn(), [REF], Mode.OBSERVE)
    await turned(fleet)

    assert "its action on n2 is FAILED: no disk" == (await stored(fleet, rolling)).error


async def test_a_person_cancels_one_of_its_actions(fleet: World) -> None:
    """That node counts as failed."""
    rolling = await rolled(fleet)
    await turned(fleet)
    [action] = await fleet.store.find(Action)
    await order.fn(fleet.store, action.action_id, A.CANCELLED, "eve", "", fleet.clock())
    await turned(fleet)

    assert (S.FAILED, {"n2": A.CANCELLED}) == ((after := await stored(fleet, rolling)).state, after.ended)


async def test_what_there_is_not(fleet: World) -> None:
    """Said."""
    with pytest.raises(NotFoundError, match="no rolling action"):
        await ordered(fleet, S.CANCELLED)
    with pytest.raises(NotFoundError, match="no rolling action"):
        await order_rest.fn(fleet.store, ROLLING_ID, "ann", "", fleet.clock())
    with pytest.raises(InvalidInputError, match="say why"):
        await shown(fleet, force=" ")
    assert RESTART == (await shown(fleet)).plan.kind


# -- clusters that go --------------------------------------------------------------------------------------------------------


async def test_a_deleted_cluster_takes_it_along(fleet: World) -> None:
    """Cancelled with the reason, in the name of whoever deletes."""
    rolling = await rolled(fleet)
    coordinator = await fleet.worker("worker-2")
    held = await hold_clusters.fn(coordinator, fleet.store, [REF], "delete")
    wanted = Order(by="eve", reason="sold", force=True)
    await remove_cluster.fn(fleet.store, REF, held.claims[REF.key], wanted, fleet.clock)
    after = await stored(fleet, rolling)

    assert (S.CANCELLED, "eve", "its cluster is deleted: sold") == (
        after.state,
        after.history[-1].who,
        after.history[-1].why,
    )


async def test_a_namespace_is_not_empty_while_one_is_left(fleet: World) -> None:
    """Unfinished ones count as something that is left of a cluster; finished ones do not."""
    rolling = await rolled(fleet)
    for type_ in (ClusterSpec, Discovery, ClusterState, Node):
        fleet.store.records[type_].clear()
    left = await clusters_left(fleet.store, "prod", 10)
    await fleet.save((await stored(fleet, rolling)).evolve(state=S.CANCELLED, version=9))

    assert ([REF], []) == (left, await clusters_left(fleet.store, "prod", 10))


async def test_a_cluster_that_is_gone_leaves_none(fleet: World) -> None:
    """What was ordered while it was deleted is found by `sweep`."""
    rolling = await rolled(fleet)
    for type_ in (ClusterSpec, Discovery):
        fleet.store.records[type_].clear()
    await cancel_all_orphans.fn(fleet.store, fleet.clock())

    assert S.CANCELLED is (await stored(fleet, rolling)).state
