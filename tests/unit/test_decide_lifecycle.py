from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import RefusedError
from blocks.models.action import HISTORY_MAX, Action, ActionState
from doubles.actions import make_action
from doubles.views import NOW
from tasks.decide.lifecycle import FIRST, TABLE, begun, may_move, moved, noted

STATES = st.sampled_from(list(ActionState))


def _walked(first: ActionState, wishes: list[ActionState]) -> list[Action]:
    """An action that is ordered from state to state, refused moves left out; all its versions."""
    versions = [begun(make_action(state=first), now=NOW, who="ann")]
    for number, wish in enumerate(wishes, start=1):
        try:
            versions.append(moved(versions[-1], wish, now=NOW + timedelta(seconds=number), who="ann"))
        except RefusedError:
            continue
    return versions


def test_table_knows_every_state() -> None:
    """Each state has its line in the table, and where it may go are states."""
    assert set(ActionState) == TABLE.keys()


def test_final_states_are_those_that_lead_nowhere() -> None:
    """A state is final exactly when the table has no move from it."""
    assert {state for state in ActionState if state.final} == {state for state, ways in TABLE.items() if not ways}


def test_every_state_is_reachable_and_reaches_an_end() -> None:
    """From where actions begin every state can be reached, and from every state a final one."""
    reached = set(FIRST)
    for _ in ActionState:
        reached |= {after for before in reached for after in TABLE[before]}
    ends = {state for state in ActionState if state.final}
    for _ in ActionState:
        ends |= {before for before, ways in TABLE.items() if ways & ends}

    assert (set(ActionState), set(ActionState)) == (reached, ends)


@given(before=STATES, after=STATES)
def test_only_moves_of_the_table_are_made(before: ActionState, after: ActionState) -> None:
    """A move is made exactly when the table has it, and refused with the way out named otherwise."""
    action = make_action(state=before)
    if may_move(before, after):
        assert after is moved(action, after, now=NOW, who="ann").state
    else:
        with pytest.raises(RefusedError, match=f"is {before} and cannot become {after}; from there"):
            moved(action, after, now=NOW, who="ann")


@given(first=st.sampled_from(sorted(FIRST)), wishes=st.lists(STATES, max_size=20))
def test_final_states_absorb(first: ActionState, wishes: list[ActionState]) -> None:
    """Whatever is ordered, in whatever order: nothing follows a final state."""
    states = [version.state for version in _walked(first, wishes)]

    assert [] == [state for state in states[:-1] if state.final]


@given(first=st.sampled_from(sorted(FIRST)), wishes=st.lists(STATES, max_size=20))
def test_history_tells_the_whole_way(first: ActionState, wishes: list[ActionState]) -> None:
    """Each version is one more, and the history is the way that was gone, link by link."""
    versions = _walked(first, wishes)
    last = versions[-1]

    assert list(range(1, len(versions) + 1)) == [version.version for version in versions]
    assert [None, *(v.state for v in versions[:-1])] == [step.before for step in last.history]
    assert [version.state for version in versions] == [step.after for step in last.history]


def test_history_is_bounded() -> None:
    """Of a long life the last transitions are kept."""
    action = make_action(state=ActionState.NEW, history=())
    step = moved(action, ActionState.RUNNING, now=NOW, who="agent").history[0]
    long = action.evolve(history=(step,) * HISTORY_MAX)
    after = moved(long, ActionState.DONE, now=NOW, who="agent")

    assert HISTORY_MAX == len(after.history)
    assert ActionState.DONE is after.history[-1].after


def test_finishing_sets_the_time_once() -> None:
    """A final state sets when it finished, unless the agent said when."""
    action = make_action(state=ActionState.RUNNING)
    by_us = moved(action, ActionState.DONE, now=NOW, who="core")
    by_agent = moved(action, ActionState.DONE, now=NOW, who="agent", finished_at=NOW - timedelta(seconds=5))

    assert (NOW, NOW - timedelta(seconds=5)) == (by_us.finished_at, by_agent.finished_at)


@pytest.mark.parametrize("state", sorted(set(ActionState) - FIRST))
def test_no_action_begins_in_the_middle(state: ActionState) -> None:
    """Only states in which an action can come to be are accepted for a new one."""
    with pytest.raises(RefusedError, match="no action begins as"):
        begun(make_action(state=state), now=NOW, who="ann")


def test_noting_a_fact_is_a_version_but_no_transition() -> None:
    """Facts that change within a state make a version and no line in the history."""
    action = begun(make_action(), now=NOW, who="ann")
    after = noted(action, attempts=3)

    assert (3, action.version + 1, action.history, action.state) == (
        after.attempts,
        after.version,
        after.history,
        after.state,
    )
