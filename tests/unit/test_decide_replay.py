from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.action import Action, ActionState
from blocks.models.base import Json
from blocks.models.cluster import ClusterSpec, Health
from blocks.models.event import Event, EventDraft, EventType
from blocks.models.node import NodeStatus, Offset, Protocol, Shard, ShardRole, Version
from blocks.models.record import Change
from blocks.models.source import DiscoveredCluster, HttpDiscovery, Source
from blocks.models.view import ClusterView
from doubles.actions import make_action
from doubles.views import NODES, NOW, discovery, found, later, make_node, make_view, state
from tasks.decide.aggregate import aggregate
from tasks.decide.diff import FACTS, diff, draft
from tasks.decide.differences import shown
from tasks.decide.discovery import discovered, source_removed
from tasks.decide.replay import Known, applied, known_of, replayed
from tasks.decide.sync import tell

E = EventType
TEXTS: dict[str, st.SearchStrategy[Any]] = {
    "agent_address": st.sampled_from(["http://a.test:1", "http://b.test:1"]),
    "node_class": st.sampled_from([None, "hidden"]),
    "node_group": st.sampled_from([None, "eu"]),
    "protocol": st.sampled_from([None, *Protocol]),
    "agent_version": st.sampled_from([None, Version(number="1"), Version(number="1", checkout="c0ffee1")]),
    "store_id": st.sampled_from([None, "kafka"]),
    "store_version": st.sampled_from([None, Version(number="7")]),
    "reported_node_id": st.sampled_from([None, "n1", "x"]),
    "reported_cluster_id": st.sampled_from([None, "orders", "billing"]),
    "foreign_id": st.sampled_from([None, "billing"]),
    "addresses": st.dictionaries(st.sampled_from(["client", "member"]), st.sampled_from(["db:1", "db:2"])),
    "attributes": st.dictionaries(st.sampled_from("ab"), st.sampled_from([True, 1, 1.5, "x", None])),
    "store_attributes": st.dictionaries(st.sampled_from("ab"), st.sampled_from([0, None])),
}
SHARD = st.builds(
    lambda role, text, at: Shard(
        shard_id="s", role=role, role_text=text, commit_offset=None if at is None else Offset(unit="seconds", value=at)
    ),
    st.sampled_from(ShardRole),
    st.sampled_from([None, "ARBITER", "primary"]),
    st.sampled_from([None, 1, 9]),
)
SHARDS = st.dictionaries(st.sampled_from("abc"), SHARD, max_size=3).map(
    lambda shards: tuple(shard.evolve(shard_id=shard_id) for shard_id, shard in shards.items())
)
NODE = st.fixed_dictionaries(
    {"status": st.sampled_from(NodeStatus), "shards": SHARDS},
    optional={**TEXTS, "status_text": st.sampled_from(["a", "b"]), "shards_stale_since": st.just(NOW)},
)
SOURCE = Source(
    namespace="prod", name="inventory", http=HttpDiscovery.model_validate({"url": "http://inventory.test/"})
)


@st.composite
def _views(draw: st.DrawFn) -> ClusterView:
    nodes = draw(st.dictionaries(st.sampled_from(NODES), NODE, max_size=3))
    return make_view(*(make_node(node_id, **fields) for node_id, fields in nodes.items()), discovery=discovery())


def _judged(view: ClusterView, before: ClusterView | None = None, at: float = 0) -> ClusterView:
    """What cycles make of a view that follows another one; two of them, so that what must last is said too."""
    known = replace(view, state=before.state if before is not None else None)
    once = replace(known, state=aggregate(known, now=later(at)))
    return replace(once, state=aggregate(once, now=later(at + 60)))


@given(_views())
def test_no_change_no_event(view: ClusterView) -> None:
    """A view differs in nothing from itself."""
    view = _judged(view)
    assert () == diff(view, view)


@given(_views(), _views())
def test_the_events_between_two_views_lead_from_one_to_the_other(before: ClusterView, after: ClusterView) -> None:
    """All that is told of nodes, shards, problems and health: who knew the first and heard the events knows the second."""
    before = _judged(before)
    after = _judged(after, before, 600)

    assert known_of(after) == replayed(known_of(before), diff(before, after))


@given(_views(), _views(), _views())
def test_events_of_two_steps_can_be_heard_in_a_row(first: ClusterView, second: ClusterView, third: ClusterView) -> None:
    """One by one or all at once is the same."""
    first = _judged(first)
    second = _judged(second, first, 600)
    third = _judged(third, second, 1_200)
    events = (*diff(first, second), *diff(second, third))
    known = known_of(first)
    for event in events:
        known = applied(known, event)

    assert known_of(third) == known == replayed(known_of(first), events)


@given(_views())
def test_a_cluster_can_be_known_from_nothing(view: ClusterView) -> None:
    """Whoever heard every event needs no first view."""
    view = _judged(view)
    empty = replace(view, nodes={}, state=None)

    assert known_of(view) == replayed(known_of(empty), diff(empty, view))


@given(_views(), _views())
def test_what_was_known_stays_as_it_was(before: ClusterView, after: ClusterView) -> None:
    """Hearing events makes a new knowledge; the old one can be used again."""
    before = _judged(before)
    known = known_of(before)
    replayed(known, diff(before, _judged(after, before, 600)))

    assert known_of(before) == known


def test_every_fact_is_generated() -> None:
    """The views above differ in each fact that is told."""
    assert set(FACTS) == TEXTS.keys()


def test_a_role_that_is_called_as_another_is_told() -> None:
    """An unknown role with the text "primary" is no primary, and becoming one is a change."""
    odd = Shard(shard_id="s", role=ShardRole.OTHER, role_text="primary")
    before, after = (make_view(make_node("n1", shards=(one,))) for one in (odd, odd.evolve(role=ShardRole.PRIMARY)))
    (event,) = diff(before, after)

    assert (E.SHARD_CHANGED, "primary", "primary") == (event.type, event.data["role"], event.data["role_value"])
    assert known_of(after) == applied(known_of(before), event)


def _stored(event: EventDraft) -> Event:
    """The event as it comes back from the history."""
    return Event.model_validate_json(
        Event(
            event_id="1",
            type=event.type,
            stream=event.stream,
            subject=event.subject,
            sequence=1,
            time=NOW,
            data=event.data,
        ).model_dump_json()
    )


@given(_views(), _views())
def test_stored_events_say_the_same(before: ClusterView, after: ClusterView) -> None:
    """What went through JSON and back is as good as the draft."""
    before = _judged(before)
    after = _judged(after, before, 600)

    assert known_of(after) == replayed(known_of(before), map(_stored, diff(before, after)))


def test_discovery_is_told_too() -> None:
    """Found, changed, gone, back: at each step what its source says is known."""
    told = DiscoveredCluster(cluster_id="orders", nodes=(found("n1"), found("n2", labels={"zone": "a"})))
    more = told.evolve(nodes=(*told.nodes, found("n3")), display_name="Orders")
    known, record = Known(), None
    steps = []
    for answer in (told, more, None, more):
        stored = {record.key: record} if record is not None else {}
        if answer is None:
            changes: dict[str, Change] = source_removed(SOURCE, stored.values(), now=NOW)
        else:
            outcome = discovered(SOURCE, (answer,), stored, frozenset(), owners=frozenset({SOURCE.key}), now=NOW)
            changes = outcome.changes
        (change,) = changes.values()
        record = next(swap for swap in change.swaps if not isinstance(swap, ClusterSpec))
        known = replayed(known, change.drafts)
        expected = known_of(make_view(discovery=record))
        steps.append((known.discovery == expected.discovery, known.missing == expected.missing, known.missing))

    assert [(True, True, False), (True, True, False), (True, True, True), (True, True, False)] == steps
    assert {"synthetic": True} == known.spec


def test_a_spec_is_told_as_it_was_applied() -> None:
    """The spec of a view is what the event of applying it holds."""
    spec = ClusterSpec(namespace="prod", cluster_id="orders", lag_limit_s=5, version=2)
    data: dict[str, Json] = {"after": shown(spec)}
    event = draft(spec.ref, E.CLUSTER_SPEC_APPLIED, spec.key, **data)

    assert known_of(make_view(spec=spec)).spec == applied(Known(), event).spec


@given(st.lists(st.sampled_from(ActionState), min_size=1, max_size=6))
def test_actions_are_known_until_they_are_finished(states: list[ActionState]) -> None:
    """Created, changed, finished: those that are unfinished are known, with their state."""
    known, before = Known(), None
    for one in states:
        after: Action = make_action(1, state=one)
        known = replayed(known, tell(before, after))
        before = after

    assert known_of(make_view(actions=[make_action(1, state=states[-1])])).actions == known.actions


def test_a_deleted_cluster_is_unknown() -> None:
    """Nothing of it is left."""
    view = make_view(make_node("n1"), state=state(health=Health.HEALTHY))
    event = draft(view.ref, E.CLUSTER_DELETED, str(view.ref))

    assert Known() == applied(known_of(view), event)


@pytest.mark.parametrize("type_", ["io.replicante.node.dreamt.v7", E.CLUSTER_REPORT, E.WORK_DEAD])
def test_what_is_of_no_consequence_changes_nothing(type_: str) -> None:
    """Types of the future, and those that tell of no lasting fact."""
    known = known_of(make_view(make_node("n1")))
    event = Event(event_id="1", type=type_, stream="prod/orders", subject="x", sequence=1, time=NOW, data={})

    assert known == applied(known, event)


def test_a_history_that_begins_in_the_middle() -> None:
    """A change of what was never told of is the first that is known of it; an end of it is nothing."""
    view = make_view(make_node("n1"))
    after = make_view(make_node("n1", status=NodeStatus.UNHEALTHY, node_group="eu", shards=()))
    known = replayed(Known(), diff(view, after))

    assert {"n1": {"status": "UNHEALTHY", "node_group": "eu"}} == known.nodes
    assert {} == known.shards


def test_events_from_before_roles_were_told_in_two_words() -> None:
    """An older event has one word for a role, and that is its value."""
    event = draft(make_view().ref, E.SHARD_ADDED, "x", node_id="n1", shard_id="s", role="primary")

    assert {("n1", "s"): {"role_value": "primary", "role_text": None}} == applied(Known(), event).shards
