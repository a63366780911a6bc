"""Those edge cases of the wire (`agent-protocol.md` 6) that are judged of several nodes, clusters or sources at once."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from blocks.models.action import ActionState
from blocks.models.event import EventType
from blocks.models.ids import ClusterRef
from blocks.models.node import Offset, Shard, ShardRole
from blocks.models.problem import Problem
from blocks.models.source import DiscoveredCluster, HttpDiscovery, Source
from blocks.models.view import ClusterView
from blocks.sources.records import Collector, read_page
from blocks.sources.settings import SourcesSettings
from doubles.actions import make_action
from doubles.views import NOW, discovery, failed_look, found, good_look, later, make_node, make_view, shard
from tasks.decide.discovery import discovered
from tasks.decide.settle import settle

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
    """Within a cluster the first word counts and the other is said; in two clusters a node is two nodes."""
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
    assert ["told of twice and not the same; the first counts"] == [bad.reason for bad in answer.rejected]
    assert ["orders", "billing"] == [ref.cluster_id for ref in outcome.new]


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

    assert (odd,) == settled.view.nodes["n1"].shards
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
