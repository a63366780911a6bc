"""The gates in front of every actor: what people said, budgets, and the health of the cluster."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec
from blocks.models.gate import Gate, GateKind, Weekly
from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.models.node import Node, NodeStatus, Shard, ShardRole
from blocks.models.view import ClusterView, in_front_of
from doubles.actions import make_action
from doubles.views import NODES, NOW, discovery, later, make_node, make_view
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.choose import choose
from tasks.decide.gates import blocks, closed

RESTART = "agent.replicante.io/service.restart"
P, S = ShardRole.PRIMARY, ShardRole.SECONDARY
OLD = Shard(shard_id="rs0", role=S, stale_since=NOW)


def gate(kind: GateKind, **fields: Any) -> Gate:
    """A gate that is open for an hour."""
    basics = {"name": "g", "kind": kind, "reason": "because", "owner": "ann", "created_at": NOW, "created_by": "ann"}
    return Gate.model_validate({**basics, "expires_at": later(3_600), **fields})


def restart(number: int = 1, node_id: str | None = "n1", **fields: Any) -> Action:
    """An action that keeps its node from serving."""
    return make_action(number, node_id=node_id, kind=RESTART, **fields)


def node(node_id: str, role: ShardRole = S, **fields: Any) -> Node:
    """A healthy node with a copy of the only shard."""
    return make_node(node_id, shards=(Shard(shard_id="rs0", role=role),), **fields)


def rules(view: ClusterView, action: Action, *disturbed: str) -> list[str]:
    """What keeps it from beginning."""
    return [block.rule for block in blocks(view, action, disturbed, NOW)]


THREE = make_view(node("n1", P), node("n2"), node("n3"))


# -- what people said ------------------------------------------------------------------------------------------------------


def test_nothing_keeps_an_action_of_a_healthy_cluster() -> None:
    """No gates, no budget, and enough that serves without the node."""
    assert [] == rules(THREE, restart())


@pytest.mark.parametrize("kind", [GateKind.FREEZE, GateKind.BLACKOUT])
@pytest.mark.parametrize(
    "action", [restart(), restart(forced="now"), restart(node_id=None)], ids=["node", "forced", "cluster"]
)
def test_closed_by_people(kind: GateKind, action: Action) -> None:
    """Actions on nodes and on the cluster alike, forced ones too; the reason says who and why, and until when."""
    (block,) = blocks(make_view(*THREE.nodes.values(), gates=(gate(kind),)), action, (), NOW)

    assert (kind.value.upper(), later(3_600)) == (block.rule, block.until)
    assert "ann): because" in block.reason


def test_outside_its_windows() -> None:
    """Where there are windows one must be open; when the first opens is said. One that has ended for good counts no more."""
    closed_now = gate(GateKind.MAINTENANCE, starts_at=later(600))
    nights = gate(
        GateKind.MAINTENANCE, name="h", weekly=Weekly(days=("mon",), at="12:00", minutes=60), expires_at=later(9e5)
    )
    ended = gate(GateKind.MAINTENANCE, name="i", created_at=later(-99), expires_at=later(-1))
    (block,) = closed([closed_now, nights, ended], NOW)

    assert ("OUTSIDE_WINDOW", later(600)) == (block.rule, block.until)
    assert [] == list(closed([closed_now, gate(GateKind.MAINTENANCE)], NOW))
    assert [] == list(closed([ended], NOW))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"namespace": "prod"}, True),
        ({"namespace": "test"}, False),
        ({"namespace": "prod", "cluster_id": "orders"}, True),
        ({"namespace": "prod", "cluster_id": "billing"}, False),
        ({"labels": {"env": "live"}}, True),
        ({"labels": {"env": "live", "tier": "1"}}, True),
        ({"labels": {"env": "test"}}, False),
    ],
)
def test_which_clusters_a_gate_is_for(fields: dict[str, Any], expected: bool) -> None:
    """By place and by labels, those of the manifest over those of the source."""
    spec = ClusterSpec(namespace="prod", cluster_id="orders", labels={"env": "live"})
    told = discovery(labels={"env": "test", "tier": "1"})

    assert expected is bool(in_front_of([gate(GateKind.FREEZE, **fields)], spec, told))


# -- budgets and health ----------------------------------------------------------------------------------------------------


def test_the_budget_of_a_cluster() -> None:
    """So many nodes at once: its own word over its namespace's; what disturbs nothing does not count."""
    own = ClusterSpec(namespace="prod", cluster_id="orders", disruption_max=1)
    five = [node("n1", P), *(node(f"n{number}") for number in range(2, 8))]
    strict = Namespace(name="prod", settings=NamespaceSettings(disruption_max_cluster=1))

    assert ["BUDGET"] == rules(make_view(*five, spec=own), restart(), "n5")
    assert ["BUDGET"] == rules(make_view(*five, namespace=strict), restart(), "n5")
    assert [] == rules(make_view(*five, namespace=strict, spec=own.evolve(disruption_max=2)), restart(), "n5")
    assert [] == rules(make_view(*five, spec=own), restart(), "n1")
    assert [] == rules(make_view(*five, spec=own), restart(forced="needed"), "n5")
    assert [] == rules(make_view(*five, spec=own), make_action(1), "n5")


@pytest.mark.parametrize(
    ("nodes", "disturbed", "expected"),
    [
        pytest.param([node("n1", P), node("n2"), node("n3", status=NodeStatus.UNAVAILABLE)], (), ["MAJORITY"], id="one is down"),
        pytest.param([node("n1", P), node("n2"), node("n3")], ("n2",), ["MAJORITY"], id="one is acted on"),
        pytest.param([node("n1"), node("n2")], (), [], id="of two the other stays"),
        pytest.param([node("n1"), node("n2")], ("n2",), ["LAST_COPY"], id="of two both"),
        pytest.param([node("n1")], (), ["LAST_COPY"], id="the only one"),
        pytest.param([node("n1", P), make_node("n2"), make_node("n3")], (), [], id="others have copies"),
        pytest.param([node("n1", P), make_node("n2", shards=()), make_node("n3", shards=())], (), ["LAST_COPY"], id="nobody else has one"),
        pytest.param([node("n1", P), node("n2", shards_stale_since=NOW), make_node("n3", shards=())], (), ["LAST_COPY"], id="of the other nothing is known"),
        pytest.param([node("n1", P), make_node("n2", shards=(OLD,)), make_node("n3", shards=())], (), ["LAST_COPY"], id="the other copy is stale"),
        pytest.param([node("n1", ShardRole.RECOVERING), make_node("n2", shards=()), make_node("n3", shards=())], (), [], id="a copy that is none"),
        pytest.param([node("n1", status=NodeStatus.UNHEALTHY), node("n2"), node("n3")], ("n2",), [], id="what is ill may be mended"),
    ],
)  # fmt: skip
def test_the_health_of_the_cluster(nodes: list[Node], disturbed: tuple[str, ...], expected: list[str]) -> None:
    """Not below the majority, and not the last healthy copy, unless it is forced; what disturbs nothing may always."""
    view = make_view(*nodes)

    assert expected == rules(view, restart(), *disturbed)
    assert [] == rules(view, restart(forced="I know"), *disturbed)
    assert [] == rules(view, make_action(1), *disturbed)


def test_a_node_that_is_taken_away() -> None:
    """By an action on the cluster: judged as an action on that node, also where its kind begins as harmless ones do."""
    home = Namespace(name="prod", settings=NamespaceSettings(harmless_actions=("core.",), disruption_max_cluster=1))
    view = make_view(node("n1", P), node("n2"), node("n3", status=NodeStatus.UNAVAILABLE), namespace=home)
    action = make_action(1, node_id=None, kind="core.replicante.io/platform.deprovision", args={"node_id": "n2"})
    found = [
        [block.rule for block in blocks(view, one, ("n1",), NOW, takes=takes)]
        for one in (action, action.evolve(forced="it burns"))
        for takes in ("n2", "n3", "n9")
    ]

    assert [["BUDGET", "MAJORITY", "LAST_COPY"], ["BUDGET"], ["BUDGET"], [], [], []] == found


def test_nodes_that_do_not_count_are_no_majority() -> None:
    """Two and one that is not counted are two nodes; acting on that one takes no majority, as of three it would."""
    spec = ClusterSpec(namespace="prod", cluster_id="orders", not_counted=("n3",))
    three = [node("n1", P), node("n2"), node("n3", status=NodeStatus.UNAVAILABLE)]
    four = [node("n1", P), node("n2"), node("n3"), node("n4", status=NodeStatus.UNAVAILABLE)]

    assert (["MAJORITY"], []) == (rules(make_view(*three), restart()), rules(make_view(*three, spec=spec), restart()))
    assert ["MAJORITY"] == rules(make_view(*four, spec=spec), restart())
    assert [] == rules(make_view(*four, spec=spec), restart(node_id="n3"))


def test_the_choice_counts_what_it_has_chosen() -> None:
    """Three restarts at once: one begins, the others are told why not, as data."""
    actions = [restart(number, node_id) for number, node_id in enumerate(NODES, start=1)]
    found = choose(make_view(*THREE.nodes.values(), actions=actions), CATALOGUE, now=NOW)

    assert [actions[0]] == list(found.actions)
    assert {one.action_id: ["MAJORITY"] for one in actions[1:]} == {
        action_id: [block.rule for block in why] for action_id, why in found.choice.blocked.items()
    }


def test_what_runs_or_may_run_counts() -> None:
    """Also one whose request may have arrived."""
    running = restart(2, "n2", state=ActionState.RUNNING)

    assert () == choose(make_view(*THREE.nodes.values(), actions=[restart(), running]), CATALOGUE, now=NOW).actions


def test_a_cluster_action_is_kept_too() -> None:
    """Frozen: it is not started, and the reason is in the choice."""
    action = make_action(1, node_id=None, kind="core.replicante.io/test.success", args=None)
    view = make_view(*THREE.nodes.values(), actions=[action], gates=(gate(GateKind.FREEZE),))
    found = choose(view, CATALOGUE, now=NOW)

    assert (None, ["FREEZE"]) == (found.start, [block.rule for block in found.choice.blocked[action.action_id]])


STATUSES = st.lists(
    st.sampled_from([NodeStatus.HEALTHY, NodeStatus.UNAVAILABLE, NodeStatus.UNHEALTHY]), min_size=3, max_size=7
)


@given(STATUSES, st.sets(st.integers(0, 6)), st.integers(1, 5))
def test_never_below_the_majority(statuses: list[NodeStatus], wanted: set[int], most: int) -> None:
    """Whatever is ordered at once: what is chosen leaves a majority that serves, or touches only what serves not anyway."""
    nodes = [node(f"n{number}", status=status) for number, status in enumerate(statuses)]
    actions = [restart(number + 1, f"n{number}") for number in sorted(wanted) if number < len(nodes)]
    spec = ClusterSpec(namespace="prod", cluster_id="orders", disruption_max=most)
    chosen = {one.node_id for one in choose(make_view(*nodes, actions=actions, spec=spec), CATALOGUE, now=NOW).actions}
    serving = {one.node_id for one in nodes if one.status is NodeStatus.HEALTHY}

    assert len(chosen) <= most
    assert not chosen & serving or len(serving - chosen) > len(nodes) // 2


def test_forever_is_no_end() -> None:
    """A freeze without end has no moment at which the action could begin."""
    (block,) = closed([gate(GateKind.FREEZE, expires_at=None)], NOW + timedelta(days=400))

    assert None is block.until
