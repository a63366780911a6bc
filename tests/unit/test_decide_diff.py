from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.cluster import Health
from blocks.models.event import EventDraft, EventType
from blocks.models.node import Node, NodeStatus, ShardRole, Version
from blocks.models.problem import Problem, Severity
from blocks.models.view import ClusterView
from doubles.views import NODES, NOW, discovery, later, make_node, make_view, shard, state
from tasks.decide.aggregate import aggregate
from tasks.decide.diff import FACTS, diff

E = EventType
OTHER: dict[str, Any] = {
    "agent_address": "http://elsewhere.test:1",
    "node_class": "hidden",
    "node_group": "eu",
    "protocol": None,
    "agent_version": Version(number="9"),
    "store_id": "kafka",
    "store_version": None,
    "reported_node_id": "somebody",
    "reported_cluster_id": "else",
    "foreign_id": "billing",
    "addresses": {"client": "db:1"},
    "attributes": {"a": 1},
    "store_attributes": {"b": 2},
}
NODE = st.builds(
    lambda status, roles, fields: {"status": status, "shards": tuple(shard(r, s) for s, r in roles.items()), **fields},
    st.sampled_from(NodeStatus),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from(ShardRole), max_size=3),
    st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in OTHER.items()}),
)


@st.composite
def _views(draw: st.DrawFn) -> ClusterView:
    nodes = draw(st.dictionaries(st.sampled_from(NODES), NODE, max_size=3))
    view = make_view(*(make_node(node_id, **fields) for node_id, fields in nodes.items()))
    return replace(view, state=aggregate(view, now=NOW)) if draw(st.booleans()) else view


def _types(drafts: tuple[EventDraft, ...]) -> list[EventType]:
    return [draft.type for draft in drafts]


def _nodes_of(before: dict[str, str], drafts: tuple[EventDraft, ...]) -> dict[str, str]:
    """Node statuses as somebody knows them who had the first ones and then only heard the events."""
    known = dict(before)
    for draft in drafts:
        node_id = str(draft.data.get("node_id"))
        match draft.type:
            case E.NODE_ADDED:
                known[node_id] = str(draft.data["status"])
            case E.NODE_STATUS_CHANGED:
                assert draft.data["before"] == known[node_id]
                known[node_id] = str(draft.data["after"])
            case E.NODE_REMOVED:
                del known[node_id]
            case _:
                continue
    return known


def _shards_of(before: set[tuple[str, str, str]], drafts: tuple[EventDraft, ...]) -> set[tuple[str, str, str]]:
    """The same of shards; those of a node that left go with it."""
    known = {(node_id, shard_id): role for node_id, shard_id, role in before}
    for draft in drafts:
        key = (str(draft.data.get("node_id")), str(draft.data.get("shard_id")))
        if draft.type in {E.SHARD_ADDED, E.SHARD_CHANGED}:
            known[key] = str(draft.data["role"])
        elif draft.type is E.SHARD_REMOVED:
            del known[key]
        elif draft.type is E.NODE_REMOVED:
            known = {other: role for other, role in known.items() if other[0] != key[0]}
    return {(*key, role) for key, role in known.items()}


def _problems_of(before: set[tuple[str, object]], drafts: tuple[EventDraft, ...]) -> set[tuple[str, object]]:
    known = set(before)
    for draft in drafts:
        identity = (str(draft.data.get("code")), draft.data.get("node_id"))
        if draft.type is E.PROBLEM_RAISED:
            known.add(identity)
        elif draft.type is E.PROBLEM_CLEARED:
            known.remove(identity)
    return known


def _statuses(view: ClusterView) -> dict[str, str]:
    return {node_id: node.status.value for node_id, node in view.nodes.items()}


def _shards(view: ClusterView) -> set[tuple[str, str, str]]:
    return {(node.node_id, one.shard_id, one.role.value) for node in view.nodes.values() for one in node.shards}


def _problems(view: ClusterView) -> set[tuple[str, object]]:
    return {(problem.code, problem.node_id) for problem in (view.state.problems if view.state else ())}


@given(_views())
def test_no_change_no_event(view: ClusterView) -> None:
    """A view differs in nothing from itself."""
    assert () == diff(view, view)


@given(_views(), _views())
def test_events_lead_from_one_view_to_the_other(before: ClusterView, after: ClusterView) -> None:
    """Who knew the first view and heard the events knows nodes, shards, problems and health of the second."""
    view = replace(after, state=aggregate(after, now=NOW))
    drafts = diff(before, view)

    assert _statuses(view) == _nodes_of(_statuses(before), drafts)
    assert _shards(view) == _shards_of(_shards(before), drafts)
    assert _problems(view) == _problems_of(_problems(before), drafts)
    health_before = before.state.health if before.state is not None else Health.UNKNOWN
    told = [draft.data["after"] for draft in drafts if draft.type is E.CLUSTER_HEALTH_CHANGED]
    assert ([] if view.state.health is health_before else [view.state.health.value]) == told


@given(_views(), _views())
def test_all_events_are_in_the_clusters_stream_and_about_it(before: ClusterView, after: ClusterView) -> None:
    """Every event is ordered with the cluster, and its subject is the cluster or a node of it."""
    for draft in diff(before, after):
        assert "prod/orders" == draft.stream
        assert draft.subject == "prod/orders" or draft.subject.startswith("prod/orders/n")


@pytest.mark.parametrize("name", FACTS)
def test_each_fact_of_a_node_is_told_when_it_changes(name: str) -> None:
    """A changed fact makes one `node.changed` with the fact before and after, and nothing else."""
    before, after = make_node("n1"), make_node("n1", **{name: OTHER[name]})
    (event,) = diff(make_view(before), make_view(after))

    assert (E.NODE_CHANGED, {name}, {name}) == (event.type, set(event.data["before"]), set(event.data["after"]))


@pytest.mark.parametrize("name", ["attributes", "store_attributes"])
@pytest.mark.parametrize(("was", "is_now"), [(1, True), (False, 0), (1, 1.0)])
def test_an_attribute_of_another_type_is_another_attribute(name: str, was: object, is_now: object) -> None:
    """1 and true are equal to Python, and not to who reads them."""
    before, after = make_node("n1", **{name: {"a": was}}), make_node("n1", **{name: {"a": is_now}})
    (event,) = diff(make_view(before), make_view(after))

    assert (E.NODE_CHANGED, repr({"a": is_now})) == (event.type, repr(event.data["after"][name]))


@pytest.mark.parametrize("status", [status for status in NodeStatus if status is not NodeStatus.HEALTHY])
def test_each_status_is_told_when_it_changes(status: NodeStatus) -> None:
    """A changed status is one event with the reason."""
    before, after = make_node("n1"), make_node("n1", status=status, status_text="because")
    (event,) = diff(make_view(before), make_view(after))

    assert (E.NODE_STATUS_CHANGED, "HEALTHY", status.value, "because") == (
        event.type,
        event.data["before"],
        event.data["after"],
        event.data["reason"],
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"shards": (shard(ShardRole.PRIMARY, lag_s=99),)},
        {"notes": ("a note",)},
        {"status_text": "other words"},
        {"shards_stale_since": NOW},
        {"version": 9},
    ],
)
def test_what_moves_all_the_time_is_no_event(fields: dict[str, Any]) -> None:
    """Offsets, lag, notes, words and staleness make no event of their own."""
    assert () == diff(make_view(make_node("n1")), make_view(make_node("n1", **fields)))


def test_a_failover_is_told_shard_by_shard() -> None:
    """A primary that moves is two changed roles, each with the role before."""
    before = make_view(make_node("n1"), make_node("n2"))
    after = make_view(make_node("n1", shards=(shard(),)), make_node("n2", shards=(shard(ShardRole.PRIMARY),)))

    assert [("n1", "primary", "secondary"), ("n2", "secondary", "primary")] == [
        (draft.data["node_id"], draft.data["role_before"], draft.data["role"]) for draft in diff(before, after)
    ]


def test_a_problem_with_another_beginning_is_another_problem() -> None:
    """What one shard began is over, what another began is said: both are told, the end first."""
    first = Problem(code="NO_PRIMARY", severity=Severity.CRITICAL, description="d", since=later(-60))
    before = make_view(state=state(problems=(first,)))
    after = replace(before, state=state(problems=(first.evolve(since=later(-20)),)))

    assert [(E.PROBLEM_CLEARED, "2026-03-01T11:59:00Z"), (E.PROBLEM_RAISED, "2026-03-01T11:59:40Z")] == [
        (draft.type, draft.data["since"]) for draft in diff(before, after)
    ]


def test_a_removed_node_is_told_first() -> None:
    """Who left is told before who came."""
    before, after = make_view(make_node("n1")), make_view(make_node("n2"))

    assert [E.NODE_REMOVED, E.NODE_ADDED, E.SHARD_ADDED] == _types(diff(before, after))


def test_health_is_told_with_its_counts() -> None:
    """A change of health carries what it was and is, and how many nodes are how."""
    node: Node = make_node("n1", status=NodeStatus.UNREACHABLE)
    before = make_view(node, state=state(health=Health.HEALTHY, health_since=later(-9)))
    after = replace(before, discovery=discovery(["n1"]), state=aggregate(before, now=NOW))
    told = diff(before, after)[-1]

    assert (E.CLUSTER_HEALTH_CHANGED, "HEALTHY", "UNKNOWN", {"UNREACHABLE": 1}) == (
        told.type,
        told.data["before"],
        told.data["after"],
        told.data["nodes_by_status"],
    )
