"""What runs on a node that cannot be asked: it keeps what excludes it from beginning, and nobody else; and it is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blocks.models.action import Action, ActionState
from blocks.models.node import NodeStatus
from blocks.models.problem import Problem
from blocks.models.view import ClusterView
from doubles.actions import make_action
from doubles.views import NODES, NOW, intent, later, make_node, make_view, state
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.choose import choose
from tasks.decide.problems import find_problems
from tasks.decide.rules.base import scene_of

S = ActionState
DEAD = {"status": NodeStatus.UNREACHABLE, "actions_stale_since": NOW}
EXCLUSIVE = make_action(1, node_id=None, kind="core.replicante.io/test.loop", args=None)
PARALLEL = make_action(2, node_id=None, kind="core.replicante.io/platform.provision", args=None)
ON_N2 = make_action(3, node_id="n2")
RUNS = make_action(4, state=S.RUNNING)
DOUBT = make_action(4, intent=intent(later(-60), answer_by=later(-1)))
AGED = 700
"""Seconds after which what waits exclusively has waited for long."""


def view_of(*actions: Action, **n1: Any) -> ClusterView:
    """A cluster of three nodes, the first one as said."""
    return make_view(make_node("n1", **n1), *map(make_node, NODES[1:]), actions=actions)


@pytest.mark.parametrize(
    ("there", "n1"),
    [
        pytest.param(RUNS, DEAD, id="running, its agent is gone"),
        pytest.param(DOUBT, DEAD, id="in doubt, its agent is gone"),
        pytest.param(RUNS, {"actions_stale_since": NOW}, id="its agent cannot tell of actions"),
        pytest.param(RUNS, {"foreign_id": "billing"}, id="its node is another cluster's"),
    ],
)
def test_an_exclusive_one_that_waits_for_a_silent_node_holds_nobody_back(there: Action, n1: dict[str, Any]) -> None:
    """Others go on, on nodes and beside them, however long it has waited; it still waits, and the reasons say for what."""
    found = choose(view_of(there, EXCLUSIVE, PARALLEL, ON_N2, **n1), CATALOGUE, now=later(AGED))

    assert ((ON_N2,), PARALLEL) == (found.actions, found.start)
    assert found.choice.block_exclusive
    assert {"EXCLUSIVE_WAITS_FOR_SILENT_NODE"} == {one for one in found.choice.reasons if one.startswith("EXCLUSIVE_")}


def test_what_waits_for_a_node_that_answers_still_goes_first() -> None:
    """The same action on a node that answers ends sooner or later: patience counts."""
    found = choose(view_of(RUNS, EXCLUSIVE, PARALLEL, ON_N2), CATALOGUE, now=later(AGED))

    assert ((), None) == (found.actions, found.start)


def test_a_silent_node_without_an_action_holds_nothing_back() -> None:
    """What merely waits for a dead node is not waited for after the patience."""
    found = choose(view_of(make_action(4), EXCLUSIVE, ON_N2, **DEAD), CATALOGUE, now=later(AGED))

    assert ((), EXCLUSIVE) == (found.actions, found.start)


def test_cancelled_it_is_out_of_the_way() -> None:
    """What a person does about it: the exclusive one begins although the agent is still away."""
    cancelled = RUNS.evolve(state=S.CANCELLED)

    assert EXCLUSIVE == choose(view_of(cancelled, EXCLUSIVE, **DEAD), CATALOGUE, now=later(AGED)).start


def told(view: ClusterView, after_s: float) -> list[Problem]:
    """The problem about it, when it has been like this for so long."""
    _, pending = find_problems(scene_of(view, now=later(0)))
    seen = replace(view, state=state(pending=pending))
    problems, _ = find_problems(scene_of(seen, now=later(after_s)))
    return [problem for problem in problems if problem.code == "ACTION_UNREACHABLE"]


def test_it_is_told_after_the_patience() -> None:
    """Which action on which node, and which one waits, with what to do; it stands for itself."""
    view = view_of(RUNS, DOUBT.evolve(action_id=ON_N2.action_id), EXCLUSIVE, PARALLEL, **DEAD)
    (problem,) = told(view, 601)

    assert [] == told(view, 599)
    assert ("n1", True) == (problem.node_id, problem.root)
    assert problem.evidence == (
        f"action {ON_N2.action_id} ({ON_N2.kind}) is perhaps sent (and 1 more); "
        f"on the cluster wait: action {EXCLUSIVE.action_id} ({EXCLUSIVE.kind}) and 1 more"
    )
    assert "cancel" in problem.remedy


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(view_of(RUNS, ON_N2, **DEAD), id="nothing waits on the cluster"),
        pytest.param(view_of(RUNS, EXCLUSIVE), id="its agent answers"),
        pytest.param(view_of(make_action(4), EXCLUSIVE, **DEAD), id="it was never sent"),
        pytest.param(
            view_of(DOUBT.evolve(state=S.CANCELLED, left_running=True), EXCLUSIVE, **DEAD), id="it was cancelled"
        ),
    ],
)
def test_it_is_told_only_where_it_is_in_the_way(view: ClusterView) -> None:
    """Otherwise that the node is unreachable says it all."""
    assert [] == told(view, 601)
