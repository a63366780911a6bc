from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.cluster import Health
from blocks.models.node import NodeStatus, ShardRole, Version
from doubles.views import NODES, NOW, later, make_node, make_view, shard, state
from tasks.decide.aggregate import COUNTED_MAX, aggregate

P, R = ShardRole.PRIMARY, ShardRole.SECONDARY


@given(st.lists(st.sampled_from(NodeStatus), max_size=9))
def test_every_node_is_counted_once(statuses: list[NodeStatus]) -> None:
    """The counts by status add up to the number of nodes."""
    view = make_view(*(make_node(f"n{number}", status=status) for number, status in enumerate(statuses)))
    after = aggregate(view, now=NOW)

    assert len(statuses) == after.nodes_total == sum(after.nodes_by_status.values())
    assert statuses.count(NodeStatus.HEALTHY) == after.nodes_healthy


@pytest.mark.parametrize(
    ("statuses", "health"),
    [
        ([], Health.UNKNOWN),
        ([NodeStatus.HEALTHY] * 3, Health.HEALTHY),
        ([NodeStatus.HEALTHY] * 2 + [NodeStatus.JOINING_CLUSTER], Health.DEGRADED),
        ([NodeStatus.HEALTHY] * 4 + [NodeStatus.JOINING_CLUSTER], Health.HEALTHY),
        ([NodeStatus.HEALTHY] * 2 + [NodeStatus.UNREACHABLE], Health.DEGRADED),
        ([NodeStatus.HEALTHY] + [NodeStatus.UNREACHABLE] * 2, Health.DEGRADED),
        ([NodeStatus.HEALTHY] + [NodeStatus.UNAVAILABLE] * 2, Health.CRITICAL),
        ([NodeStatus.UNREACHABLE] * 3, Health.UNKNOWN),
        ([NodeStatus.UNREACHABLE], Health.UNKNOWN),
        ([NodeStatus.UNREACHABLE] * 2 + [NodeStatus.UNAVAILABLE], Health.UNKNOWN),
        ([NodeStatus.UNREACHABLE, NodeStatus.UNAVAILABLE], Health.UNKNOWN),
        ([NodeStatus.UNREACHABLE] + [NodeStatus.UNAVAILABLE] * 2, Health.CRITICAL),
        ([NodeStatus.NOT_IN_CLUSTER] * 3, Health.CRITICAL),
    ],
)
def test_health_is_that_of_the_worst_problem(statuses: list[NodeStatus], health: Health) -> None:
    """Critical problems make it CRITICAL, warnings DEGRADED, information does not matter; UNKNOWN where none is known to serve."""
    nodes = (make_node(f"n{number}", status=status) for number, status in enumerate(statuses, start=1))

    assert health is aggregate(make_view(*nodes), now=NOW).health


def test_shards_are_counted_once_and_primaries_each() -> None:
    """Copies of a shard are one shard, stale or not; a stale primary is not counted, nor a shard of a node that is no member."""
    nodes = [
        make_node("n1", shards=(shard(P, "a"), shard(R, "b"))),
        make_node("n2", shards=(shard(R, "a"), shard(P, "b"))),
        make_node("n3", shards=(shard(P, "c"), shard(P, "a")), shards_stale_since=NOW),
        make_node("n4", status=NodeStatus.NOT_IN_CLUSTER, shards=(shard(P, "d"),), shards_stale_since=NOW),
    ]
    after = aggregate(make_view(*nodes), now=NOW)

    assert (3, 2) == (after.shards, after.primaries)


@pytest.mark.parametrize(
    ("lags", "worst"), [((None, None), None), ((3, None), 3_000), ((3, 7), 7_000), ((-4, None), None)]
)
def test_worst_lag(lags: tuple[int | None, int | None], worst: int | None) -> None:
    """The largest known lag in milliseconds; unknown and impossible ones do not count."""
    nodes = [make_node(f"n{number}", shards=(shard(R, lag_s=lag),)) for number, lag in enumerate(lags)]

    assert worst == aggregate(make_view(*nodes), now=NOW).lag_worst_ms


def test_stores_are_named_each_once() -> None:
    """What the cluster is: every store and version once, sorted."""
    nodes = [make_node("n1"), make_node("n2"), make_node("n3", store_version=Version(number="5.0.1"))]

    assert ("mongo.replica 5.0.1", "mongo.replica 6.0.0") == aggregate(make_view(*nodes), now=NOW).stores


def test_health_keeps_its_beginning_while_it_stays() -> None:
    """`health_since` moves only when health changes."""
    view = make_view(*map(make_node, NODES))
    same = replace(view, state=state(health=Health.HEALTHY, health_since=later(-60)))
    other = replace(view, state=state(health=Health.DEGRADED, health_since=later(-60)))

    assert (later(-60), NOW) == (aggregate(same, now=NOW).health_since, aggregate(other, now=NOW).health_since)


def test_what_it_runs_on_is_counted() -> None:
    """How many nodes run which version, with which agent, of which class and group."""
    nodes = [
        make_node("n1", node_class="small", node_group="a"),
        make_node("n2", node_class="small", node_group="b", agent_version=Version(number="0.2.0")),
        make_node("n3", store_version=Version(number="5.0.1"), agent_version=None),
    ]
    after = aggregate(make_view(*nodes), now=NOW)

    assert {"mongo.replica 5.0.1": 1, "mongo.replica 6.0.0": 2} == after.versions
    assert {"0.1.0": 1, "0.2.0": 1} == after.agents
    assert ({"small": 2}, {"a": 1, "b": 1}) == (after.node_classes, after.node_groups)


def test_counts_are_bounded() -> None:
    """However many groups there are, the most frequent ones are counted."""
    nodes = [make_node(f"n{number}", node_group=f"g{max(number, 10):03}") for number in range(COUNTED_MAX + 20)]
    groups = aggregate(make_view(*nodes), now=NOW).node_groups

    assert (COUNTED_MAX, 11) == (len(groups), groups["g010"])
