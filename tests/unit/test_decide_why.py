"""Why is it not running: every state an action can be in has an answer, and every rule is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blocks.models.action import Action, ActionState, Transition
from blocks.models.cluster import ClusterSpec
from blocks.models.gate import Gate, GateKind
from blocks.models.namespace import Namespace, NamespaceSettings, NamespaceStatus
from blocks.models.node import NodeStatus
from blocks.models.request import Request, WorkKind, WorkState
from blocks.models.view import ClusterView
from doubles.actions import action_id, make_action
from doubles.views import NODES, NOW, discovery, intent, later, make_node, make_view
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.why import Circumstances, Lock, Reason, why_action, why_cluster

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


def test_budgets_of_the_namespace() -> None:
    """Full: how many others there are, and may be. Only for what needs room and does not hold it itself."""
    home = NS.evolve(settings=NamespaceSettings(disruption_max=2))
    around = replace(AROUND, holders=frozenset({action_id(1), action_id(8)}))
    restart = make_action(2, kind="x/restart")
    reasons = told(restart, around=around, namespace=home)

    assert ("BUDGET", "2 nodes of namespace prod are acted on, and 2 may be at once") == (
        reasons[0].rule,
        reasons[0].text,
    )
    for other in (restart.evolve(action_id=action_id(1)), restart.evolve(forced="now"), make_action(2)):
        assert "BUDGET" not in {reason.rule for reason in told(other, around=around, namespace=home)}


def test_what_was_cancelled_and_goes_on() -> None:
    """Actions on its node and exclusive ones wait for its end, and say so; others do not."""
    left = make_action(2, state=S.CANCELLED, left_running=True)
    text = f"action {left.action_id} ({left.kind}) was cancelled, and the agent of node n1 may still be at work on it"
    on_cluster = make_action(1, node_id=None, kind=LOOP)

    assert ("NODE_BUSY", text) == (told(action_on_n1(), left)[0].rule, told(action_on_n1(), left)[0].text)
    assert told(left)[0].text.endswith("its node takes nothing else until that has ended")
    assert ["SCHEDULING", "NODE_BUSY"] == [reason.rule for reason in told(on_cluster, left)]
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
    assert "BUDGET" == told(taking, around=replace(AROUND, holders=frozenset({action_id(8)})), **full)[0].rule


def test_when_it_may_be_over() -> None:
    """Retry time, end of a pause, lapse of an approval, and the next turn are moments."""
    lapse = told(action_on_n1(state=S.PENDING_APPROVE))[1]

    assert (later(7 * 86_400 + 0.123), later(9), later(30)) == (
        lapse.until,
        told(action_on_n1(not_before=later(9)))[0].until,
        told(action_on_n1())[0].until,
    )


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
