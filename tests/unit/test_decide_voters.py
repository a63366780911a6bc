from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blocks.models.action import Action
from blocks.models.cluster import ClusterState, Health
from blocks.models.node import Node, NodeStatus, ShardRole
from blocks.models.view import ClusterView
from doubles.actions import make_action
from doubles.views import NOW, later, make_node, make_view, shard
from tasks.decide.aggregate import aggregate
from tasks.decide.gates import blocks

P, S = ShardRole.PRIMARY, ShardRole.SECONDARY
DOWN: dict[str, Any] = {"status": NodeStatus.UNAVAILABLE, "shards_stale_since": NOW}
AWAY: dict[str, Any] = {"status": NodeStatus.UNREACHABLE, "shards_stale_since": NOW, "info_stale_since": NOW}


def _set(name: str, **ill: dict[str, Any]) -> list[Node]:
    """A replica set of three, whose first node is primary."""
    return [
        make_node(node_id, shards=(shard(P if node_id.endswith("1") else S, name),), **ill.get(node_id, {}))
        for node_id in (f"{name}{number}" for number in (1, 2, 3))
    ]


def _after(view: ClusterView) -> ClusterState:
    return aggregate(replace(view, state=aggregate(view, now=NOW)), now=later(60))


def _majorities(view: ClusterView) -> list[tuple[str, str]]:
    return [(one.code, one.evidence) for one in _after(view).problems if one.code.startswith("MAJORITY")]


@pytest.mark.parametrize(
    ("ill", "expected"),
    [
        ({}, []),
        ({"a3": DOWN}, [("MAJORITY_AT_RISK", "of a: 2 of 3 nodes serve")]),
        ({"a2": DOWN, "a3": DOWN}, [("MAJORITY_LOST", "of a: 1 of 3 nodes serve: 1 HEALTHY, 2 UNAVAILABLE")]),
        ({"a1": DOWN, "a2": DOWN, "a3": DOWN}, [("MAJORITY_LOST", "of a: 0 of 3 nodes serve: 3 UNAVAILABLE")]),
        (
            {"a2": AWAY, "a3": AWAY},
            [("MAJORITY_UNKNOWN", "of a: 1 of 3 nodes serve, and 2 cannot be asked: 1 HEALTHY, 2 UNREACHABLE")],
        ),
        ({"a3": DOWN, "b3": DOWN}, [("MAJORITY_AT_RISK", "of a: 2 of 3 nodes serve; of b: 2 of 3 nodes serve")]),
    ],
)
def test_each_replica_set_has_its_own_majority(ill: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Of two sets of three in one cluster, what is lost of one is not made good by the other."""
    assert expected == _majorities(make_view(*_set("a", **ill), *_set("b", **ill)))


def test_a_majority_at_risk_comes_of_its_own_set() -> None:
    """A node of another set that is ill has nothing to do with it."""
    problems = _after(make_view(*_set("a", a3=DOWN), *_set("b", b1={"status": NodeStatus.UNHEALTHY}))).problems
    lone = _after(make_view(*_set("a", a3=DOWN), *_set("b"), make_node("x", status=NodeStatus.UNHEALTHY, shards=())))

    assert {"STORE_UNAVAILABLE"} == {one.cause for one in problems if one.code == "MAJORITY_AT_RISK"}
    assert ["a3"] == [one.cause_node_id for one in lone.problems if one.code == "MAJORITY_AT_RISK"]


def test_agents_that_give_each_copy_a_shard_of_its_own() -> None:
    """There is a set of all members, as where no shard is known: their majority is that of the cluster."""
    nodes = [make_node(f"n{number}", shards=(shard(P, f"n{number}:27017"),)) for number in (1, 2)]
    lost = make_node("n3", shards=(shard(S, "n3:27017"),), **DOWN)

    assert [("MAJORITY_AT_RISK", "2 of 3 nodes serve")] == _majorities(make_view(*nodes, lost))


def test_brokers_do_not_vote() -> None:
    """A Kafka of five that lost three serves what still has a leader: DEGRADED, and nothing about a majority."""
    alive = [make_node(f"k{at}", store_id="Kafka", shards=(shard(P if at == 1 else S, "t/0"),)) for at in (1, 2)]
    dead = [make_node(f"k{at}", store_id="Kafka", shards=(), **DOWN) for at in (3, 4, 5)]
    state = _after(make_view(*alive, *dead))

    assert (Health.DEGRADED, {"STORE_UNAVAILABLE"}) == (state.health, {one.code for one in state.problems})


@pytest.mark.parametrize(
    ("node_id", "ill", "expected"),
    [
        ("a2", {}, []),
        ("a2", {"a3": DOWN}, ["only 1 of 3 nodes of a would be left that serve and are not acted on: no majority"]),
        ("b2", {"a3": DOWN}, []),
        ("b2", {"a1": DOWN, "a2": DOWN, "a3": DOWN}, []),
    ],
)
def test_the_gate_guards_the_same_majorities(node_id: str, ill: dict[str, Any], expected: list[str]) -> None:
    """An action takes no majority of the set that its node is of; what another set lost keeps nobody from acting."""
    view = make_view(*_set("a", **ill), *_set("b", **ill))

    assert expected == [block.reason for block in blocks(view, _restart(node_id), (), NOW) if block.rule == "MAJORITY"]


def test_the_gate_is_careful_with_brokers() -> None:
    """Among them there may be a quorum of controllers: more than half of them are left alone."""
    view = make_view(*(make_node(f"k{at}", store_id="Kafka", shards=(shard(S, "t/0"),)) for at in (1, 2, 3)))

    assert ["MAJORITY"] == [block.rule for block in blocks(view, _restart("k1"), ("k2",), NOW)]


def _restart(node_id: str) -> Action:
    return make_action(1, node_id=node_id, kind="agent.replicante.io/service.restart")
