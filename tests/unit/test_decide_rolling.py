from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blocks.errors import RefusedError
from blocks.models.action import HISTORY_MAX, ActionState
from blocks.models.rolling import Rolling, RollingState
from doubles.rollings import make_plan, make_rolling
from doubles.views import NOW
from tasks.decide.rolling import (
    FIRST,
    TABLE,
    action_id_of,
    actions_of,
    again,
    left_of,
    moved,
    ordered,
    tell_rolling,
)

S, A = RollingState, ActionState
STATES = st.sampled_from(list(S))


def _walked(first: RollingState, wishes: list[RollingState]) -> list[Rolling]:
    """A rolling action that is moved from state to state, refused moves left out; all its versions."""
    versions = [ordered(make_rolling(state=first), now=NOW, who="ann")]
    for number, wish in enumerate(wishes, start=1):
        try:
            versions.append(moved(versions[-1], wish, now=NOW + timedelta(seconds=number), who="ann"))
        except RefusedError:
            continue
    return versions


def test_table_knows_every_state() -> None:
    """Each has its line, final ones lead nowhere, and from where one begins all can be reached."""
    reached = set(FIRST)
    for _ in S:
        reached |= {after for before in reached for after in TABLE[before]}

    assert set(S) == TABLE.keys() == reached
    assert {state for state in S if state.final} == {state for state, ways in TABLE.items() if not ways}


@given(before=STATES, after=STATES)
def test_only_moves_of_the_table_are_made(before: RollingState, after: RollingState) -> None:
    """A move is made exactly when the table has it, and refused with the way out named otherwise."""
    rolling = make_rolling(state=before)
    if after in TABLE[before]:
        assert after is moved(rolling, after, now=NOW, who="ann").state
    else:
        with pytest.raises(RefusedError, match=f"is {before} and cannot become {after}; from there"):
            moved(rolling, after, now=NOW, who="ann")


@given(first=st.sampled_from(sorted(FIRST)), wishes=st.lists(STATES, max_size=20))
def test_final_states_absorb_and_the_history_tells_the_way(first: RollingState, wishes: list[RollingState]) -> None:
    """Whatever is ordered: nothing follows a final state, each version is one more, and each move is in the history."""
    versions = _walked(first, wishes)
    last = versions[-1]

    assert [] == [one.state for one in versions[:-1] if one.state.final]
    assert list(range(1, len(versions) + 1)) == [one.version for one in versions]
    assert [one.state for one in versions][-HISTORY_MAX:] == [step.after for step in last.history]
    assert last.state.final is (last.finished_at is not None)


@pytest.mark.parametrize("state", sorted(set(S) - FIRST))
def test_none_begins_in_the_middle(state: RollingState) -> None:
    """Only states in which one can come to be are accepted for a new one."""
    with pytest.raises(RefusedError, match="no rolling action begins as"):
        ordered(make_rolling(state=state), now=NOW, who="ann")


def test_a_plan_has_each_node_once() -> None:
    """In one batch; and no batch is empty."""
    for batches in ((("n1",), ("n1",)), (("n1", "n1"),), ((),), ()):
        with pytest.raises(ValidationError):
            make_plan(*batches) if batches else make_plan(batches=())


def test_a_digest_is_that_of_one_plan() -> None:
    """Another order, another pace, other arguments or another member: another digest."""
    plans = [
        make_plan(),
        make_plan(("n3",), ("n2",), ("n1",)),
        make_plan(args={"x": 1}),
        make_plan(pace={"settle_s": 11}),
        make_plan(members=("n1", "n2", "n3", "n4")),
        make_plan(kind="agent.replicante.io/other"),
        make_plan(tolerated=("LAG n2",)),
    ]

    assert len(plans) == len({plan.digest for plan in plans})
    assert plans[0].digest == make_plan().digest


def test_the_ids_of_actions_follow() -> None:
    """From the rolling action and the node: made twice they are the same, of another one they are others."""
    rolling, other = make_rolling(), make_rolling(rolling_id=str(UUID(int=98)))
    ids = [action_id_of(one, node_id) for one in (rolling, other) for node_id in ("n1", "n2")]

    assert 4 == len(set(ids))
    assert actions_of(rolling, now=NOW) == actions_of(rolling, now=NOW)
    [action] = actions_of(rolling, now=NOW)
    assert (ids[1], "n2", A.PENDING_SCHEDULE, "bob", rolling.rolling_id, 1) == (
        action.action_id, action.node_id, action.state, action.approved_by, action.rolling_id, action.version,
    )  # fmt: skip


def test_what_is_left() -> None:
    """Nodes on which it failed or was not done; the stored end of an action counts more than what was noted."""
    rolling = make_rolling(state=S.FAILED, ended={"n2": A.DONE, "n3": A.FAILED})
    late = actions_of(rolling.evolve(batch=1), now=NOW)[0].evolve(state=A.DONE)

    assert ("n3", "n1") == left_of(rolling, {})
    assert ("n1",) == left_of(rolling, {late.action_id: late})


@pytest.mark.parametrize(
    ("rolling", "reason"),
    [
        (make_rolling(), "only what is finished"),
        (make_rolling(state=S.DONE, ended=dict.fromkeys(("n1", "n2", "n3"), A.DONE)), "nothing is left"),
    ],
)
def test_what_cannot_be_done_once_more(rolling: Rolling, reason: str) -> None:
    """What still runs, and what is done."""
    with pytest.raises(RefusedError, match=reason):
        left_of(rolling, {})


def test_what_an_agent_is_still_at_is_waited_for() -> None:
    """Or a node could be acted on twice."""
    rolling = make_rolling(state=S.FAILED)
    running = actions_of(rolling, now=NOW)[0].evolve(state=A.RUNNING)
    with pytest.raises(RefusedError, match="is still RUNNING on n2"):
        left_of(rolling, {running.action_id: running})
    left = running.evolve(state=A.CANCELLED, left_running=True)
    with pytest.raises(RefusedError, match="was cancelled, and the agent of n2 may still be at work on it"):
        left_of(rolling, {left.action_id: left})
    ended = left.evolve(left_running=False, ended_as=A.DONE)

    assert "n2" in left_of(rolling, {ended.action_id: ended})


def test_once_more_is_another_one() -> None:
    """It points at the old one, waits for approval, and asked for twice it is one."""
    old = make_rolling(state=S.FAILED, forced="disks")
    new = again(old, make_plan(("n1",)), now=NOW, who="eve", why="")

    assert (S.PENDING_APPROVE, old.rolling_id, "eve", None, "disks") == (
        new.state, new.retry_of, new.created_by, new.approved_by, new.forced,
    )  # fmt: skip
    assert new.rolling_id == again(old, make_plan(), now=NOW, who="bob", why="").rolling_id != old.rolling_id


def test_a_batch_that_is_done_is_told_without_a_reason_of_a_move() -> None:
    """The last move's who and why belong to that move only."""
    before = ordered(make_rolling(), now=NOW, who="ann", why="certificates")
    after = before.evolve(batch=1, ended={"n2": A.DONE}, version=2)
    told = [tell_rolling(None, before).data, tell_rolling(before, after).data]

    assert [("ann", "certificates", 0, 0), ("core", None, 1, 1)] == [
        (one["who"], one["why"], one["batch"], one["nodes_done"]) for one in told
    ]
