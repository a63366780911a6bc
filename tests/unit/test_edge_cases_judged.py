"""Those edge cases of the wire (`agent-protocol.md` 6) that are judged of several nodes, clusters or sources at once."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from blocks.models.action import ActionState
from blocks.models.cluster import ClusterSpec
from blocks.models.event import EventType
from blocks.models.ids import ClusterRef
from blocks.models.look import Failure, Look, ShardsInfo, StoreInfo
from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.models.node import NodeStatus, Offset, Protocol, Shard, ShardRole
from blocks.models.problem import Problem, Severity
from blocks.models.source import DiscoveredCluster, HttpDiscovery, Source
from blocks.models.view import ClusterView
from blocks.sources.pages import read_page
from blocks.sources.records import Collector
from blocks.sources.settings import SourcesSettings
from doubles.actions import make_action
from doubles.views import (
    NODES,
    NOW,
    discovery,
    failed_look,
    found,
    good_look,
    good_looks,
    intent,
    later,
    make_node,
    make_view,
    shard,
    word,
)
from tasks.decide.discovery import discovered
from tasks.decide.settle import settle
from tasks.decide.timetable import follow_up

SOURCE = Source.model_validate(
    {"namespace": "prod", "name": "inventory", "http": HttpDiscovery.model_validate({"url": "http://d.test"})}
)


def _problems(view: ClusterView, code: str) -> list[Problem]:
    assert view.state is not None
    return [problem for problem in view.state.problems if problem.code == code]


def test_row_16_two_agents_with_one_node_id() -> None:
    """Discovery's ids are the keys: both stay, the one that is called otherwise is a problem, and nothing flaps."""
    looks = {"n1": good_look("n1"), "n2": good_look("n2", info=good_look("n1").info)}
    first = settle(make_view(make_node("n1"), make_node("n2")), looks, now=later(10))
    second = settle(first.view, looks, now=later(20))

    assert ["n2"] == [problem.node_id for problem in _problems(first.view, "IDENTITY_MISMATCH")]
    assert ["n1", "n2"] == sorted(first.view.nodes)
    assert second.change.empty


def test_row_16_an_address_is_no_name_to_differ_from() -> None:
    """A legacy source calls nodes by their URL: an agent that says another id than that is no mismatch."""
    url = "http://n1.test:8000"
    view = replace(make_view(), discovery=discovery([]).evolve(nodes=(found(url, agent_address=url),)))
    settled = settle(view, {url: good_look("n1")}, now=NOW)

    assert [] == _problems(settled.view, "IDENTITY_MISMATCH")


def test_row_17_a_node_told_of_twice() -> None:
    """Within a cluster one word counts, whatever the order, and the other is said; in two clusters it is two nodes, and that is said."""
    node = {"agent_address": "http://n1.test:8000", "node_id": "n1", "node_class": "a", "node_group": None}
    other = {**node, "node_class": "b"}
    clusters = [
        {"cluster_id": "orders", "nodes": [node, node, other]},
        {"cluster_id": "billing", "nodes": [node]},
    ]
    collector = Collector(SourcesSettings())
    collector.add(read_page(orjson.dumps({"clusters": clusters, "cursor": None})))
    answer = collector.found()
    outcome = discovered(SOURCE, answer.clusters, {}, frozenset(), owners=frozenset({SOURCE.key}), now=NOW)

    assert [("orders", ["a"]), ("billing", ["a"])] == [
        (cluster.cluster_id, [told.node_class for told in cluster.nodes]) for cluster in answer.clusters
    ]
    assert ["told of twice and not the same; the one that sorts first counts"] == [
        bad.reason for bad in answer.rejected
    ]
    assert ["orders", "billing"] == [ref.cluster_id for ref in outcome.new]
    assert [
        ("agent http://n1.test:8000", "it is told of in several clusters and looked at in each: orders, billing")
    ] == [(bad.what, bad.reason) for bad in outcome.rejected if bad.partial]


def test_row_18_another_id_is_another_node() -> None:
    """The old node goes with its unfinished actions, the new one comes."""
    action = make_action(state=ActionState.RUNNING)
    view = replace(make_view(make_node("n1"), actions=[action]), discovery=discovery(["n9"]))
    settled = settle(view, {"n9": good_look("n9")}, now=later(10))

    assert ["n9"] == list(settled.view.nodes)
    assert ActionState.CANCELLED is settled.view.actions[action.action_id].state
    assert {EventType.NODE_REMOVED, EventType.NODE_ADDED, EventType.ACTION_FINISHED} <= {
        draft.type for draft in settled.change.drafts
    }


def test_row_19_an_empty_answer_after_a_full_one_removes_nothing() -> None:
    """It is suspicious, and said so; a cluster is only missing when the answer tells of others."""
    known = {record.key: record for record in (discovery(), discovery().evolve(cluster_id="billing"))}
    empty = discovered(SOURCE, (), known, frozenset(), owners=frozenset({SOURCE.key}), now=NOW)
    orders = DiscoveredCluster(cluster_id="orders", nodes=discovery().nodes)
    partly = discovered(SOURCE, (orders,), known, frozenset(), owners=frozenset({SOURCE.key}), now=NOW)

    assert ({}, ()) == (empty.changes, empty.missing)
    assert "nothing was changed" in str(empty.suspicious)
    assert (ClusterRef(namespace="prod", cluster_id="billing"),) == partly.missing
    assert () == next(iter(partly.changes.values())).deletes


@pytest.mark.parametrize(
    ("roles", "code"),
    [
        ((ShardRole.PRIMARY, ShardRole.PRIMARY), "SEVERAL_PRIMARIES"),
        ((ShardRole.SECONDARY, ShardRole.SECONDARY), "NO_PRIMARY"),
    ],
)
def test_row_28_primaries_are_stored_as_seen(roles: tuple[ShardRole, ...], code: str) -> None:
    """Two primaries or none: roles stay as they were told, no lag is made up, and when it lasts the shard is a problem."""
    looks = {
        node_id: good_look(node_id, shards=good_look(node_id).shards.evolve(shards=(shard(role),)))  # type: ignore[union-attr]
        for node_id, role in zip(("n1", "n2"), roles, strict=True)
    }
    first = settle(make_view(make_node("n1"), make_node("n2")), looks, now=later(10))
    settled = settle(first.view, looks, now=later(20))

    assert [] == _problems(first.view, code)
    told = [node.shards[0] for node in settled.view.nodes.values()]
    assert roles == tuple(one.role for one in told)
    assert [None, None] == [one.lag for one in told]
    assert 1 == len(_problems(settled.view, code))


def test_row_29_units_are_not_mixed() -> None:
    """An offset in another unit replaces the old one; what is no unit of time makes no lag in time."""
    odd = Shard(shard_id="rs0", role=ShardRole.SECONDARY, lag=Offset(unit="messages", value=10**12))
    look = good_look("n1")
    view = make_view(make_node("n1"))
    settled = settle(view, {"n1": look.evolve(shards=look.shards.evolve(shards=(odd,)))}, now=later(10))  # type: ignore[union-attr]

    assert (odd,) == tuple(one.evolve(led=None) for one in settled.view.nodes["n1"].shards)
    assert settled.view.state is not None
    assert settled.view.state.lag_worst_ms is None
    assert [] == _problems(settled.view, "LAG_ABOVE_LIMIT")


def test_row_30_only_discovery_removes_nodes() -> None:
    """A node that does not answer stays for as long as its source tells of it."""
    settled = settle(make_view(make_node("n1")), {"n1": failed_look("n1")}, now=later(10))
    dropped = settle(replace(settled.view, discovery=discovery([])), {}, now=later(20))

    assert (["n1"], []) == (list(settled.view.nodes), list(dropped.view.nodes))
    assert [EventType.NODE_REMOVED] == [
        draft.type for draft in dropped.change.drafts if draft.type is EventType.NODE_REMOVED
    ]


def _with(name: str, **info: object) -> Look:
    look = good_look(name)
    return look.evolve(info=look.info.model_copy(update=info))


def test_row_01_no_answer_is_told_when_it_has_held() -> None:
    """One miss is remembered, not told; two looks that far apart as the namespace says tell it, once."""
    namespace = Namespace(name="prod", settings=NamespaceSettings(status_hold=2))
    view = make_view(make_node("n1"), namespace=namespace)
    first = settle(view, {"n1": failed_look("n1")}, now=later(10))
    second = settle(first.view, {"n1": failed_look("n1")}, now=later(12))
    third = settle(second.view, {"n1": failed_look("n1")}, now=later(14))
    told = [
        sum(draft.type is EventType.NODE_STATUS_CHANGED for draft in one.change.drafts)
        for one in (first, second, third)
    ]

    assert [0, 1, 0] == told
    assert [] == _problems(first.view, "NODE_UNREACHABLE")
    assert ["n1"] == [problem.node_id for problem in _problems(second.view, "NODE_UNREACHABLE")]


def test_row_10_old_shards_are_kept_and_become_a_problem() -> None:
    """A store that is down keeps its shards, stale since then; after a while that is said, as a symptom of the store."""
    broken = Failure(reason="HTTP 500", status=500)
    look = _with("n1", status=NodeStatus.UNAVAILABLE).evolve(store=broken, shards=broken)
    first = settle(make_view(make_node("n1"), make_node("n2")), {**good_looks("n2"), "n1": look}, now=later(10))
    second = settle(first.view, {**good_looks("n2"), "n1": look}, now=later(310))

    assert (make_node("n1").shards, later(10)) == (
        second.view.nodes["n1"].shards,
        second.view.nodes["n1"].shards_stale_since,
    )
    assert [] == _problems(first.view, "STALE_FACTS")
    (stale,) = _problems(second.view, "STALE_FACTS")
    assert (
        "STORE_UNAVAILABLE",
        "n1",
        "store details since 2026-03-01T12:00:10Z; shards since 2026-03-01T12:00:10Z",
    ) == (
        stale.cause,
        stale.cause_node_id,
        stale.evidence,
    )


def test_row_15_another_clusters_data_are_refused() -> None:
    """The last good facts stay under this cluster, stale, with a problem and its event, told once."""
    other = good_look("n2", store=StoreInfo(cluster_id="billing"), shards=ShardsInfo(shards=()))
    first = settle(make_view(make_node("n1"), make_node("n2")), {"n1": good_look("n1"), "n2": other}, now=later(10))
    second = settle(first.view, {"n1": good_look("n1"), "n2": other}, now=later(20))
    node = first.view.nodes["n2"]

    assert ("orders", make_node("n2").shards, later(10)) == (node.cluster_id, node.shards, node.shards_stale_since)
    assert "FOREIGN_NODE" in {
        draft.data["code"] for draft in first.change.drafts if draft.type is EventType.PROBLEM_RAISED
    }
    assert second.change.empty


def test_row_16_the_owner_of_an_id_is_who_discovery_knows_by_it() -> None:
    """Whichever comes first in any order: the other one is the error, in every cycle the same."""
    looks = {"a1": _with("a1", node_id="n1"), "n1": good_look("n1")}
    first = settle(make_view(make_node("a1"), make_node("n1")), looks, now=later(10))
    second = settle(first.view, dict(reversed(looks.items())), now=later(20))

    assert ["a1"] == [problem.node_id for problem in _problems(first.view, "DUPLICATE_NODE_ID")]
    assert ["DUPLICATE_NODE_ID"] == [problem.cause for problem in _problems(first.view, "IDENTITY_MISMATCH")]
    assert second.change.empty


def test_row_16_two_members_with_one_address() -> None:
    """Two agents that tell of one and the same member are found out by its address too."""
    looks = {one: _with(one, addresses={"member": "db1:27017"}) for one in ("n1", "n2")}
    settled = settle(make_view(make_node("n1"), make_node("n2")), looks, now=later(10))

    assert [("n2", "its members' address is 'db1:27017', as that of n1 does")] == [
        (problem.node_id, problem.evidence) for problem in _problems(settled.view, "DUPLICATE_NODE_ID")
    ]


def test_row_20_a_clock_that_differs_is_a_problem() -> None:
    """An agent that received before we sent: its times are kept as told, and the disagreement is said, once."""
    action = make_action(1, node_id="n1", state=ActionState.RUNNING, intent=intent(NOW))
    told = good_look("n1", word(action, scheduled_at=later(-600)))
    first = settle(make_view(make_node("n1"), actions=[action]), {"n1": told}, now=later(10))
    second = settle(first.view, {"n1": told}, now=later(20))

    assert later(-600) == first.view.actions[action.action_id].scheduled_at
    assert ["at least 600 s behind ours, by the times of action " + action.action_id] == [
        problem.evidence for problem in _problems(first.view, "CLOCK_SKEW")
    ]
    assert second.change.empty


def test_row_28_an_agent_that_is_away_is_no_lost_primary() -> None:
    """The last primary cannot be asked: not known, not none; and the grace may be a cluster's own."""
    spec = ClusterSpec(namespace="prod", cluster_id="orders", primary_grace=3)
    looks = {"n1": failed_look("n1"), **good_looks("n2", "n3")}
    first = settle(make_view(*map(make_node, NODES), spec=spec), looks, now=later(10))
    early = settle(first.view, looks, now=later(12.9))
    second = settle(first.view, looks, now=later(13))

    assert ([], [], []) == (
        _problems(first.view, "PRIMARY_UNKNOWN"),
        _problems(early.view, "PRIMARY_UNKNOWN"),
        _problems(second.view, "NO_PRIMARY"),
    )
    assert [(Severity.WARNING, later(10))] == [
        (problem.severity, problem.since) for problem in _problems(second.view, "PRIMARY_UNKNOWN")
    ]
    assert later(13) == follow_up(first.view, now=later(10))


def test_row_29_a_new_unit_is_a_new_log_and_a_smaller_offset_is_told() -> None:
    """Of a primary: less than before in one unit is an event, in another unit nothing."""

    def at(value: int, unit: str) -> dict[str, Look]:
        one = shard(ShardRole.PRIMARY).evolve(commit_offset=Offset(unit=unit, value=value))
        return {"n1": good_look("n1", shards=ShardsInfo(shards=(one,)))}

    view = settle(make_view(make_node("n1")), at(1_000, "seconds"), now=later(10)).view
    other_unit = settle(view, at(5, "offset"), now=later(20))
    back = settle(view, at(999, "seconds"), now=later(20))

    assert [] == _problems(other_unit.view, "OFFSET_WENT_BACK")
    assert ["OFFSET_WENT_BACK"] == [
        draft.data["code"] for draft in back.change.drafts if draft.type is EventType.PROBLEM_RAISED
    ]


def test_row_30_shards_go_with_a_good_answer_only() -> None:
    """An answer without the shard removes it, with an event; an answer that failed does not."""
    failed = settle(make_view(make_node("n1")), {"n1": good_look("n1", shards=Failure(reason="x"))}, now=later(10))
    gone = settle(make_view(make_node("n1")), {"n1": good_look("n1", shards=ShardsInfo())}, now=later(10))

    assert (1, 0) == (len(failed.view.nodes["n1"].shards), len(gone.view.nodes["n1"].shards))
    assert (0, 1) == tuple(
        sum(draft.type is EventType.SHARD_REMOVED for draft in one.change.drafts) for one in (failed, gone)
    )


def test_row_32_another_protocol_is_told_once_and_forgotten_in_an_hour() -> None:
    """Since when, and what it was; INFO, so that the health does not suffer; later it clears by itself."""
    first = settle(make_view(make_node("n1")), {"n1": _with("n1", protocol=Protocol.A)}, now=later(10))
    same = settle(first.view, {"n1": _with("n1", protocol=Protocol.A)}, now=later(3_609))
    over = settle(first.view, {"n1": _with("n1", protocol=Protocol.A)}, now=later(3_610))

    assert [(Severity.INFO, "protocol A instead of B since 2026-03-01T12:00:10Z")] == [
        (problem.severity, problem.evidence) for problem in _problems(first.view, "AGENT_PROTOCOL_CHANGED")
    ]
    assert same.change.empty
    assert [EventType.PROBLEM_CLEARED] == [draft.type for draft in over.change.drafts]


def test_seen_09_an_arbiter_does_not_hide_the_others() -> None:
    """It is UNKNOWN without store and shards; the set has its primary and all that the others tell."""
    broken = Failure(reason="HTTP 500", status=500)
    arbiter = _with("n3", status=NodeStatus.UNKNOWN, status_text="state 7").evolve(store=broken, shards=broken)
    settled = settle(make_view(*map(make_node, NODES)), {**good_looks("n1", "n2"), "n3": arbiter}, now=later(10))

    assert settled.view.state is not None
    assert ({"HEALTHY": 2, "UNKNOWN": 1}, 1) == (settled.view.state.nodes_by_status, settled.view.state.primaries)
    assert ["n3"] == [problem.node_id for problem in _problems(settled.view, "NODE_UNHEALTHY")]


def test_seen_04_membership_is_judged_by_what_is_observed() -> None:
    """A `cluster.add` that ended DONE makes no node a member: its own status does."""
    action = make_action(1, node_id="n1", state=ActionState.RUNNING)
    looks = {
        "n1": good_look("n1", word(action, state=ActionState.DONE)),
        "n2": _with("n2", status=NodeStatus.NOT_IN_CLUSTER),
    }
    settled = settle(make_view(make_node("n1"), make_node("n2"), actions=[action]), looks, now=later(10))

    assert ActionState.DONE is settled.view.actions[action.action_id].state
    assert ["n2"] == [problem.node_id for problem in _problems(settled.view, "NODE_NOT_IN_CLUSTER")]
