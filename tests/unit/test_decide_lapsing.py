"""What waits too long ends: approvals that nobody gives, and approved actions that cannot begin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blocks.models.action import Action, ActionState
from blocks.models.gate import Gate, GateKind
from blocks.models.namespace import Namespace, NamespaceSettings, NamespaceStatus
from blocks.models.node import NodeStatus
from blocks.models.rolling import RollingState
from blocks.models.view import ClusterView
from doubles.actions import make_action
from doubles.rollings import ROLLING_ID, make_rolling
from doubles.views import NOW, discovery, failed_look, good_look, intent, later, make_node, make_view, state, word
from tasks.decide.lapsing import not_begun
from tasks.decide.settle import settle

S = ActionState
LIMIT_S = 100.0
HOME = Namespace(name="prod", settings=NamespaceSettings(status_hold=0, schedule_within=LIMIT_S))
DOWN = make_node("n1", status=NodeStatus.UNREACHABLE, status_text="connection refused", actions_stale_since=NOW)
FREEZE = Gate(name="g", kind=GateKind.FREEZE, reason="disk", owner="ann", created_at=NOW, created_by="ann")


def view_of(*actions: Action, **parts: Any) -> ClusterView:
    """A cluster whose only node is down, nothing of which was held."""
    return make_view(DOWN, actions=actions, **{"namespace": HOME, "state": state(open_since=NOW), **parts})


WAITS = make_action(created_at=NOW)


@pytest.mark.parametrize(
    ("action", "parts", "seconds", "ends"),
    [
        (WAITS, {}, 100, False),
        (WAITS, {}, 101, True),
        (WAITS.evolve(node_id=None, kind="core.replicante.io/test.loop"), {}, 101, True),
        (WAITS.evolve(state=S.PENDING_APPROVE), {}, 101, False),
        (WAITS.evolve(state=S.RUNNING), {}, 101, False),
        (WAITS, {"namespace": HOME.evolve(settings=NamespaceSettings(schedule_within=None))}, 10**6, False),
        (WAITS, {"gates": (FREEZE,)}, 10**6, False),
        (WAITS, {"namespace": HOME.evolve(status=NamespaceStatus.OBSERVED)}, 10**6, False),
        (WAITS, {"state": state(open_since=later(1_000))}, 1_100, False),
        (WAITS, {"state": state(open_since=later(1_000))}, 1_101, True),
        (WAITS, {"state": state(open_since=None)}, 10**6, False),
        (WAITS.evolve(rolling_id=ROLLING_ID), {"rollings": {ROLLING_ID: make_rolling(state=RollingState.PAUSED)}}, 10**6, False),
        (WAITS.evolve(rolling_id=ROLLING_ID), {"rollings": {ROLLING_ID: make_rolling(state=RollingState.FAILED)}}, 101, True),
    ],
)  # fmt: skip
def test_what_could_not_begin_is_cancelled(action: Action, parts: dict[str, Any], seconds: float, ends: bool) -> None:
    """Approved, not begun, and nothing held all of its cluster for so long; a rolling action has limits of its own."""
    after = not_begun(view_of(action, **parts), now=later(seconds)).actions

    assert ([S.CANCELLED] if ends else []) == [one.state for one in after]


def test_why_it_is_cancelled() -> None:
    """The limit, the agent that is silent, the last error; by core, and told."""
    after = not_begun(view_of(WAITS.evolve(error="no disk")), now=later(101))
    (action,) = after.actions

    assert (1, "core") == (len(after.drafts), action.history[-1].who)
    assert (
        "it could not begin within 100 s; the agent of node n1 does not answer: connection refused; its last error: no disk"
        == action.history[-1].why
    )


@pytest.mark.parametrize(("sent", "left"), [(None, False), (intent(NOW), True)])
def test_what_may_have_reached_its_agent_stays_in_sight(sent: Any, left: bool) -> None:
    """It keeps its node until the agent was asked, as one that a person cancels."""
    (action,) = not_begun(view_of(WAITS.evolve(intent=sent)), now=later(101)).actions

    assert left is action.left_running


def test_an_agent_that_has_it_after_all_has_the_last_word() -> None:
    """Its answer comes in the very cycle that would cancel it: it is moved once."""
    view = make_view(make_node("n1"), actions=[WAITS], namespace=HOME, state=state(open_since=NOW))
    looks = {"n1": good_look("n1", word(WAITS, state=S.RUNNING))}
    (swap,) = settle(view, looks, now=later(101)).change.swaps

    assert (S.RUNNING, WAITS.version + 1) == (getattr(swap, "state", None), swap.version)


def test_the_cycle_cancels_it_once_where_its_node_is_gone() -> None:
    """By the reason that is nearer."""
    (swap,) = settle(view_of(WAITS, discovery=discovery(())), {}, now=later(101)).change.swaps

    assert "could not begin" not in str(getattr(swap, "history", "could not begin")[-1])


def test_the_time_begins_anew_when_the_gates_open() -> None:
    """A cycle that sees a gate closed forgets since when they were open; the next that sees them open begins to count."""
    view, seen = view_of(WAITS), []
    for seconds, gates in ((50, ()), (90, (FREEZE,)), (150, (FREEZE,)), (200, ()), (290, ()), (301, ())):
        view = settle(replace(view, gates=gates), {"n1": failed_look("n1")}, now=later(seconds)).view
        assert view.state is not None
        seen.append((view.state.open_since, view.actions[WAITS.action_id].state.final))

    assert [
        (NOW, False),
        (None, False),
        (None, False),
        (later(200), False),
        (later(200), False),
        (later(200), True),
    ] == seen
