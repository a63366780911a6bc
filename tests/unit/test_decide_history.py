from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blocks.models.event import EventType
from blocks.models.node import NodeStatus
from blocks.models.view import ClusterView
from doubles.streams import (
    BORN,
    history_of,
    known_now,
    moment_after,
    split_at,
    stream_of,
    told_by_cycle,
    values_of,
    views_of_cycles,
)
from doubles.views import NOW, REF, later, make_node, make_view
from tasks.decide.diff import diff, draft
from tasks.decide.history import Known, applied, rebuild
from tasks.decide.moves import ROLE, STATUS, Gap, steps
from tasks.decide.past import Records, facts_of, records_at

E = EventType


@given(st.lists(views_of_cycles(), min_size=1, max_size=4))
def test_all_events_lead_to_the_present(views: list[ClusterView]) -> None:
    """Who heard everything from the beginning knows what is known now, as far as events tell of it."""
    past = rebuild(moment_after(99), history_of(views), None, None)

    assert known_now(views[-1]) == values_of(past.facts)
    assert frozenset() == past.unknown


@given(st.lists(views_of_cycles(), min_size=1, max_size=4), st.data())
def test_each_moment_is_rebuilt_forward(views: list[ClusterView], data: st.DataObject) -> None:
    """At any moment it is what the cycle before it saw, and the later events lead from there to the present."""
    number = data.draw(st.integers(1, len(views)))
    earlier, rest = split_at(history_of(views), moment_after(number))
    past = rebuild(moment_after(number), earlier, rest, None)

    assert known_now(views[number - 1]) == values_of(past.facts)
    assert known_now(views[-1]) == values_of(applied(past, rest).facts)


@given(st.lists(views_of_cycles(), min_size=1, max_size=4), st.data())
def test_each_moment_is_rebuilt_backward(views: list[ClusterView], data: st.DataObject) -> None:
    """Without its beginning, history still leads back from the present: nothing is said that was not so."""
    number = data.draw(st.integers(1, len(views)))
    lost = data.draw(st.integers(0, number))
    kept = [event for event in history_of(views) if event.time > moment_after(lost)]
    earlier, rest = split_at(kept, moment_after(number))
    past = rebuild(moment_after(number), earlier, rest, facts_of(Records.of(views[-1])))
    truth = known_now(views[number - 1])
    for key in truth.keys() | past.facts.keys():
        assert not past.knows(key) or truth.get(key, Gap.ABSENT) == past.value(key)
    assert known_now(views[-1]) == values_of(applied(past, rest).facts)


@given(st.lists(views_of_cycles(), min_size=1, max_size=3))
def test_before_its_beginning_there_was_nothing(views: list[ClusterView]) -> None:
    """Undoing everything that was ever told leaves nothing, and that is known."""
    past = rebuild(later(-1), [], history_of(views), facts_of(Records.of(views[-1])))

    assert ({}, frozenset(), False) == (dict(past.facts), past.unknown, past.lost)


@given(views_of_cycles(), views_of_cycles())
def test_every_move_can_be_undone(before: ClusterView, after: ClusterView) -> None:
    """What an event says was before is what was before, or that it is not known any more."""
    known = known_now(before)
    for event in stream_of([told_by_cycle(before, after)], first=2):
        for step in steps(event):
            if hasattr(step, "key"):
                assert step.before is Gap.UNKNOWN or step.before == known.get(step.key, Gap.ABSENT)


def test_a_removed_node_is_known_as_far_as_the_events_tell() -> None:
    """A node that was removed since was there with its status; its other facts are not known, and not taken for absent."""
    before, after = make_view(make_node("n1"), make_node("n2")), make_view(make_node("n1"))
    past = rebuild(NOW, [], stream_of([diff(before, after)], first=7, since=later(5)), facts_of(Records.of(after)))
    node = records_at(past, REF).nodes["n2"]

    assert ("HEALTHY", None) == (past.value(("node", "n2", STATUS)), node.store_version)
    assert (False, True) == (past.knows(("node", "n2", "store_version")), past.knows(("node", "n1", "store_version")))
    assert Gap.UNKNOWN is past.value(("node", "n2", ROLE, "rs0"))


def test_what_was_told_before_fills_what_undoing_leaves_open() -> None:
    """The events up to the moment come first: a node of which they tell everything is known although it is gone."""
    empty, before = make_view(), make_view(make_node("n2"))
    earlier = stream_of([diff(empty, before)], first=5)
    rest = stream_of([diff(before, empty)], first=9, since=later(20))
    past = rebuild(later(10), earlier, rest, facts_of(Records.of(empty)))

    told = {key: value for key, value in values_of(past.facts).items() if key[0] == "node"}
    assert {key: value for key, value in known_now(before).items() if key[0] == "node"} == told
    assert frozenset() == past.unknown


def test_since_when_each_fact_was_known() -> None:
    """The time of the event that told it; none where that event is not kept."""
    one, two = make_view(make_node("n1")), make_view(make_node("n1", status=NodeStatus.UNHEALTHY, status_text="full"))
    past = rebuild(later(60), stream_of([diff(one, two)], first=3), [], facts_of(Records.of(two)))

    assert Known("UNHEALTHY", NOW, why="full") == past.facts["node", "n1", STATUS]
    assert None is past.facts["node", "n1", "store_id"].at


def test_no_fact_is_younger_than_the_moment() -> None:
    """A time in the records that comes after the moment (clocks differ) is not told as the one since when it was known."""
    view = make_view(make_node("n1", status_since=later(30)))
    past = rebuild(later(10), [], [], facts_of(Records.of(view)))

    assert Known("HEALTHY") == past.facts["node", "n1", STATUS]


def test_without_a_way_back_only_what_was_told_is_known() -> None:
    """When later events are missing, the present says nothing about the past."""
    view = make_view(make_node("n1"))
    told = stream_of([diff(view, make_view(make_node("n1", status=NodeStatus.UNHEALTHY)))], first=3)
    past = rebuild(later(60), told, None, facts_of(Records.of(view)))
    nothing = rebuild(later(60), [], None, None)

    assert {("node", "n1", STATUS): "UNHEALTHY"} == values_of(past.facts)
    assert (False, False, True) == (past.knows(("health",)), past.lost, nothing.lost)


def test_a_deleted_cluster_begins_anew() -> None:
    """After its deletion nothing is known of it, and that is certain; what comes then is all there is."""
    order = {"who": "ann", "why": "retired"}
    gone = draft(REF, E.CLUSTER_DELETED, str(REF), **order)
    view = make_view(make_node("n1"))
    events = stream_of([diff(make_view(), view), [gone], BORN], first=4)
    deleted = rebuild(later(10), events[: -len(BORN)], None, None)
    again = rebuild(later(20), events, None, None)
    before = rebuild(later(5), [], events[-len(BORN) - 1 :], facts_of(Records(REF)))

    assert ({}, False) == (dict(deleted.facts), deleted.lost)
    assert {("spec",), ("discovery",)} == again.facts.keys()
    assert before.lost
