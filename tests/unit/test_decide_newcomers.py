from __future__ import annotations

import pytest

from blocks.models.cluster import Health
from blocks.models.node import Node, NodeStatus
from doubles.views import NOW, make_node, make_view
from tasks.decide.aggregate import aggregate

NEW, JOINS = NodeStatus.NOT_IN_CLUSTER, NodeStatus.JOINING_CLUSTER


def _fresh(status: NodeStatus, *node_ids: str) -> list[Node]:
    """Machines that have nothing of the cluster."""
    return [make_node(node_id, status=status, shards=()) for node_id in node_ids]


@pytest.mark.parametrize(("status", "health"), [(NEW, Health.DEGRADED), (JOINS, Health.HEALTHY)])
def test_a_cluster_that_grows_has_lost_nothing(status: NodeStatus, health: Health) -> None:
    """One that serves and two that are no members yet are a cluster of one: no majority is gone or at risk."""
    state = aggregate(make_view(make_node("n1"), *_fresh(status, "n2", "n3")), now=NOW)

    assert (health, set()) == (state.health, {one.code for one in state.problems if one.node_id is None})


def test_members_are_counted_without_newcomers() -> None:
    """Of three members one is lost, whoever joins; a node that has a copy is a member, whatever it says."""
    lost = make_node("n3", status=NodeStatus.UNAVAILABLE)
    state = aggregate(make_view(make_node("n1"), make_node("n2"), lost, *_fresh(JOINS, "n4", "n5")), now=NOW)
    was = [make_node(node_id, status=NEW) for node_id in ("n2", "n3")]
    gone = aggregate(make_view(make_node("n1"), *was), now=NOW)

    assert ["2 of 3 nodes serve"] == [one.evidence for one in state.problems if one.code == "MAJORITY_AT_RISK"]
    assert ("MAJORITY_LOST", Health.CRITICAL) == (gone.problems[0].code, gone.health)


def test_nodes_of_which_nobody_made_a_cluster_do_not_serve() -> None:
    """Newcomers alone are no cluster that is well."""
    state = aggregate(make_view(*_fresh(NEW, "n1", "n2", "n3")), now=NOW)
    some = aggregate(make_view(make_node("n1", status=NodeStatus.UNHEALTHY), *_fresh(NEW, "n2")), now=NOW)

    assert ("none of 3 nodes serves: none is a member", Health.CRITICAL) == (state.problems[0].evidence, state.health)
    assert "none of 2 nodes serves: 1 UNHEALTHY, 1 no member yet" == some.problems[0].evidence
