"""What of a cluster's records events tell, field by field: a changed record and an event go together, but for what is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.cluster import ClusterState, Health
from blocks.models.look import Failure, Look, ShardsInfo
from blocks.models.node import ClockOff, Node, NodeStatus, Offset, Protocol, Rewind, Shard, ShardRole, Version
from blocks.models.problem import Acknowledgement, Pending, Problem, Severity
from blocks.models.view import ClusterView
from doubles.told import all_told
from doubles.views import NODES, NOW, discovery, failed_look, good_look, later, make_node, make_view, shard, state
from tasks.decide.diff import FACTS, diff
from tasks.decide.settle import settle
from tasks.decide.untold import UNTOLD

AT = later(60)
NAMES = {
    Node: {"namespace", "cluster_id", "node_id"},
    Shard: {"shard_id"},
    Problem: {"code", "node_id", "shard_id"},
    ClusterState: {"namespace", "cluster_id"},
}
"""Fields that say which record it is."""
TOLD = {
    Node: {*FACTS, "status", "shards"},
    Shard: {"role", "role_text"},
    Problem: {"since"},
    ClusterState: {"health", "problems"},
}
PROBLEM = Problem(code="OLD", severity=Severity.INFO, description="d", since=NOW)
OTHER: dict[type[Any], dict[str, Any]] = {
    Node: {
        "agent_address": "http://b.test:1", "node_class": "x", "node_group": "x", "protocol": Protocol.A,
        "agent_version": Version(number="9"), "store_id": "x", "store_version": Version(number="9"),
        "reported_node_id": "x", "reported_cluster_id": "x", "foreign_id": "x", "addresses": {"a": "b"},
        "attributes": {"a": 1}, "store_attributes": {"a": 1}, "status": NodeStatus.UNHEALTHY, "shards": (),
        "status_text": "x", "status_since": AT, "pending_status": NodeStatus.UNHEALTHY, "pending_text": "x",
        "pending_since": AT, "protocol_before": Protocol.A, "protocol_changed_at": AT, "info_stale_since": AT,
        "store_stale_since": AT, "shards_stale_since": AT, "actions_stale_since": AT, "notes": ("x",), "version": 9,
        "clock_off": ClockOff(action_id="a", seconds=9.0, at=AT), "tls_trouble": "x",
        "rewinds": (Rewind(shard_id="rs0", before=Offset(unit="x", value=2), after=Offset(unit="x", value=1), at=AT),),
    },
    Shard: {
        "role": ShardRole.OTHER, "role_text": "x", "commit_offset": Offset(unit="x", value=1),
        "lag": Offset(unit="x", value=1), "stale_since": AT, "led": Offset(unit="x", value=1), "behind_since": AT,
    },
    Problem: {
        "since": AT, "severity": Severity.CRITICAL, "description": "x", "remedy": "x", "evidence": "x", "cause": "X",
        "cause_node_id": "x", "symptoms": 9, "acknowledged": Acknowledgement(who="ann", why="x", at=AT),
    },
    ClusterState: {
        "health": Health.CRITICAL, "problems": (), "health_since": AT, "pending": (Pending(code="X", since=AT),),
        "nodes_total": 9, "nodes_by_status": {"X": 9}, "shards": 9, "primaries": 9, "lag_worst_ms": 9,
        "lag_worst": {"x": 9}, "lags_synthesised": 9, "stores": ("x",), "versions": {"x": 9}, "agents": {"x": 9},
        "node_classes": {"x": 9}, "node_groups": {"x": 9}, "observed_at": AT, "offsets_at": AT, "open_since": AT, "version": 9,
    },
}  # fmt: skip
"""For each field another value than that of the records below."""
FIELDS = [(type_, name) for type_, fields in OTHER.items() for name in fields]


def view_of(type_: type[Any], **fields: Any) -> ClusterView:
    """A cluster of one node, shard and problem, of which the record of a type has these fields."""
    copy = shard(ShardRole.PRIMARY).evolve(**(fields if type_ is Shard else {}))
    problem = PROBLEM.evolve(**(fields if type_ is Problem else {}))
    node = make_node("n1", shards=(copy,)).evolve(**(fields if type_ is Node else {}))
    known = state(problems=(problem,)).evolve(**(fields if type_ is ClusterState else {}))
    return make_view(node, state=known)


@pytest.mark.parametrize("type_", list(UNTOLD))
def test_every_field_is_told_or_named(type_: type[Any]) -> None:
    """Whoever adds a field to a record says whether its change is an event."""
    parts = (NAMES[type_], TOLD[type_], set(UNTOLD[type_]))

    assert set(type_.model_fields) == set().union(*parts) == NAMES[type_] | set(OTHER[type_])
    assert len(type_.model_fields) == sum(map(len, parts))


@pytest.mark.parametrize(("type_", "name"), FIELDS)
def test_a_field_makes_an_event_or_is_named(type_: type[Any], name: str) -> None:
    """Changed alone it is at least one event; or none, and the table says why."""
    before, after = view_of(type_), view_of(type_, **{name: OTHER[type_][name]})

    assert before != after
    assert (name not in UNTOLD[type_]) == bool(diff(before, after))


@st.composite
def _looks(draw: st.DrawFn) -> dict[str, Look]:
    looks: dict[str, Look] = {}
    for node_id in NODES:
        role, why = draw(st.sampled_from(ShardRole)), draw(st.sampled_from(["refused", "late"]))
        shards = ShardsInfo(shards=(shard(role, lag_s=draw(st.sampled_from([None, 1, 2]))),))
        match draw(st.sampled_from(["good", "failed", "no store", "no shards", "none"])):
            case "good":
                looks[node_id] = good_look(node_id, shards=shards)
            case "failed":
                looks[node_id] = failed_look(node_id, why)
            case "no store":
                looks[node_id] = good_look(node_id, shards=shards, store=Failure(reason=why))
            case "no shards":
                looks[node_id] = good_look(node_id, shards=Failure(reason=why))
            case _:
                continue
    return looks


@given(st.lists(_looks(), min_size=2, max_size=5))
def test_a_cycle_tells_what_it_saves_and_saves_what_it_tells(cycles: list[dict[str, Look]]) -> None:
    """Of any cycle: an event if and only if what is told of its records is another; and what is another is in the change."""
    view = make_view(discovery=discovery())
    view = replace(view, namespace=view.namespace.evolve(settings={"status_hold": 2}))
    for number, looks in enumerate(cycles):
        settled = settle(view, looks, now=later(60 * number))
        before, after = (all_told([*one.nodes.values(), one.state]) for one in (view, settled.view))
        first = view.state is None and settled.view.state is not None and not settled.view.nodes

        assert first or bool(settled.change.drafts) == (before != after)
        assert not settled.change.drafts or settled.change.puts
        view = settled.view
