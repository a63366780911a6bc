from __future__ import annotations

from dataclasses import replace

import pytest

from blocks.models.cluster import ClusterSpec, ClusterState, Health
from blocks.models.node import Node, NodeStatus, Offset, Shard, ShardRole
from blocks.models.view import ClusterView
from doubles.views import NOW, later, make_node, make_view
from tasks.decide.aggregate import aggregate

P, S, R = ShardRole.PRIMARY, ShardRole.SECONDARY, ShardRole.RECOVERING


def _broker(node_id: str, role: ShardRole, behind: int | None = None, **fields: object) -> Node:
    lag = None if behind is None else Offset(unit="messages", value=behind)
    shards = tuple(
        Shard(shard_id=f"orders/{number}", role=role, commit_offset=Offset(unit="offset", value=9), lag=lag)
        for number in range(3)
    )
    return make_node(node_id, **{"store_id": "Kafka", "shards": shards, **fields})


def _after(view: ClusterView, seconds: float) -> ClusterState:
    """The cluster's state when it has been like this for so long."""
    return aggregate(replace(view, state=aggregate(view, now=NOW)), now=later(seconds))


def _said(state: ClusterState) -> list[tuple[str, str | None, str | None]]:
    return [(one.code, one.node_id, one.cause) for one in state.problems]


def test_copies_that_are_not_in_sync_are_a_problem() -> None:
    """Not at once: a moment of it is normal. Then each node that has some says how many, and the cluster is DEGRADED."""
    view = make_view(_broker("n1", P), _broker("n2", R), _broker("n3", S))
    (problem,) = _after(view, 30).problems

    assert ([], Health.DEGRADED) == (_said(_after(view, 29)), _after(view, 30).health)
    assert ("COPIES_NOT_IN_SYNC", "n2") == (problem.code, problem.node_id)
    assert "3 of its 3 copies: orders/0, orders/1, orders/2" == problem.evidence


def test_copies_not_in_sync_of_a_node_that_is_ill_come_of_that() -> None:
    """One incident; a lag of the same node comes of it too."""
    spec = ClusterSpec(namespace="prod", cluster_id="orders", lag_limits={"messages": 5})
    ill = make_view(_broker("n1", P), _broker("n2", R, 6, status=NodeStatus.UNHEALTHY), _broker("n3", R, 6), spec=spec)

    assert {
        ("NODE_UNHEALTHY", "n2", None),
        ("COPIES_NOT_IN_SYNC", "n2", "NODE_UNHEALTHY"),
        ("LAG_ABOVE_LIMIT", "n2", "NODE_UNHEALTHY"),
        ("COPIES_NOT_IN_SYNC", "n3", None),
        ("LAG_ABOVE_LIMIT", "n3", "COPIES_NOT_IN_SYNC"),
    } == {one for one in _said(_after(ill, 60)) if one[1] is not None}


def test_copies_that_may_be_out_of_sync() -> None:
    """Those of a node that is joining, of one that does not count, and those that could not be read."""
    stale = tuple(shard.evolve(stale_since=NOW) for shard in _broker("n4", R).shards)
    spec = ClusterSpec(namespace="prod", cluster_id="orders", not_counted=("n3",))
    joins = _broker("n2", R, status=NodeStatus.JOINING_CLUSTER)
    view = make_view(_broker("n1", P), joins, _broker("n3", R), _broker("n4", R, shards=stale), spec=spec)

    assert "COPIES_NOT_IN_SYNC" not in {code for code, _, _ in _said(_after(view, 60))}


@pytest.mark.parametrize(
    ("limits", "behind", "evidence"),
    [
        ({}, 10**9, None),
        ({"bytes": 1}, 10**9, None),
        ({"messages": 100}, 100, None),
        ({"messages": 100}, 101, "over 100 messages behind its primary"),
    ],
)
def test_each_unit_has_its_own_limit(limits: dict[str, int], behind: int, evidence: str | None) -> None:
    """A lag in messages is compared with the limit in messages; without one there is none."""
    spec = ClusterSpec(namespace="prod", cluster_id="orders", lag_limits=limits)
    found = _after(make_view(_broker("n1", P), _broker("n2", S, behind), spec=spec), 60).problems

    assert ([] if evidence is None else [("LAG_ABOVE_LIMIT", evidence)]) == [(one.code, one.evidence) for one in found]


def test_a_lag_in_messages_is_over_well_below_its_limit() -> None:
    """As one in seconds is: around the limit it neither comes nor goes."""
    spec = ClusterSpec(namespace="prod", cluster_id="orders", lag_limits={"messages": 100})
    state = _after(make_view(_broker("n1", P), _broker("n2", S, 101), spec=spec), 60)
    nearly, below = (
        aggregate(make_view(_broker("n1", P), _broker("n2", S, lag), spec=spec, state=state), now=later(90))
        for lag in (81, 80)
    )

    assert ["not yet below 80 messages behind its primary again; the limit is 100 messages"] == [
        one.evidence for one in nearly.problems
    ]
    assert () == below.problems
