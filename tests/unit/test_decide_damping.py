from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.event import EventType
from blocks.models.look import Look
from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.models.node import NodeStatus, Protocol, Version
from blocks.models.view import ClusterView
from doubles.views import NOW, failed_look, good_look, good_looks, later, make_node, make_view
from tasks.decide.damping import damped
from tasks.decide.settle import Settled, settle
from tasks.decide.timetable import follow_up

HOLD_S = 4.0
S = NodeStatus


def _view(hold_s: float = HOLD_S) -> ClusterView:
    namespace = Namespace(name="prod", version=1, settings=NamespaceSettings(status_hold=hold_s))
    view = replace(make_view(*map(make_node, ("n1", "n2", "n3"))), namespace=namespace)
    return settle(view, good_looks(), now=NOW).view


def _after(view: ClusterView, look: Look, at: float) -> Settled:
    return settle(view, {**good_looks(), "n3": look}, now=later(at))


def _told(settled: Settled) -> list[EventType]:
    return [draft.type for draft in settled.change.drafts]


def _with_status(status: NodeStatus) -> Look:
    info = good_look("n3").info.model_copy(update={"status": status})
    return good_look("n3", info=info)


def test_a_status_is_said_when_it_has_held() -> None:
    """At first it is only remembered: saved, without event, problem or health; then it is said, since it was first seen."""
    first = _after(_view(), failed_look("n3"), 10)
    early = _after(first.view, failed_look("n3"), 10 + HOLD_S - 0.1)
    held = _after(first.view, failed_look("n3"), 10 + HOLD_S)
    pending, node = first.view.nodes["n3"], held.view.nodes["n3"]

    assert (S.HEALTHY, S.UNREACHABLE, "connection refused", later(10)) == (
        pending.status,
        pending.pending_status,
        pending.pending_text,
        pending.pending_since,
    )
    assert ([], [], True) == (_told(first), _told(early), early.change.empty)
    assert not first.change.empty
    assert (S.UNREACHABLE, later(10), None) == (node.status, node.status_since, node.pending_status)
    assert EventType.NODE_STATUS_CHANGED in _told(held)


def test_what_is_pending_is_looked_at_when_it_has_held() -> None:
    """Not a whole interval later: a killed store is told within seconds."""
    first = _after(_view(), failed_look("n3"), 10)

    assert later(10 + HOLD_S) == follow_up(first.view, now=later(10))
    assert None is follow_up(_view(), now=later(10))


def test_a_blink_is_never_told() -> None:
    """Away and back before it has held: no event at all, and nothing is pending any more."""
    first = _after(_view(), failed_look("n3"), 10)
    back = _after(first.view, good_look("n3"), 11)

    assert [] == _told(first) + _told(back)
    assert (S.HEALTHY, None, None) == (
        back.view.nodes["n3"].status,
        back.view.nodes["n3"].pending_status,
        back.view.nodes["n3"].pending_since,
    )


def test_nothing_is_damped_where_that_is_switched_off() -> None:
    """0 seconds: said by the first look."""
    assert EventType.NODE_STATUS_CHANGED in _told(_after(_view(0), failed_look("n3"), 10))


def test_ever_another_bad_status_is_said_all_the_same() -> None:
    """What is not HEALTHY for long enough is told, whatever it is by then: changing does not hide an outage."""
    view = _after(_view(), failed_look("n3"), 10).view
    view = _after(view, _with_status(S.UNAVAILABLE), 12).view
    settled = _after(view, failed_look("n3"), 14)

    assert (S.UNREACHABLE, later(14)) == (settled.view.nodes["n3"].status, settled.view.nodes["n3"].status_since)


def test_a_new_node_is_said_at_once() -> None:
    """What was never said does not wait."""
    assert S.UNREACHABLE is damped(None, S.UNREACHABLE, "away", now=NOW, hold_s=HOLD_S)["status"]


def test_facts_are_not_damped() -> None:
    """A version that changed, and what became stale, are known at once."""
    info = good_look("n3").info.model_copy(update={"store_version": Version(number="7.0.0"), "protocol": Protocol.B})
    changed = _after(_view(), good_look("n3", info=info), 10)
    away = _after(_view(), failed_look("n3"), 10)

    assert [EventType.NODE_CHANGED, EventType.PROBLEM_RAISED] == _told(changed)
    assert later(10) == away.view.nodes["n3"].shards_stale_since


def test_nothing_is_sent_to_a_node_that_is_seen_to_be_away() -> None:
    """What may be done follows what is seen, not what is said."""
    first = _after(_view(), failed_look("n3"), 10)
    gone = _after(first.view, failed_look("n3"), 20)
    back = _after(gone.view, good_look("n3"), 21)

    assert (False, False, True) == tuple(one.view.nodes["n3"].takes_actions for one in (first, gone, back))
    assert S.UNREACHABLE is back.view.nodes["n3"].status


@given(st.lists(st.floats(min_value=0.01, max_value=HOLD_S - 0.01), min_size=1, max_size=30), st.booleans())
def test_flaps_within_the_hold_are_told_at_most_once(waits: list[float], ends_well: bool) -> None:
    """However often a node comes and goes, each time for less than the hold: its status is never said to have changed."""
    view, at, events = _view(), 10.0, 0
    looks = (failed_look("n3"), good_look("n3"))
    for number, wait in enumerate(waits):
        settled = _after(view, looks[number % 2], at)
        view, at = settled.view, at + wait
        events += _told(settled).count(EventType.NODE_STATUS_CHANGED)

    assert 0 == events
    last = looks[1] if ends_well else looks[0]
    calm = _after(_after(view, last, at + HOLD_S).view, last, at + 3 * HOLD_S)
    expected = (S.HEALTHY, None) if ends_well else (S.UNREACHABLE, None)
    assert expected == (calm.view.nodes["n3"].status, calm.view.nodes["n3"].pending_status)


@given(st.lists(st.tuples(st.booleans(), st.floats(min_value=0.1, max_value=9)), max_size=40))
def test_statuses_alternate_no_faster_than_the_hold(steps: list[tuple[bool, float]]) -> None:
    """Between two events of a node's status there is at least the hold, whatever happens."""
    view, at = _view(), 10.0
    told: list[float] = []
    for well, wait in steps:
        settled = _after(view, good_look("n3") if well else failed_look("n3"), at)
        if EventType.NODE_STATUS_CHANGED in _told(settled):
            told.append(at)
        view, at = settled.view, at + wait

    assert all(after - before >= HOLD_S for before, after in pairwise(told))


@pytest.mark.parametrize("seen", [S.UNREACHABLE, S.UNAVAILABLE])
def test_a_grace_begins_with_what_is_seen(seen: NodeStatus) -> None:
    """A primary whose store is seen to be down is gone from then on, not from when that is said."""
    look = failed_look("n1") if seen is S.UNREACHABLE else good_look("n1", info=_with_status(seen).info, shards=None)
    settled = settle(_view(), {**good_looks(), "n1": look}, now=later(10))
    expected = "PRIMARY_UNKNOWN" if seen is S.UNREACHABLE else "NO_PRIMARY"

    assert settled.view.state is not None
    assert [(expected, later(10))] == [(one.code, one.since) for one in settled.view.state.pending]
