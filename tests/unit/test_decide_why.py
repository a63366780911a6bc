"""Why is it not running: every state an action can be in has an answer, and every rule is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.action import Action, ActionState, Transition
from blocks.models.cluster import ClusterSpec
from blocks.models.gate import Gate, GateKind
from blocks.models.namespace import Namespace, NamespaceSettings, NamespaceStatus
from blocks.models.node import NodeStatus
from blocks.models.request import Request, WorkKind, WorkState
from blocks.models.view import ClusterView
from doubles.actions import action_id, make_action
from doubles.views import NODES, NOW, discovery, intent, later, make_node, make_view, state
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.choose import choose
from tasks.decide.reasons import Circumstances, Lock, Reason
from tasks.decide.why import why_action, why_cluster

S = ActionState
ITEM = Request(kind=WorkKind.ORCHESTRATE, subject="prod/orders", next_at=later(30), interval=60)
AROUND = Circumstances(now=NOW, kinds=CATALOGUE, item=ITEM)
FREEZE = Gate(name="g", kind=GateKind.FREEZE, reason="disk", owner="ann", created_at=later(-9), created_by="ann")
LOOP, DEPROVISION = "core.replicante.io/test.loop", "core.replicante.io/platform.deprovision"
PROVISION = "core.replicante.io/platform.provision"


def view_of(*actions: Action, **parts: Any) -> ClusterView:
    """A healthy cluster with these actions."""
    nodes = parts.pop("nodes", [make_node(name) for name in NODES])
    return make_view(*nodes, actions=actions, **parts)


def told(action: Action, *others: Action, around: Circumstances = AROUND, **parts: Any) -> list[Reason]:
    """Why an action stands where it stands."""
    return list(why_action(view_of(action, *others, **parts), action, around))


@pytest.mark.parametrize("state", list(ActionState))
@pytest.mark.parametrize("node_id", ["n1", None], ids=["node", "cluster"])
def test_every_state_has_an_answer(state: ActionState, node_id: str | None) -> None:
    """Of actions on nodes and on clusters: one reason at least, in words."""
    kind = "agent.replicante.io/test.success" if node_id else LOOP
    reasons = told(make_action(1, node_id=node_id, kind=kind, state=state, error="no disk"))

    assert reasons
    assert all(reason.rule and len(reason.text) > 10 for reason in reasons)


def action_on_n1(**fields: Any) -> Action:
    """An approved action on a node."""
    return make_action(1, **fields)


NS = Namespace(name="prod")
DEAD = ITEM.evolve(state=WorkState.DEAD, error="it kills its workers")
QUEUED = ITEM.evolve(state=WorkState.QUEUED, wanted_at=NOW)


@pytest.mark.parametrize(
    ("rule", "action", "more"),
    [
        ("APPROVAL", action_on_n1(state=S.PENDING_APPROVE), {}),
        ("TURN", action_on_n1(), {}),
        ("NODE_GONE", action_on_n1(node_id="n9"), {}),
        ("NODE_UNKNOWN", action_on_n1(node_id="n4"), {"discovery": discovery([*NODES, "n4"])}),
        ("NODE_UNREACHABLE", action_on_n1(), {"nodes": [make_node("n1", status=NodeStatus.UNREACHABLE)]}),
        ("FOREIGN_NODE", action_on_n1(), {"nodes": [make_node("n1", foreign_id="billing")]}),
        ("NODE_BUSY", action_on_n1(), {"others": [make_action(2, state=S.RUNNING)]}),
        ("NODE_BUSY", action_on_n1(), {"others": [make_action(2, state=S.CANCELLED, left_running=True)]}),
        ("QUEUED", action_on_n1(created_at=later(5)), {"others": [make_action(2, created_at=later(0))]}),
        ("NODE_BUSY", action_on_n1(), {"others": [make_action(2, created_at=later(5), intent=intent())]}),
        ("IN_DOUBT", action_on_n1(created_at=later(5), intent=intent()), {"others": [make_action(2)]}),
        ("EXCLUSIVE", action_on_n1(), {"others": [make_action(2, node_id=None, kind=LOOP, state=S.RUNNING)]}),
        ("NAMESPACE", action_on_n1(), {"namespace": NS.evolve(status=NamespaceStatus.OBSERVED)}),
        ("FREEZE", action_on_n1(), {"gates": (FREEZE,)}),
        ("LAST_COPY", action_on_n1(kind="x/restart"), {"nodes": [make_node("n1")]}),
        ("BACKOFF", action_on_n1(not_before=later(9), attempts=2, error="refused"), {}),
        ("IN_DOUBT", action_on_n1(intent=intent(NOW, answer_by=later(5))), {}),
        ("SCHEDULING", make_action(1, node_id=None, kind=LOOP), {"others": [make_action(2, state=S.RUNNING)]}),
        ("UNKNOWN_KIND", make_action(1, node_id=None, kind="core.replicante.io/x"), {}),
        ("INACTIVE", action_on_n1(), {"spec": ClusterSpec(namespace="prod", cluster_id="orders", active=False)}),
        ("LOCK", action_on_n1(), {"around": replace(AROUND, lock=Lock("w1", later(-60), "orchestrate"))}),
        ("NOT_SCHEDULED", action_on_n1(), {"around": replace(AROUND, item=None)}),
        ("WORK_DEAD", action_on_n1(), {"around": replace(AROUND, item=DEAD)}),
        ("WORK_BACKOFF", action_on_n1(), {"around": replace(AROUND, item=QUEUED.evolve(not_before=later(9)))}),
        ("PAUSED", action_on_n1(), {"around": replace(AROUND, item=ITEM.evolve(paused_until=later(99)))}),
        ("QUEUE", action_on_n1(), {"around": replace(AROUND, item=QUEUED, ahead=7)}),
        ("NEW", action_on_n1(state=S.NEW), {}),
        ("RUNNING", action_on_n1(state=S.RUNNING), {}),
        ("ERROR", make_action(1, node_id=None, kind=LOOP, state=S.RUNNING, error="no answer"), {}),
        ("WORK_FAILED", action_on_n1(), {"around": replace(AROUND, item=QUEUED.evolve(error="no answer", failures=2))}),
        ("HELD", make_action(1, node_id=None, kind=LOOP, state=S.RUNNING, held_since=NOW), {}),
        ("DONE", action_on_n1(state=S.DONE), {}),
        ("FAILED", action_on_n1(state=S.FAILED, error="no disk"), {}),
        ("LOST", action_on_n1(state=S.LOST), {}),
        ("CANCELLED", action_on_n1(state=S.CANCELLED), {}),
    ],
)  # fmt: skip
def test_the_exact_rule(rule: str, action: Action, more: dict[str, Any]) -> None:
    """What keeps it is named first, before what follows from it."""
    more = dict(more)
    reasons = told(action, *more.pop("others", ()), **more)

    assert rule == reasons[0].rule


def rule_of(reasons: list[Reason], rule: str) -> str:
    """What is said by a rule; nothing where it says nothing."""
    return next((reason.text for reason in reasons if reason.rule == rule), "")


@pytest.mark.parametrize(
    ("kind", "most", "blocked"),
    [("x/restart", 2, True), ("x/restart", 3, False), ("agent.replicante.io/test.success", 2, False)],
)
def test_budgets_of_the_namespace(kind: str, most: int, blocked: bool) -> None:
    """Full: which others have the room; the action itself takes none of it, and one that disturbs nobody needs none."""
    home = NS.evolve(settings=NamespaceSettings(disruption_max=most))
    holders = frozenset(map(action_id, (1, 8, 9)))
    said = rule_of(
        told(action_on_n1(kind=kind), around=replace(AROUND, namespace_holders=holders), namespace=home), "BUDGET"
    )

    assert blocked == (f"2 other actions take room in the budget of namespace prod, and {most} may at once" in said)
    assert blocked == (action_id(8) in said and action_id(9) in said)


# -- what is in the way ----------------------------------------------------------------------------------------------------

LOOPS = make_action(2, node_id=None, kind=LOOP, state=S.RUNNING)
ON_N2 = make_action(3, node_id="n2", state=S.RUNNING)
N2_GONE = [make_node("n1"), make_node("n2", status=NodeStatus.UNREACHABLE), make_node("n3")]
PROVISION = "core.replicante.io/platform.provision"


@pytest.mark.parametrize(
    ("rule", "action", "others", "more", "words"),
    [
        ("EXCLUSIVE", action_on_n1(), [LOOPS], {}, f"runs: action {action_id(2)} ({LOOP}, RUNNING)"),
        ("EXCLUSIVE", action_on_n1(), [LOOPS.evolve(state=S.PENDING_SCHEDULE), ON_N2], {"around": replace(AROUND, now=later(700))}, f"goes first: action {action_id(2)}"),
        ("SCHEDULING", make_action(1, node_id=None, kind=LOOP), [ON_N2], {}, f"action {action_id(3)} ({ON_N2.kind}, RUNNING) on n2"),
        ("SCHEDULING", make_action(1, node_id=None, kind=LOOP), [ON_N2], {"nodes": N2_GONE}, f"whose agent cannot be asked: bring it back, or `replictl cancel {action_id(3)}`"),
        ("SCHEDULING", make_action(1, node_id=None, kind=LOOP), [ON_N2.evolve(state=S.PENDING_SCHEDULE)], {}, f"action {action_id(3)} ({ON_N2.kind}, PENDING_SCHEDULE) on n2"),
        ("SCHEDULING", make_action(1, node_id=None, kind=LOOP), [LOOPS], {}, f"action {action_id(2)}"),
        ("SCHEDULING", make_action(1, node_id=None, kind=PROVISION), [LOOPS.evolve(state=S.PENDING_SCHEDULE)], {}, f"action {action_id(2)}"),
        ("SCHEDULING", make_action(1, node_id=None, kind=LOOP), [ON_N2.evolve(action_id=action_id(n)) for n in range(10, 15)], {}, "; and 2 more"),
        ("MAJORITY", action_on_n1(kind="x/restart"), [ON_N2.evolve(kind="x/restart")], {}, f"acted on by action {action_id(3)}"),
        ("QUEUED", make_action(9, node_id=None, kind=LOOP), [make_action(n, node_id=None, kind=LOOP) for n in (1, 2)], {}, f"2 older actions on the cluster go before it, the first is {action_id(1)}"),
    ],
)  # fmt: skip
def test_which_action_is_in_the_way(
    rule: str, action: Action, others: list[Action], more: dict[str, Any], words: str
) -> None:
    """By its id, with what to do where its agent cannot be asked."""
    assert words in rule_of(told(action, *others, **more), rule)


def test_what_does_not_wait_for_a_silent_node_does_not_name_it() -> None:
    """Beside an exclusive one that waits for a silent node the others go on."""
    exclusive = LOOPS.evolve(state=S.PENDING_SCHEDULE)
    reasons = told(make_action(1, node_id=None, kind=PROVISION), exclusive, ON_N2, nodes=N2_GONE)

    assert ["TURN"] == [reason.rule for reason in reasons]


# -- the last error --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "rules"),
    [
        (action_on_n1(error="refused", attempts=2, not_before=later(-1)), ["TURN", "ERROR"]),
        (action_on_n1(error="refused", attempts=2, not_before=later(9)), ["BACKOFF", "LAPSES"]),
        (action_on_n1(error="refused", state=S.RUNNING), ["RUNNING", "ERROR"]),
        (make_action(1, node_id=None, kind=LOOP, state=S.RUNNING, error="refused", not_before=later(-1)), ["ERROR", "RUNNING"]),
        (make_action(1, node_id=None, kind=LOOP, state=S.RUNNING, error="refused", not_before=later(9)), ["BACKOFF", "RUNNING"]),
    ],
)  # fmt: skip
def test_the_last_error(action: Action, rules: list[str]) -> None:
    """Always: while the next try is waited for, when it is due, and while it runs; once."""
    reasons = told(action)

    assert rules == [reason.rule for reason in reasons]
    assert 1 == sum("refused" in reason.text for reason in reasons)


def test_the_last_error_of_its_cluster() -> None:
    """Also when the next cycle is due already; how often it failed in a row."""
    failed = ITEM.evolve(error="no answer", failures=3)

    assert (
        "its last cycle failed (3 in a row): no answer"
        == told(action_on_n1(), around=replace(AROUND, item=failed))[0].text
    )


# -- cancelled -------------------------------------------------------------------------------------------------------------


def test_cancelled_and_left_running() -> None:
    """What goes on where nobody can stop it, until when, and whether that is known; then how it ended."""
    left = action_on_n1(state=S.CANCELLED, left_running=True)
    gone = [make_node("n1", status=NodeStatus.UNREACHABLE), *map(make_node, NODES[1:])]
    ended = left.evolve(left_running=False, ended_as=S.DONE)

    assert [["CANCELLED", "LEFT_RUNNING"], ["CANCELLED", "ENDED_AS"]] == [
        [reason.rule for reason in told(one)] for one in (left, ended)
    ]
    assert (
        "node n1 counts as acted on and takes nothing else until then, and the agent is asked in every cycle"
        in told(left)[1].text
    )
    assert "the agent cannot be asked now" in told(left, nodes=gone)[1].text
    assert "ended it as DONE" in told(ended)[1].text


def test_what_was_cancelled_and_goes_on() -> None:
    """Actions on its node and exclusive ones wait for its end, and say so; others do not."""
    left = make_action(2, state=S.CANCELLED, left_running=True)
    text = f"action {left.action_id} ({left.kind}) was cancelled, and the agent of node n1 may still be at work on it"
    on_cluster = make_action(1, node_id=None, kind=LOOP)

    assert ("NODE_BUSY", text) == (told(action_on_n1(), left)[0].rule, told(action_on_n1(), left)[0].text)
    assert ["NODE_BUSY", "LAPSES"] == [reason.rule for reason in told(on_cluster, left)]
    assert ["TURN"] == [reason.rule for reason in told(make_action(1, node_id="n2"), left)]
    assert ["TURN"] == [reason.rule for reason in told(on_cluster.evolve(kind=PROVISION), left)]


def test_a_node_that_is_taken_away() -> None:
    """Its gates are named, nobody waits behind it meanwhile, and of a node that is not known it is said that nothing was judged."""
    nodes = [make_node("n1"), make_node("n2", status=NodeStatus.UNAVAILABLE), make_node("n3")]
    taking = make_action(1, node_id=None, kind=DEPROVISION, args={"node_id": "n3"})
    other = make_action(2, node_id=None, kind=LOOP, created_at=later(5))
    unknown = taking.evolve(args={"node_id": "n9"})
    full = {"namespace": NS.evolve(settings=NamespaceSettings(disruption_max=1))}

    assert "MAJORITY" == told(taking, nodes=nodes)[0].rule
    assert ["TURN"] == [reason.rule for reason in told(other, taking, nodes=nodes)]
    assert ["TURN", "NODE_UNKNOWN"] == [reason.rule for reason in told(unknown)]
    crowd = replace(AROUND, now=later(9_999), namespace_holders=frozenset({action_id(8)}))
    assert ["BUDGET", "LAPSES"] == [reason.rule for reason in told(taking, around=crowd, **full)]
    assert ["TURN"] == [reason.rule for reason in told(other, taking, around=crowd, **full)]
    assert ["TURN"] == [reason.rule for reason in told(make_action(2), taking, around=crowd, **full)]


def test_when_it_may_be_over() -> None:
    """Retry time, end of a pause, lapse of an approval, and the next turn are moments."""
    lapse = told(action_on_n1(state=S.PENDING_APPROVE))[1]

    assert (later(7 * 86_400 + 0.123), later(9), later(30)) == (
        lapse.until,
        told(action_on_n1(not_before=later(9)))[0].until,
        told(action_on_n1())[0].until,
    )


def test_until_when_it_may_wait() -> None:
    """What keeps it may keep it for so long, since it was approved or since the last gate was opened; behind a gate nobody knows."""
    down = {"nodes": [make_node("n1", status=NodeStatus.UNREACHABLE)]}
    fresh, opened = (
        told(action_on_n1(created_at=NOW), **down),
        told(action_on_n1(), state=state(open_since=later(-9)), **down),
    )
    shut = [reason.rule for reason in told(action_on_n1(), gates=(FREEZE,), **down)]

    assert [("NODE_UNREACHABLE", None), ("LAPSES", later(7 * 86_400))] == [(one.rule, one.until) for one in fresh]
    assert later(7 * 86_400 + 0.123) == opened[-1].until
    assert ["NODE_UNREACHABLE", "FREEZE"] == shut


def test_a_namespace_that_is_about_to_be_deleted() -> None:
    """While somebody looks whether it can be, nothing begins in it: said, with until when."""
    first = told(action_on_n1(), namespace=NS.evolve(closing_until=later(60)))[0]
    after = told(action_on_n1(), namespace=NS.evolve(closing_until=later(-1)))[0]

    assert ("NAMESPACE", later(60), "TURN") == (first.rule, first.until, after.rule)


def test_what_begins_before_it() -> None:
    """Of two restarts that wait the younger is told of the older, which begins with the next cycle and takes the majority."""
    older = make_action(2, node_id="n2", kind="x/restart", created_at=later(-9))
    younger = make_action(1, node_id="n3", kind="x/restart", created_at=later(-5))
    waits, goes = told(younger, older)[0], told(older, younger)

    assert ("MAJORITY", ["TURN"]) == (waits.rule, [reason.rule for reason in goes])
    assert f"action {older.action_id} (x/restart, PENDING_SCHEDULE) on n2" in waits.text


@given(
    places=st.lists(st.tuples(st.sampled_from(NODES), st.sampled_from(["x/restart", "agent.replicante.io/test.success"]),
                              st.integers(-3, 3), st.booleans()), min_size=1, max_size=6),
    most=st.none() | st.integers(1, 3),
)  # fmt: skip
def test_what_the_choice_says_is_told(places: list[tuple[str, str, int, bool]], most: int | None) -> None:
    """Whatever waits: what is chosen is kept by nothing, and what a gate blocks is told so by that rule."""
    actions = [
        make_action(number, node_id=node_id, kind=kind, created_at=later(age), forced="so" if forced else None)
        for number, (node_id, kind, age, forced) in enumerate(places, start=1)
    ]
    home = NS.evolve(settings=NamespaceSettings(status_hold=0, disruption_max_cluster=most))
    view = view_of(*actions, namespace=home)
    chosen = choose(view, CATALOGUE, now=NOW)
    rules = {one.action_id: [reason.rule for reason in why_action(view, one, AROUND)] for one in actions}

    assert all(["TURN"] == rules[one.action_id] for one in chosen.actions)
    for action_id_, found in chosen.choice.blocked.items():
        assert {block.rule for block in found} <= set(rules[action_id_])


def test_when_its_time_is_over() -> None:
    """An action on a cluster: its limit from its start, without what it was held; nobody knows while it is."""
    running = make_action(1, node_id=None, kind=LOOP, state=S.RUNNING, scheduled_at=NOW, held_s=100.0)

    assert (later(700), None) == (told(running)[-1].until, told(running.evolve(held_since=NOW))[-1].until)


def test_how_it_ended() -> None:
    """Who, why, and the last error."""
    last = Transition(at=NOW, before=S.RUNNING, after=S.FAILED, who="agent", why="told so")
    (reason,) = told(action_on_n1(state=S.FAILED, error="no disk", history=(last,)))

    assert "it is FAILED and never moves again; agent: told so; no disk" == reason.text


def test_a_cluster() -> None:
    """What keeps the cluster itself, then the first reason of each action; where nothing does, its next turn."""
    waiting, running = make_action(1, state=S.PENDING_APPROVE), make_action(2, node_id="n2", state=S.RUNNING)
    reasons = why_cluster(view_of(waiting, running, gates=(FREEZE,)), AROUND)

    assert [("FREEZE", None), ("APPROVAL", waiting.action_id), ("RUNNING", running.action_id)] == [
        (reason.rule, reason.about) for reason in reasons
    ]
    assert ["TURN"] == [reason.rule for reason in why_cluster(view_of(), AROUND)]
