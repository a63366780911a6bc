"""When a node that does not answer is asked again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.models.node import NodeStatus
from blocks.models.request import Priority, Request
from blocks.models.view import ClusterView
from doubles.views import NOW, found, later, make_node, make_view, state
from tasks.decide.rest import Manner, Occasion, manner, occasion_of, why_not_asked


def dead_for(seconds: float, **node: object) -> ClusterView:
    """A cluster whose `n1` was silent for so long when all of it was last seen, which is now."""
    known = make_node("n1", status=NodeStatus.UNREACHABLE, info_stale_since=later(-seconds), **node)
    return make_view(known, make_node("n2"), state=state(observed_at=NOW))


def asked(view: ClusterView, after_s: float, occasion: Occasion = Occasion.ROUTINE, node_id: str = "n1") -> Manner:
    """How a node is asked so many seconds later."""
    return manner(view, found(node_id), now=later(after_s), occasion=occasion)


def test_who_answers_is_always_asked() -> None:
    """Whatever happens to its neighbours."""
    assert {Manner.LOOK} == {asked(dead_for(600), 1, occasion, "n2") for occasion in Occasion}


def test_first_misses_change_nothing() -> None:
    """A node that is silent since a moment ago is asked each time."""
    assert {Manner.LOOK} == {asked(dead_for(9), 1, occasion) for occasion in Occasion}


def test_a_dead_node_rests() -> None:
    """Routine leaves it alone for as long as it has been silent at most, urgency knocks, a person asks."""
    view = dead_for(30)

    assert [Manner.REST, Manner.KNOCK, Manner.LOOK] == [
        asked(view, 1, occasion) for occasion in (Occasion.ROUTINE, Occasion.URGENT, Occasion.PERSON)
    ]
    assert Manner.LOOK is asked(view, 30)


@given(silent_s=st.floats(10, 1e7), after_s=st.floats(0, 1e6))
def test_the_pause_is_bounded(silent_s: float, after_s: float) -> None:
    """Never shorter than half of the silence or of a minute, never longer than the whole; it grows with the silence."""
    limit = min(60.0, silent_s)
    how = asked(dead_for(silent_s), after_s)

    assert how is Manner.LOOK or after_s < limit
    assert how is Manner.REST or after_s >= limit / 2 - 0.001


def test_nodes_do_not_come_back_in_step() -> None:
    """The pauses of nodes that died together differ."""
    nodes = [f"n{number}" for number in range(20)]
    dead = [make_node(name, status=NodeStatus.UNREACHABLE, info_stale_since=later(-600)) for name in nodes]
    view = make_view(*dead, state=state(observed_at=NOW))

    assert {Manner.LOOK, Manner.REST} == {asked(view, 45, node_id=name) for name in nodes}


@pytest.mark.parametrize("occasion", list(Occasion))
def test_without_a_watch_nothing_rests(occasion: Occasion) -> None:
    """Nobody else would tell that the node is back."""
    view = dead_for(600)
    off = Namespace(name="prod", settings=NamespaceSettings(probe_interval=0))
    by_cluster = replace(view, spec=view.spec.evolve(probe_interval=0))

    assert {Manner.LOOK} == {asked(one, 1, occasion) for one in (replace(view, namespace=off), by_cluster)}


def test_another_address_is_asked_at_once() -> None:
    """A node that moved is not the one that was silent."""
    moved = found("n1", agent_address="http://elsewhere.test:8000")

    assert Manner.LOOK is manner(dead_for(600), moved, now=later(1), occasion=Occasion.ROUTINE)


def test_a_cluster_that_was_never_seen_whole_is_asked() -> None:
    """Without a last time there is nothing to wait from."""
    assert Manner.LOOK is asked(replace(dead_for(600), state=None), 1)


def test_what_is_said_of_it() -> None:
    """Since when it was not asked, and why."""
    expected = "n1: not asked since 2026-03-01T12:00:00Z, because it has not answered since 2026-03-01T11:59:30Z"

    assert expected == why_not_asked(dead_for(30), "n1")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Occasion.ROUTINE),
        ({"priority": Priority.URGENT}, Occasion.URGENT),
        ({"priority": Priority.PERSON}, Occasion.PERSON),
        ({"priority": Priority.URGENT, "by_person": True}, Occasion.PERSON),
    ],
)
def test_occasions(fields: dict[str, object], expected: Occasion) -> None:
    """A person's request is a person's, whoever else asked too."""
    assert expected is occasion_of(Request.model_validate({"kind": "orchestrate", "subject": "prod/orders", **fields}))
