from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.action import Action, ActionState, Intent
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.node import NodeStatus
from blocks.models.sent import Sent
from doubles.actions import action_id, make_action
from doubles.views import NODES, NOW, intent, later, make_node, make_view
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.choose import BACKOFF_BASE_S, BACKOFF_MAX_S, after_sending, choose, intended

S = ActionState
MOMENTS = st.none() | st.integers(-5, 5).map(later)


@st.composite
def _intents(draw: st.DrawFn) -> Intent | None:
    answer_by = draw(MOMENTS)
    return None if answer_by is None else intent(answer_by - timedelta(seconds=10), answer_by=answer_by)


@st.composite
def _actions(draw: st.DrawFn) -> list[Action]:
    count = draw(st.integers(0, 8))
    found = [
        make_action(
            number,
            node_id=draw(st.sampled_from([*NODES, "gone", None])),
            state=draw(st.sampled_from(list(ActionState))),
            created_at=draw(st.integers(0, 3).map(later)),
            not_before=draw(MOMENTS),
            intent=draw(_intents()),
        )
        for number in range(1, count + 1)
    ]
    return [one.evolve(left_running=one.state is S.CANCELLED and draw(st.booleans())) for one in found]


def _sent_ids(chosen: tuple[Action, ...]) -> list[str]:
    return [action.action_id for action in chosen]


@given(actions=_actions(), stale=st.sets(st.sampled_from(NODES)), lost=st.sets(st.sampled_from(NODES)))
def test_what_is_chosen_may_be_sent(actions: list[Action], stale: set[str], lost: set[str]) -> None:
    """At most one per node, approved, on a node that answers, with nothing on its agent, waiting or on its way."""
    nodes = [
        make_node(
            node_id,
            status=NodeStatus.UNREACHABLE if node_id in lost else NodeStatus.HEALTHY,
            actions_stale_since=NOW if node_id in stale else None,
        )
        for node_id in NODES
    ]
    chosen = choose(make_view(*nodes, actions=actions), CATALOGUE, now=NOW).actions
    busy = {action.node_id for action in actions if action.state.on_agent or action.left_running}

    assert len({action.node_id for action in chosen}) == len(chosen)
    assert {action.node_id for action in chosen} <= set(NODES) - lost - busy
    for action in chosen:
        assert action.state is S.PENDING_SCHEDULE
        assert action.not_before is None or action.not_before <= NOW
        there = [one for one in actions if one.node_id == action.node_id and one.state is S.PENDING_SCHEDULE]
        intents = [one.intent for one in there if one.intent is not None]

        assert all(one.answer_by < NOW and action.node_id not in stale for one in intents)
        assert all(action.created_at <= one.created_at for one in there)


@given(actions=_actions(), status=st.sampled_from(sorted(set(NamespaceStatus) - {NamespaceStatus.ACTIVE})))
def test_nothing_is_chosen_where_the_namespace_may_not_act(actions: list[Action], status: NamespaceStatus) -> None:
    """Observed, inactive or deleting: no action is sent, and the choice says why."""
    view = make_view(*map(make_node, NODES), actions=actions, namespace=Namespace(name="prod", status=status))
    chosen = choose(view, CATALOGUE, now=NOW)

    assert () == chosen.actions
    assert (True, f"NAMESPACE_{status.upper()}") == (chosen.choice.block_nodes, chosen.choice.reasons[-1])


def test_oldest_approved_action_of_each_node_goes_first() -> None:
    """Nodes act in parallel; on one node the oldest approved action goes, whatever waits for approval."""
    actions = [
        make_action(1, created_at=later(2)),
        make_action(2, created_at=later(1)),
        make_action(3, created_at=later(0), state=S.PENDING_APPROVE),
        make_action(4, node_id="n2", created_at=later(9)),
    ]
    chosen = choose(make_view(*map(make_node, NODES), actions=actions), CATALOGUE, now=NOW)

    assert [action_id(2), action_id(4)] == _sent_ids(chosen.actions)


@pytest.mark.parametrize(
    ("states", "exclusive_blocked", "reasons"),
    [
        ((), False, []),
        ((S.PENDING_APPROVE,), False, []),
        ((S.PENDING_SCHEDULE,), True, ["FOUND_NODE_PENDING"]),
        ((S.NEW,), True, ["FOUND_NODE_RUNNING"]),
        ((S.RUNNING,), True, ["FOUND_NODE_RUNNING"]),
        ((S.RUNNING, S.PENDING_SCHEDULE), True, ["FOUND_NODE_PENDING", "FOUND_NODE_RUNNING"]),
        ((S.DONE, S.CANCELLED, S.LOST, S.FAILED), False, []),
    ],
)
def test_choice_gives_the_originals_reasons(states: tuple[S, ...], exclusive_blocked: bool, reasons: list[str]) -> None:
    """The original's table: what runs or waits on nodes blocks exclusive actions, and the report says which."""
    actions = [make_action(number, state=state) for number, state in enumerate(states, start=1)]
    choice = choose(make_view(make_node("n1"), actions=actions), CATALOGUE, now=NOW).choice

    assert (False, exclusive_blocked) == (choice.block_nodes, choice.block_exclusive)
    assert ("DEFAULT_TO_ALL", *reasons) == choice.reasons


def test_a_cluster_action_is_not_sent_to_a_node() -> None:
    """An action on the whole cluster is nobody's on a node."""
    view = make_view(make_node("n1"), actions=[make_action(1, node_id=None)])

    assert () == choose(view, CATALOGUE, now=NOW).actions


def test_an_action_of_unknown_fate_waits_until_its_agent_was_asked() -> None:
    """One that may have arrived is not sent again while its agent cannot say whether it did."""
    action = make_action(1, intent=intent(later(-60), answer_by=later(-1)))
    asked = make_view(make_node("n1"), actions=[action])
    not_asked = make_view(make_node("n1", actions_stale_since=later(-5)), actions=[action])

    assert ((action,), ()) == (choose(asked, CATALOGUE, now=NOW).actions, choose(not_asked, CATALOGUE, now=NOW).actions)


@pytest.mark.parametrize(
    ("stale", "answer_by", "sent"), [(False, 5, []), (True, -1, []), (True, 5, []), (False, -1, [action_id(1)])]
)
def test_an_older_action_waits_for_one_of_unknown_fate(stale: bool, answer_by: float, sent: list[str]) -> None:
    """Approved later than the younger one was sent, it is not sent beside that: the agent must be asked first."""
    older = make_action(1, created_at=later(-50))
    doubt = make_action(2, created_at=later(-40), intent=intent(later(-30), answer_by=later(answer_by)))
    node = make_node("n1", actions_stale_since=later(-3) if stale else None)

    assert sent == _sent_ids(choose(make_view(node, actions=[older, doubt]), CATALOGUE, now=NOW).actions)


def test_an_intent_tells_everything_that_a_successor_needs() -> None:
    """Attempt, fence and the moment after which no request of it can be on its way."""
    action = intended(make_action(attempts=2, version=5), generation=3, token=9, now=NOW, budget_s=4.0)

    assert Intent(attempt=3, generation=3, token=9, at=NOW, answer_by=later(8)) == action.intent
    assert ("3:9", 6) == (action.intent.fence, action.version)


def _after(sent: Sent, *, attempts: int = 0) -> Action:
    action = intended(make_action(attempts=attempts), generation=1, token=1, now=NOW, budget_s=5.0)
    return after_sending(action, sent, now=later(1), attempts_max=5, jitter=random.Random(1))  # noqa: S311 - repeatable


def test_accepted_is_on_the_agent_with_a_clean_slate() -> None:
    """An agent that has it makes it NEW and ends the counting of failures."""
    after = _after(Sent(accepted=True), attempts=4)

    assert (S.NEW, 0, None, None, later(1)) == (
        after.state,
        after.attempts,
        after.error,
        after.not_before,
        after.scheduled_at,
    )


def test_refused_is_failed_at_once() -> None:
    """What an agent will never take is not tried again."""
    after = _after(Sent(accepted=False, refused="no such kind"))

    assert (S.FAILED, "no such kind", later(1)) == (after.state, after.error, after.finished_at)


def test_not_sent_is_tried_again_after_a_while() -> None:
    """A request that never left keeps no intent, counts, and waits."""
    after = _after(Sent(accepted=False, failed="connection refused"))

    assert (S.PENDING_SCHEDULE, 1, None, "connection refused") == (
        after.state,
        after.attempts,
        after.intent,
        after.error,
    )
    assert later(1) < after.not_before


def test_perhaps_sent_keeps_its_intent() -> None:
    """A request of unknown fate is asked about by its id before anything else."""
    after = _after(Sent(accepted=False, failed="no answer", maybe_sent=True), attempts=50)

    assert (S.PENDING_SCHEDULE, 51, True) == (after.state, after.attempts, after.intent is not None)


def test_one_failure_too_many_is_the_end() -> None:
    """As in the original: the failure after `attempts_max` of them makes it FAILED."""
    last = _after(Sent(accepted=False, failed="connection refused"), attempts=4)
    over = _after(Sent(accepted=False, failed="connection refused"), attempts=5)

    assert (S.PENDING_SCHEDULE, S.FAILED) == (last.state, over.state)
    assert "connection refused" == over.error


@given(attempts=st.integers(0, 200), seed=st.integers(0, 1_000))
def test_waits_grow_and_stay_bounded(attempts: int, seed: int) -> None:
    """Backoff doubles, is spread over half of itself, and never exceeds its limit."""
    action = make_action(attempts=attempts, intent=intent())
    sent = Sent(accepted=False, failed="no", maybe_sent=True)
    after = after_sending(action, sent, now=NOW, attempts_max=5, jitter=random.Random(seed))  # noqa: S311 - repeatable
    whole = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** min(attempts, 10))

    assert _seconds(after.not_before) <= whole
    assert _seconds(after.not_before) >= whole / 2 - 0.001


def _seconds(moment: datetime | None) -> float:
    assert moment is not None
    return (moment - NOW).total_seconds()
