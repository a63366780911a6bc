"""What a cycle does about rolling actions: batches, health between them, gates, deadlines, failures, ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from blocks.models.action import Action, ActionState
from blocks.models.cluster import Health
from blocks.models.event import EventType
from blocks.models.gate import Gate, GateKind
from blocks.models.namespace import Namespace, NamespaceSettings, NamespaceStatus
from blocks.models.node import NodeStatus
from blocks.models.rolling import Pace, Rolling, RollingPhase, RollingState
from blocks.models.view import ClusterView
from doubles.actions import make_action
from doubles.rollings import make_plan, make_rolling
from doubles.views import NODES, NOW, discovery, intent, later, make_node, make_view, state
from tasks.decide.gates import blocks
from tasks.decide.rolling import action_id_of, actions_of
from tasks.decide.rolling_turn import Turned, turned, waits_until
from tasks.decide.timetable import follow_up

S, P, A = RollingState, RollingPhase, ActionState
FREEZE = Gate(name="g", kind=GateKind.FREEZE, reason="disk", owner="ann", created_at=later(-9), created_by="ann")


def view_of(*rollings: Rolling, **parts: Any) -> ClusterView:
    """A healthy cluster with these rolling actions."""
    basics = {"state": state(health=Health.HEALTHY), "rollings": {one.rolling_id: one for one in rollings}}
    return make_view(*parts.pop("nodes", [make_node(n) for n in NODES]), **{**basics, **parts})


def one(turn: Turned) -> Rolling:
    """The rolling action as it is after a turn."""
    [rolling] = turn.view.rollings.values()
    return rolling


def made(turn: Turned) -> list[Action]:
    """The actions that a turn saves."""
    return [record for record in turn.change.swaps if isinstance(record, Action)]


def acting(**fields: Any) -> Rolling:
    """One whose first batch was begun."""
    return make_rolling(**{"phase": P.ACTING, "since": NOW, **fields})


def ended(rolling: Rolling, how: ActionState = A.DONE, **fields: Any) -> dict[str, Action]:
    """The actions of its batch, at their end."""
    return {a.action_id: a.evolve(state=how, **fields) for a in actions_of(rolling, now=NOW)}


def sick_view(rolling: Rolling) -> ClusterView:
    """A cluster whose second node is not back."""
    return view_of(rolling, nodes=[make_node("n1"), make_node("n2", status=NodeStatus.UNAVAILABLE), make_node("n3")])


def test_a_batch_begins_with_its_actions_in_one_change() -> None:
    """Its actions, approved as it was, and the step of the rolling action itself; each told of."""
    turn = turned(view_of(make_rolling()), {}, now=NOW)

    assert (P.ACTING, NOW, 2) == (one(turn).phase, one(turn).since, one(turn).version)
    assert [("n2", A.PENDING_SCHEDULE, "bob")] == [(a.node_id, a.state, a.approved_by) for a in made(turn)]
    assert [EventType.ROLLING_CHANGED, EventType.ACTION_CREATED] == [draft.type for draft in turn.change.drafts]
    assert made(turn) == list(turn.view.actions.values())


def test_the_whole_way() -> None:
    """Secondaries, then the primary; between batches the cluster is healthy for a while; then it is DONE, and told each time."""
    rolling, now, actions, order = make_rolling(), NOW, dict[str, Action](), list[str]()
    told: list[tuple[Any, Any]] = []
    for _ in range(40):
        turn = turned(view_of(rolling), actions, now=now)
        told += [(d.data["state"], d.data["batch"]) for d in turn.change.drafts if d.type is EventType.ROLLING_CHANGED]
        order += [str(action.node_id) for action in made(turn)]
        rolling, now = one(turn), now + timedelta(seconds=3)
        actions |= {a.action_id: a.evolve(state=A.DONE) for a in made(turn)}
    plan = rolling.plan

    assert (S.DONE, ["n2", "n3", "n1"], dict.fromkeys(NODES, A.DONE)) == (rolling.state, order, rolling.ended)
    assert ("RUNNING", 0) == told[0]
    assert ("DONE", 3) == told[-1]
    assert rolling.finished_at is not None
    assert rolling.finished_at - NOW >= 3 * timedelta(seconds=plan.pace.settle_s)


def test_nothing_changes_while_it_waits() -> None:
    """For actions under way, and for health: no write in each cycle."""
    running = acting()
    actions = ended(running, A.RUNNING)
    settling = make_rolling(phase=P.SETTLING, since=NOW, healthy_since=NOW, ended={"n2": A.DONE})

    assert turned(view_of(running, actions=actions.values()), {}, now=later(9)).change.empty
    assert turned(view_of(settling), {}, now=later(9)).change.empty
    assert later(10) == waits_until(view_of(settling)) == follow_up(view_of(settling), now=later(9))


@pytest.mark.parametrize("how", [A.FAILED, A.LOST, A.CANCELLED])
def test_a_failure_ends_it(how: ActionState) -> None:
    """With the node and the reason; the rest of the batch that has not begun is cancelled, what runs goes on."""
    rolling = acting(plan=make_plan(("n2", "n3", "n4"), ("n1",), members=("n1", "n2", "n3", "n4"), pace=Pace(batch=3)))
    first, second, third = actions_of(rolling, now=NOW)
    actions = [first.evolve(state=how, error="no disk"), second, third.evolve(state=A.RUNNING)]
    nodes = [make_node(n) for n in ("n1", "n2", "n3", "n4")]
    turn = turned(view_of(rolling, nodes=nodes, actions=actions), {}, now=NOW)

    assert (S.FAILED, {"n2": how}) == (one(turn).state, one(turn).ended)
    assert f"its action on n2 is {how}: no disk" in str(one(turn).error)
    assert [("n3", A.CANCELLED)] == [(a.node_id, a.state) for a in made(turn)]


def test_so_many_failures_may_be() -> None:
    """It goes on with as many as were allowed, and says at its end where it failed."""
    plan = make_plan(pace=Pace(failures_max=1, settle_s=0))
    turn = turned(view_of(acting(plan=plan)), ended(acting(plan=plan), A.FAILED), now=NOW)
    again = turned(view_of(one(turn)), ended(one(turn), A.FAILED), now=NOW)

    assert (S.RUNNING, 1, ["n3"]) == (one(turn).state, one(turn).batch, [a.node_id for a in made(turn)])
    assert (S.FAILED, ("n2", "n3")) == (one(again).state, one(again).failed)
    assert "2 nodes failed, 1 may" in str(one(again).error)


def test_an_action_that_is_not_stored_any_more_is_lost() -> None:
    """Nobody can say that it is done."""
    assert {"n2": A.LOST} == one(turned(view_of(acting()), {}, now=NOW)).ended


def test_health_is_waited_for_and_not_for_ever() -> None:
    """While a node is not back the time runs, and does not begin anew; at its end it has failed, with the reason."""
    first = turned(sick_view(acting()), ended(acting()), now=later(5))
    second = turned(sick_view(one(first)), {}, now=later(604))
    third = turned(sick_view(one(first)), {}, now=later(606))

    assert (P.SETTLING, later(5), None) == (one(first).phase, one(first).since, one(first).healthy_since)
    assert second.change.empty
    assert S.FAILED is one(third).state
    assert "did not become healthy within 600 s: node n2 is UNAVAILABLE" in str(one(third).error)


def test_health_must_last() -> None:
    """What is ill in between waits anew."""
    settling = make_rolling(phase=P.SETTLING, since=NOW, healthy_since=NOW, ended={"n2": A.DONE})
    ill = one(turned(sick_view(settling), {}, now=later(8)))
    well = one(turned(view_of(ill), {}, now=later(12)))
    still = one(turned(view_of(well), {}, now=later(21)))
    on = one(turned(view_of(still), {}, now=later(22)))

    assert (None, later(12), P.SETTLING) == (ill.healthy_since, well.healthy_since, still.phase)
    assert (P.ACTING, 1, later(22)) == (on.phase, on.batch, on.since)


def test_it_does_not_begin_on_a_sick_cluster() -> None:
    """It waits, and then has failed without having done anything."""
    waiting = one(turned(sick_view(make_rolling()), {}, now=later(1)))
    failed = turned(sick_view(waiting), {}, now=later(700))

    assert (S.RUNNING, P.NEXT, later(1)) == (waiting.state, waiting.phase, waiting.since)
    assert (S.FAILED, []) == (one(failed).state, made(failed))


@pytest.mark.parametrize(
    "parts", [{"gates": (FREEZE,)}, {"namespace": Namespace(name="prod", status=NamespaceStatus.OBSERVED)}]
)
def test_closed_gates_stop_the_clock(parts: dict[str, Any]) -> None:
    """No batch begins, and the time of one that was begun stands still: a night outside of the windows is no failure."""
    next_ = turned(view_of(make_rolling(since=NOW), **parts), {}, now=later(9_999))
    waiting = ended(acting(), A.PENDING_SCHEDULE)
    held = turned(view_of(acting(), actions=waiting.values(), **parts), {}, now=later(9_999))
    free = turned(view_of(one(held), actions=waiting.values()), {}, now=later(99_999))

    assert [(S.RUNNING, None), (S.RUNNING, None), (S.RUNNING, later(99_999))] == [
        (one(t).state, one(t).since) for t in (next_, held, free)
    ]
    assert [] == made(next_)


def test_a_batch_has_a_deadline() -> None:
    """What its agent never ends, or a budget never lets begin."""
    actions = ended(acting(), A.RUNNING)
    turn = turned(view_of(acting(), actions=actions.values()), {}, now=later(3_601))

    assert (S.FAILED, "batch 1 was not done within 3600 s: n2") == (one(turn).state, one(turn).error)


@pytest.mark.parametrize(
    "rolling", [make_rolling(), make_rolling(state=S.PENDING_APPROVE), make_rolling(state=S.PAUSED), acting()]
)
def test_another_member_ends_it(rolling: Rolling) -> None:
    """Approved or not, paused or in the middle: the plan was made for another cluster."""
    actions = ended(rolling, A.PENDING_SCHEDULE) if rolling.phase is P.ACTING else {}
    view = view_of(rolling, discovery=discovery((*NODES, "n4")), actions=actions.values())
    turn = turned(view, {}, now=NOW)

    assert S.LAPSED is one(turn).state
    assert "n4 came" in str(one(turn).error)
    assert [A.CANCELLED] * len(actions) == [a.state for a in made(turn)]


def test_what_was_done_is_noted_when_it_lapses() -> None:
    """So that what is left is known."""
    view = view_of(acting(), discovery=discovery((*NODES, "n4")))

    assert {"n2": A.DONE} == one(turned(view, ended(acting()), now=NOW)).ended


def test_an_election_before_it_begins_ends_it() -> None:
    """Where the new primary would come before secondaries."""
    nodes = [
        make_node("n1", shards=make_node("n2").shards),
        make_node("n2", shards=make_node("n1").shards),
        make_node("n3"),
    ]
    turn = turned(view_of(make_rolling(), nodes=nodes), {}, now=NOW)

    assert (S.LAPSED, []) == (one(turn).state, made(turn))


@pytest.mark.parametrize(
    ("limit_s", "expected"), [(60.0, S.CANCELLED), (9_999.0, S.PENDING_APPROVE), (None, S.PENDING_APPROVE)]
)
def test_approvals_expire(limit_s: float | None, expected: RollingState) -> None:
    """As those of actions."""
    home = Namespace(name="prod", settings=NamespaceSettings(approval_within=limit_s))
    view = view_of(make_rolling(state=S.PENDING_APPROVE), namespace=home)

    assert expected is one(turned(view, {}, now=later(61))).state


def test_a_paused_one_begins_nothing() -> None:
    """What its agents end is noted, and its failures are judged when it goes on."""
    paused = acting(state=S.PAUSED)
    noted = one(turned(view_of(paused), ended(paused, A.FAILED), now=later(5)))

    assert turned(view_of(make_rolling(state=S.PAUSED)), {}, now=later(9_999)).change.empty
    assert (S.PAUSED, {"n2": A.FAILED}) == (noted.state, noted.ended)
    assert S.FAILED is one(turned(view_of(noted.evolve(state=S.RUNNING)), {}, now=later(6))).state


def test_one_at_a_time_on_a_cluster() -> None:
    """The oldest order that is approved, paused or not; the next one as soon as that is over."""
    old = acting(created_at=later(-9))
    young = make_rolling(rolling_id=str(UUID(int=100)))
    actions = ended(old, A.RUNNING)
    waiting = turned(view_of(old, young, actions=actions.values()), {}, now=NOW)
    over = turned(view_of(old, young), ended(old, A.FAILED), now=NOW)

    assert waiting.change.empty
    assert turned(view_of(make_rolling(state=S.PAUSED), young), {}, now=NOW).change.empty
    assert [action_id_of(young, "n2")] == [a.action_id for a in made(over)]


@pytest.mark.parametrize(
    ("rolling", "fields", "expected"),
    [
        (make_rolling(state=S.CANCELLED), {}, [A.CANCELLED]),
        (None, {}, [A.CANCELLED]),
        (make_rolling(state=S.CANCELLED), {"intent": intent(NOW)}, []),
        (make_rolling(state=S.CANCELLED), {"intent": intent(later(-900))}, [A.CANCELLED]),
        (make_rolling(state=S.CANCELLED), {"state": A.RUNNING}, []),
        (make_rolling(state=S.PAUSED), {}, []),
    ],
    ids=["over", "gone", "perhaps sent", "known not to have arrived", "begun", "paused"],
)
def test_what_is_left_over_is_cancelled(
    rolling: Rolling | None, fields: dict[str, Any], expected: list[ActionState]
) -> None:
    """An action that has not begun ends with its rolling action; one that may have arrived is found out about first."""
    action = make_action(1, **{"rolling_id": make_rolling().rolling_id, **fields})
    view = replace(view_of(*([rolling] if rolling else [])), actions={action.action_id: action})

    assert expected == [a.state for a in made(turned(view, {}, now=NOW))]


@pytest.mark.parametrize(("state_", "begins"), [(state_, state_ is S.RUNNING) for state_ in S])
def test_its_actions_begin_only_while_it_runs(state_: RollingState, begins: bool) -> None:
    """A gate as all others, with its reason; forced or not."""
    rolling = make_rolling(state=state_, forced="disks")
    [action] = actions_of(rolling, now=NOW)
    found = blocks(view_of(rolling), action, (), NOW)

    assert begins is (not found)
    assert all(("ROLLING", True) == (block.rule, state_ in block.reason) for block in found)


def test_follow_ups_come_often_while_it_waits() -> None:
    """What has just begun is looked at soon, what waits for long less often."""
    soon, late = make_rolling(since=NOW), make_rolling(since=later(-400))

    assert later(0.5) == follow_up(view_of(soon), now=NOW)
    assert later(100) == follow_up(view_of(late), now=NOW)
    assert None is follow_up(view_of(make_rolling(state=S.PAUSED, since=NOW)), now=NOW)
