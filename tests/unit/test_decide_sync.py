from __future__ import annotations

import pytest
from pydantic import ValidationError

from blocks.models.action import METADATA_MAX, Action, ActionState, Requester
from blocks.models.event import EventType
from blocks.models.look import Failure, NodeInfo
from blocks.models.node import NodeStatus, Protocol, Version
from blocks.models.view import ClusterView
from doubles.actions import action_id, make_action
from doubles.views import NODES, NOW, good_look, intent, later, make_node, make_view, word
from tasks.decide.lifecycle import moved
from tasks.decide.sync import Synced, asked_ids, cancelled_with_node, refused, strangers, sync, tell

S = ActionState


def _view(*actions: Action) -> ClusterView:
    return make_view(*map(make_node, NODES), actions=actions)


def _synced(known: Action, said: object) -> Synced:
    look = good_look("n1", details={known.action_id: said})
    return sync(_view(known), {"n1": look}, now=NOW)


def test_agents_are_asked_about_what_they_may_have() -> None:
    """By id: what is on the agent, and what may have been sent; not what waits, is finished or is another node's."""
    actions = [
        make_action(1, state=S.NEW),
        make_action(2, state=S.RUNNING),
        make_action(3, intent=intent()),
        make_action(4),
        make_action(5, state=S.PENDING_APPROVE),
        make_action(6, state=S.DONE, intent=intent()),
        make_action(7, state=S.NEW, node_id="n2"),
    ]

    assert (action_id(1), action_id(2), action_id(3)) == asked_ids(_view(*actions), "n1")


@pytest.mark.parametrize("said", [S.NEW, S.RUNNING, S.DONE, S.FAILED])
def test_an_agents_word_wins(said: S) -> None:
    """An action that its agent has is where the agent says it is, also one of which we did not know that it was sent."""
    known = make_action(state=S.PENDING_SCHEDULE, intent=intent(), attempts=2)
    synced = _synced(known, word(known, state=said, payload={"n": 1}))

    assert [(said, {"n": 1}, 0)] == [(action.state, action.payload, action.attempts) for action in synced.actions]


def test_same_word_again_changes_nothing() -> None:
    """An agent that repeats itself makes no version and no event."""
    known = make_action(state=S.RUNNING, payload={"n": 1}, scheduled_at=NOW)

    assert Synced() == _synced(known, word(known, payload={"n": 1}, scheduled_at=NOW))


def test_progress_within_a_state_is_told() -> None:
    """A payload that moves is saved and told of, as a change and not as an end."""
    known = make_action(state=S.RUNNING, payload={"n": 1}, scheduled_at=NOW)
    synced = _synced(known, word(known, payload={"n": 2}, scheduled_at=NOW))

    assert [{"n": 2}] == [action.payload for action in synced.actions]
    assert [EventType.ACTION_CHANGED] == [draft.type for draft in synced.drafts]


def test_an_end_is_told_as_one() -> None:
    """The move into a final state is its own event, with the agent's error and time."""
    known = make_action(state=S.RUNNING)
    synced = _synced(known, word(known, state=S.FAILED, error="disk full", finished_at=later(-5)))

    assert [EventType.ACTION_FINISHED] == [draft.type for draft in synced.drafts]
    assert [("disk full", later(-5))] == [(action.error, action.finished_at) for action in synced.actions]


@pytest.mark.parametrize("state", [S.NEW, S.RUNNING])
def test_what_an_agent_forgot_is_lost(state: S) -> None:
    """On the agent by our books and unknown there: LOST, said in the history, counted."""
    synced = _synced(make_action(state=state), None)

    assert ([S.LOST], 1) == ([action.state for action in synced.actions], synced.lost)


def test_a_loss_says_that_the_agent_was_replaced() -> None:
    """An agent that speaks another protocol than before has other actions: that is the reason of the loss."""
    known = make_action(state=S.RUNNING)
    info = NodeInfo(protocol=Protocol.A, status=NodeStatus.HEALTHY, agent_version=Version(number="0.5.0"))
    look = good_look("n1", info=info, details={known.action_id: None})

    why = "the agent no longer knows it: it was replaced by one that speaks protocol A instead of B"
    assert [why] == [action.error for action in sync(_view(known), {"n1": look}, now=NOW).actions]
    assert ["the agent no longer knows it"] == [action.error for action in _synced(known, None).actions]


def test_the_agents_record_wins_over_ours() -> None:
    """One id, two kinds: the record says what the agent does; with the same kind our arguments stay as they are."""
    known = make_action(state=S.RUNNING, kind="a/loop", args={"target": 3})
    other = _synced(known, word(known, kind="a/stop", args={"now": True}))
    same = _synced(known, word(known, args={"target": 4}))

    assert [("a/stop", {"now": True})] == [(action.kind, action.args) for action in other.actions]
    assert {"target": 3} == (same.actions or (known,))[0].args


def test_what_did_not_arrive_is_in_doubt_no_more() -> None:
    """Its agent was asked after the request had ended and does not have it: told before, by how sending it ended."""
    known = make_action(intent=intent(later(-99)), attempts=1, not_before=later(5))
    (after,) = _synced(known, None).actions

    assert (None, S.PENDING_SCHEDULE, 1, later(5)) == (after.intent, after.state, after.attempts, after.not_before)
    assert () == _synced(known, None).drafts
    assert Synced() == _synced(known.evolve(intent=intent(NOW)), None)


@pytest.mark.parametrize("state", sorted(S))
def test_a_failed_question_concludes_nothing(state: S) -> None:
    """That an agent could not be asked says nothing about an action."""
    assert Synced() == _synced(make_action(state=state, intent=intent(later(-99))), Failure(reason="HTTP 500"))


@pytest.mark.parametrize("state", sorted(state for state in S if state.final))
@pytest.mark.parametrize("said", [None, S.NEW, S.RUNNING, S.DONE])
def test_final_states_stay(state: S, said: S | None) -> None:
    """What has finished by our books is not moved by an agent."""
    known = make_action(state=state)

    assert Synced() == _synced(known, None if said is None else word(known, state=said))


@pytest.mark.parametrize(
    ("known", "left"),
    [
        (make_action(state=S.RUNNING), True),
        (make_action(state=S.NEW), True),
        (make_action(intent=intent()), True),
        (make_action(), False),
        (make_action(state=S.PENDING_APPROVE), False),
        (make_action(state=S.RUNNING, node_id=None), False),
    ],
)
def test_cancelling_remembers_what_its_agent_may_do(known: Action, left: bool) -> None:
    """Of an action that its agent has, or may have, the end is still asked for; of others there is none."""
    cancelled = moved(known, S.CANCELLED, now=NOW, who="ann")

    assert left is cancelled.left_running
    assert ((action_id(1),) if left else ()) == asked_ids(_view(cancelled), "n1")


@pytest.mark.parametrize("end", [S.DONE, S.FAILED])
def test_the_end_of_a_cancelled_action_is_kept(end: S) -> None:
    """How it ended on its agent is recorded and told, and it stays CANCELLED; it is not asked for again."""
    known = moved(make_action(state=S.RUNNING), S.CANCELLED, now=NOW, who="ann")
    synced = _synced(known, word(known, state=end, payload={"n": 9}, error="late"))
    (after,), (told,) = synced.actions, synced.drafts

    assert (S.CANCELLED, end, False, {"n": 9}) == (after.state, after.ended_as, after.left_running, after.payload)
    assert (EventType.ACTION_CHANGED, end, S.CANCELLED) == (told.type, told.data["ended_as"], told.data["state"])
    assert () == asked_ids(_view(after), "n1")
    assert Synced() == _synced(known, word(known, state=S.RUNNING))


def test_an_end_that_nobody_can_tell_is_not_waited_for() -> None:
    """The agent does not know it (any more), or its node is gone: nothing is told, and nothing is asked again."""
    known = moved(make_action(state=S.RUNNING), S.CANCELLED, now=NOW, who="ann")
    forgotten = _synced(known, None)
    gone = cancelled_with_node(_view(known), "n1", now=NOW)

    assert [(False, S.CANCELLED, None)] * 2 == [
        (after.left_running, after.state, after.ended_as) for one in (forgotten, gone) for after in one.actions
    ]
    assert () == forgotten.drafts


def test_a_request_on_its_way_may_still_arrive() -> None:
    """Cancelled while it was being sent: that the agent does not have it yet says nothing before the request has ended."""
    known = moved(make_action(intent=intent(NOW)), S.CANCELLED, now=NOW, who="ann")

    assert Synced() == _synced(known, None)


def test_a_word_about_another_nodes_action_is_ignored() -> None:
    """An agent speaks for its own node only."""
    known = make_action(state=S.RUNNING, node_id="n2")

    assert Synced() == _synced(known, word(known, state=S.DONE))


def test_unsent_action_of_too_many_attempts_fails_once_its_agent_denies_it() -> None:
    """Unknown to its agent after its last request must have ended, and tried too often: FAILED."""
    tried = make_action(attempts=6, intent=intent(later(-60), answer_by=later(-1)), error="no answer")
    on_its_way = make_action(attempts=6, intent=intent(NOW))
    not_yet = make_action(attempts=5, intent=intent(later(-60), answer_by=later(-1)))

    assert [S.FAILED] == [action.state for action in _synced(tried, None).actions]
    assert (Synced(), [S.PENDING_SCHEDULE]) == (
        _synced(on_its_way, None),
        [action.state for action in _synced(not_yet, None).actions],
    )


def test_an_agents_own_action_is_adopted() -> None:
    """An unfinished action that we did not order is recorded with its first line of history."""
    stranger = make_action(9, state=S.RUNNING)
    synced = sync(_view(), {"n1": good_look("n1", word(stranger))}, now=NOW)

    assert [(action_id(9), S.RUNNING, Requester.AGENT_API, 1)] == [
        (action.action_id, action.state, action.requester, action.version) for action in synced.actions
    ]
    assert [EventType.ACTION_CREATED] == [draft.type for draft in synced.drafts]


def test_whatever_an_agent_can_tell_can_be_adopted() -> None:
    """Its word has the limits of what is stored: what goes beyond them is no word, and fails no cycle."""
    stranger = make_action(9, state=S.RUNNING)
    full = {f"k{number}": "v" * 3_000 for number in range(METADATA_MAX)}
    synced = sync(_view(), {"n1": good_look("n1", word(stranger, metadata=full))}, now=NOW)
    with pytest.raises(ValidationError, match="at most 50 items"):
        word(stranger, metadata={**full, "one": "more"})

    assert [METADATA_MAX] == [len(action.metadata) for action in synced.actions]


def test_a_finished_stranger_is_not_adopted() -> None:
    """What an agent began and ended by itself before we looked makes no record."""
    look = good_look("n1", word(make_action(9, state=S.DONE)))

    assert Synced() == sync(_view(), {"n1": look}, now=NOW)


def test_what_the_store_has_is_no_stranger_to_adopt() -> None:
    """An action that a person cancelled while its agent works on it is left as it is."""
    look = good_look("n1", word(make_action(9, state=S.RUNNING)))

    assert (action_id(9),) == strangers(_view(), {"n1": look})
    assert Synced() == sync(_view(), {"n1": look}, now=NOW, stored=frozenset({action_id(9)}))


def test_two_agents_with_one_action_make_one_record() -> None:
    """Two nodes behind one agent: the first is believed, nothing is recorded twice."""
    said = word(make_action(9, state=S.RUNNING))
    synced = sync(_view(), {"n2": good_look("n2", said), "n1": good_look("n1", said)}, now=NOW)

    assert ["n2"] == [action.node_id for action in synced.actions]


def test_actions_go_with_their_node() -> None:
    """What is unfinished on a node that left is cancelled; what had finished stays, other nodes' too."""
    actions = [
        make_action(1),
        make_action(2, state=S.PENDING_APPROVE),
        make_action(3, state=S.RUNNING),
        make_action(4, state=S.DONE),
        make_action(5, node_id="n2"),
    ]
    synced = cancelled_with_node(_view(*actions), "n1", now=NOW)

    assert [action_id(1), action_id(2), action_id(3)] == [action.action_id for action in synced.actions]
    assert {S.CANCELLED} == {action.state for action in synced.actions}
    assert [EventType.ACTION_FINISHED] * 3 == [draft.type for draft in synced.drafts]


def test_an_action_event_says_what_became_of_it() -> None:
    """Event data name the action, its node, where it was and is, and who moved it."""
    before = make_action(state=S.NEW)
    after = make_action(state=S.RUNNING, version=1)
    (event,) = tell(before, after)

    assert ("prod/orders", "prod/orders/n1", "NEW", "RUNNING", "n1") == (
        event.stream,
        event.subject,
        event.data["state_before"],
        event.data["state"],
        event.data["node_id"],
    )


def test_a_refused_move_is_an_event() -> None:
    """What was wanted, from where, and why not: never silent."""
    action = make_action(state=S.DONE)
    event = refused(action.cluster, action, S.CANCELLED, "it is final")

    assert (EventType.ACTION_REFUSED, "DONE", "CANCELLED", "it is final") == (
        event.type,
        event.data["state"],
        event.data["wanted"],
        event.data["reason"],
    )


@pytest.mark.parametrize(("state", "said"), [(S.PENDING_APPROVE, S.RUNNING), (S.RUNNING, S.NEW)])
def test_a_move_that_the_table_does_not_have_is_told_of_once(state: S, said: S) -> None:
    """An agent that runs what waits for approval, or goes back, moves nothing and is an event, once."""
    known = make_action(state=state)
    first = _synced(known, word(known, state=said))
    (noted,) = first.actions
    again = _synced(noted, word(known, state=said))

    assert [EventType.ACTION_REFUSED] == [draft.type for draft in first.drafts]
    assert state is noted.state
    assert Synced() == again
