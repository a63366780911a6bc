from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.action import ActionState
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import NamespaceSettings
from blocks.models.node import Node, NodeStatus, Offset, Rewind, Shard, ShardRole, Version
from blocks.models.problem import Pending, Problem, Severity
from blocks.models.request import Request, WorkState
from blocks.models.view import ClusterView
from doubles.actions import make_action
from doubles.views import NODES, NOW, discovery, later, make_node, make_view, shard, state
from tasks.decide.problems import find_problems as found_in
from tasks.decide.rules.base import EXAMPLES_MAX, scene_of
from tasks.decide.rules.table import RULES

P, R = ShardRole.PRIMARY, ShardRole.SECONDARY


def find_problems(view: ClusterView, *, now: datetime) -> tuple[tuple[Problem, ...], tuple[Pending, ...]]:
    """What is wrong with a cluster, and what is not said yet."""
    return found_in(scene_of(view, now=now))


def _cluster(*statuses: NodeStatus) -> ClusterView:
    """A cluster of nodes in these states, the first one primary."""
    nodes = [
        make_node(f"n{number}", status=status, shards=(shard(P if number == 1 else R),))
        for number, status in enumerate(statuses, start=1)
    ]
    return make_view(*nodes)


def _lasting(view: ClusterView) -> tuple[Problem, ...]:
    """What is wrong with a cluster that has been like this for a minute."""
    _, pending = find_problems(view, now=later(-60))
    return find_problems(replace(view, state=(view.state or state()).evolve(pending=pending)), now=NOW)[0]


def _found(view: ClusterView) -> list[tuple[str, str | None]]:
    return [(problem.code, problem.node_id) for problem in _lasting(view)]


def _changed(node: Node, **fields: Any) -> ClusterView:
    return make_view(node.evolve(**fields), *(make_node(other) for other in NODES if other != node.node_id))


def test_codes_are_unique_and_rules_are_complete() -> None:
    """Each rule has its own code, words and a remedy."""
    assert len(RULES) == len({rule.code for rule in RULES})
    assert all(rule.description and rule.remedy for rule in RULES)


def test_a_good_cluster_has_no_problem() -> None:
    """Nothing wrong, nothing said."""
    assert [] == _found(make_view(*map(make_node, NODES)))


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (NodeStatus.UNREACHABLE, "NODE_UNREACHABLE"),
        (NodeStatus.UNAVAILABLE, "STORE_UNAVAILABLE"),
        (NodeStatus.NOT_IN_CLUSTER, "NODE_NOT_IN_CLUSTER"),
        (NodeStatus.UNHEALTHY, "NODE_UNHEALTHY"),
        (NodeStatus.UNKNOWN, "NODE_UNHEALTHY"),
        (NodeStatus.INCOMPLETE, "NODE_INCOMPLETE"),
        (NodeStatus.JOINING_CLUSTER, "NODE_IN_TRANSIT"),
        (NodeStatus.LEAVING_CLUSTER, "NODE_IN_TRANSIT"),
    ],
)
def test_every_bad_status_is_a_problem_of_its_node(status: NodeStatus, code: str) -> None:
    """A node that is not HEALTHY is a problem with its own code."""
    assert (code, "n2") in _found(_cluster(NodeStatus.HEALTHY, status))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://db-1:8000/agent", "https://db-1:8000/agent"),
        ("https://ann:secret@db-1:8000?token=secret#secret", "https://db-1:8000"),
        ("db-1:8000?secret", "db-1:8000"),
        ("http://[secret", "an address that is no URL"),
    ],
)
def test_an_unreachable_node_says_what_was_tried(address: str, shown: str) -> None:
    """Where it was asked, without what may be secret, since when, and what came of it."""
    node = make_node(
        "n1", status=NodeStatus.UNREACHABLE, status_text="refused", info_stale_since=NOW, agent_address=address
    )
    found = {one.code: one.evidence for one in _lasting(make_view(node, *map(make_node, NODES[1:])))}

    assert f"{shown} is asked in vain since 2026-03-01T12:00:00Z: refused" == found["NODE_UNREACHABLE"]


@pytest.mark.parametrize(
    ("total", "serving", "code"),
    [
        (3, 3, None),
        (3, 2, "MAJORITY_AT_RISK"),
        (3, 1, "MAJORITY_LOST"),
        (3, 0, "CLUSTER_NOT_SERVING"),
        (4, 3, "MAJORITY_AT_RISK"),
        (4, 2, "MAJORITY_LOST"),
        (5, 4, None),
        (5, 3, "MAJORITY_AT_RISK"),
        (2, 1, None),
        (1, 1, None),
        (1, 0, "CLUSTER_NOT_SERVING"),
    ],
)
def test_majority(total: int, serving: int, code: str | None) -> None:
    """How many may be lost depends on the size; small clusters have no majority to lose."""
    view = _cluster(*[NodeStatus.HEALTHY] * serving, *[NodeStatus.UNHEALTHY] * (total - serving))
    of_cluster = [found for found, node_id in _found(view) if node_id is None]

    assert ([] if code is None else [code]) == of_cluster


@pytest.mark.parametrize(
    ("statuses", "codes"),
    [
        ("HUU", ["MAJORITY_UNKNOWN"]),
        ("HDU", ["MAJORITY_UNKNOWN"]),
        ("HDD", ["MAJORITY_LOST"]),
        ("HDDDU", ["MAJORITY_LOST"]),
        ("HHDDU", ["MAJORITY_UNKNOWN"]),
        ("DDU", ["MAJORITY_LOST", "CLUSTER_UNKNOWN"]),
        ("DUU", ["CLUSTER_UNKNOWN"]),
        ("UUU", ["CLUSTER_UNKNOWN"]),
        ("DU", ["CLUSTER_UNKNOWN"]),
        ("DD", ["CLUSTER_NOT_SERVING"]),
        ("HU", []),
    ],
)
def test_nodes_that_cannot_be_asked_may_serve(statuses: str, codes: list[str]) -> None:
    """What depends on dead agents is not known; what holds even if all of them serve is said. They are its symptoms."""
    words = {"H": NodeStatus.HEALTHY, "U": NodeStatus.UNREACHABLE, "D": NodeStatus.UNAVAILABLE}
    problems = [one for one in _lasting(_cluster(*map(words.__getitem__, statuses))) if "PRIMARY" not in one.code]

    assert codes == [one.code for one in problems if one.node_id is None]
    causes = {one.cause for one in problems if one.code == "NODE_UNREACHABLE"}
    assert causes == ({codes[0] if codes else None} if "U" in statuses else set())


def test_nodes_that_do_not_count() -> None:
    """They are in no majority, and what their agents say of their store is no problem; that an agent is dead is one."""
    spec = ClusterSpec(namespace="prod", cluster_id="orders", not_counted=("n3",))
    words = {"status": NodeStatus.UNKNOWN, "store_stale_since": later(-900), "shards_stale_since": later(-900)}
    arbiter = make_node("n3", shards=(), **words)
    view = make_view(make_node("n1"), make_node("n2"), arbiter, spec=spec)
    dead = make_view(*map(make_node, NODES[:2]), arbiter.evolve(status=NodeStatus.UNREACHABLE), spec=spec)
    alone = make_view(make_node("n1", status=NodeStatus.UNAVAILABLE), make_node("n3"), spec=spec)

    assert ([], [("NODE_UNREACHABLE", "n3")]) == (_found(view), _found(dead))
    assert "CLUSTER_NOT_SERVING" in {code for code, _ in _found(alone)}


def test_a_shard_without_primary_is_critical() -> None:
    """Secondaries alone serve no writes; the shards are named, a few of many."""
    shards = tuple(shard(R, f"s{number}") for number in range(EXAMPLES_MAX + 3))
    (problem,) = _lasting(make_view(make_node("n1", shards=shards)))

    assert ("NO_PRIMARY", Severity.CRITICAL) == (problem.code, problem.severity)
    assert problem.evidence.endswith("s0, s1, s2, s3, s4 and 3 more")


def test_two_primaries_of_one_shard_are_critical() -> None:
    """More than one primary is a partition until proven otherwise."""
    view = make_view(make_node("n1"), make_node("n2", shards=(shard(P),)))

    assert [("SEVERAL_PRIMARIES", None)] == _found(view)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (NodeStatus.UNREACHABLE, "PRIMARY_UNKNOWN"),
        (NodeStatus.INCOMPLETE, "PRIMARY_UNKNOWN"),
        (NodeStatus.UNAVAILABLE, "NO_PRIMARY"),
    ],
)
def test_a_primary_that_cannot_be_asked_is_not_gone(status: NodeStatus, code: str) -> None:
    """Its agent is away: nobody knows. Its store is down: there is no primary. Another one was elected: all is said."""
    old = make_node("n1", status=status, info_stale_since=NOW, shards_stale_since=NOW, shards=(shard(P),))
    alone = make_view(old, make_node("n2", shards=(shard(R),)), make_node("n3", shards=(shard(R),)))
    elected = make_view(old, make_node("n2", shards=(shard(P),)), make_node("n3", shards=(shard(R),)))
    codes = {"NO_PRIMARY", "PRIMARY_UNKNOWN"}

    assert {code} == codes & {found for found, _ in _found(alone)}
    assert set() == codes & {found for found, _ in _found(elected)}


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ((NodeStatus.UNAVAILABLE, NodeStatus.UNAVAILABLE), "NO_PRIMARY"),
        ((NodeStatus.UNAVAILABLE, NodeStatus.UNREACHABLE), "PRIMARY_UNKNOWN"),
        ((NodeStatus.UNREACHABLE, NodeStatus.UNREACHABLE), "PRIMARY_UNKNOWN"),
        ((NodeStatus.NOT_IN_CLUSTER, NodeStatus.NOT_IN_CLUSTER), None),
    ],
)
def test_a_shard_that_only_dead_nodes_have(statuses: tuple[NodeStatus, NodeStatus], code: str | None) -> None:
    """It does not drop out: down it has no primary, unreachable it may have one; what is no member keeps no shard alive."""
    old = [
        make_node(f"n{number}", status=status, shards_stale_since=NOW, shards=(shard(role, "x"),))
        for number, status, role in zip((1, 2), statuses, (P, R), strict=True)
    ]
    others = [make_node(f"n{number}", shards=(shard(P if number == 3 else R, "y"),)) for number in (3, 4, 5)]
    found = [one for one in _lasting(make_view(*old, *others)) if "PRIMARY" in one.code]

    assert ([] if code is None else [code]) == [one.code for one in found]
    assert all(" x" in one.evidence and "y" not in one.evidence.split(":")[-1] for one in found if code == "NO_PRIMARY")


def test_a_shard_that_could_not_be_read_is_no_evidence() -> None:
    """Its last good copy neither counts as a primary nor has a lag; its node may be its primary."""
    old = shard(P, lag_s=99).evolve(stale_since=NOW)
    elected = make_view(make_node("n1", shards=(old,)), make_node("n2", shards=(shard(P),)), make_node("n3"))
    alone = make_view(make_node("n1", shards=(old, shard(P, "y"))), make_node("n2", shards=(shard(R),)))

    assert ([], [("PRIMARY_UNKNOWN", None)]) == (_found(elected), _found(alone))


def test_an_action_that_does_not_end_is_stuck() -> None:
    """Longer than the namespace allows since it was approved, with its last error; one that waits for a person is not."""
    minutes = timedelta(minutes=61)
    stuck = make_action(1, state=ActionState.RUNNING, created_at=NOW - minutes, error="out of disk")
    waits = make_action(2, state=ActionState.PENDING_APPROVE, created_at=NOW - minutes)
    young = make_action(3, node_id="n2", created_at=NOW - timedelta(minutes=59))
    (problem,) = _lasting(make_view(*map(make_node, NODES), actions=[stuck, waits, young]))

    assert ("ACTION_STUCK", "n1") == (problem.code, problem.node_id)
    assert problem.evidence.endswith("is RUNNING: out of disk")


def test_stale_shards_are_no_evidence() -> None:
    """A primary of which only old facts are known does not count as a second one."""
    old = make_node("n1", status=NodeStatus.UNREACHABLE, info_stale_since=NOW, shards_stale_since=NOW)
    view = make_view(old, make_node("n2", shards=(shard(P),)), make_node("n3"))

    assert "SEVERAL_PRIMARIES" not in {code for code, _ in _found(view)}


@pytest.mark.parametrize(("lag_s", "found"), [(None, []), (30, []), (31, [("LAG_ABOVE_LIMIT", "n2")]), (-5, [])])
def test_lag_above_the_limit(lag_s: int | None, found: list[tuple[str, str]]) -> None:
    """A secondary further behind than the cluster's limit is a problem of its node."""
    view = make_view(make_node("n1"), make_node("n2", shards=(shard(R, lag_s=lag_s),)))

    assert found == _found(view)


def test_lag_has_the_clusters_own_limit_and_only_units_of_time() -> None:
    """The limit is the spec's, in seconds; a lag in messages is not compared with it."""
    spec = ClusterSpec(namespace="prod", cluster_id="orders", lag_limit_s=0.5)
    milliseconds = Shard(shard_id="rs0", role=R, lag=Offset(unit="milliseconds", value=501))
    messages = Shard(shard_id="rs0", role=R, lag=Offset(unit="messages", value=10**9))
    nodes = [make_node("n1"), make_node("n2", shards=(milliseconds,)), make_node("n3", shards=(messages,))]

    assert [("LAG_ABOVE_LIMIT", "n2")] == _found(make_view(*nodes, spec=spec))


@pytest.mark.parametrize("fields", [{"reported_node_id": "n9"}, {"reported_cluster_id": "payments"}])
def test_a_node_that_is_somebody_else(fields: dict[str, str]) -> None:
    """An agent that names another node or cluster than discovery does is found out."""
    assert [("IDENTITY_MISMATCH", "n2")] == _found(_changed(make_node("n2"), **fields))


def test_different_versions_are_worth_knowing() -> None:
    """A skew of versions is told, as information."""
    (problem,) = _lasting(_changed(make_node("n2"), store_version=Version(number="7.0.0")))

    assert ("VERSION_SKEW", Severity.INFO) == (problem.code, problem.severity)
    assert "mongo.replica 6.0.0, mongo.replica 7.0.0" == problem.evidence


def test_a_cluster_that_its_source_lost() -> None:
    """A cluster that discovery no longer tells of says so, and since when."""
    view = replace(make_view(*map(make_node, NODES)), discovery=discovery(missing_since=later(-60)))

    assert [("CLUSTER_MISSING", None)] == _found(view)


def test_a_problem_keeps_its_beginning() -> None:
    """Seen again it is the same problem with the same `since`; a new one begins now."""
    view = _cluster(NodeStatus.HEALTHY, NodeStatus.UNHEALTHY)
    (first,), _ = find_problems(view, now=later(-60))
    worse = replace(_cluster(NodeStatus.UNHEALTHY, NodeStatus.UNHEALTHY), state=state(problems=(first,)))
    since = {(problem.code, problem.node_id): problem.since for problem in find_problems(worse, now=NOW)[0]}

    assert (later(-60), NOW) == (since["NODE_UNHEALTHY", "n2"], since["NODE_UNHEALTHY", "n1"])


@given(st.lists(st.sampled_from(NodeStatus), max_size=6))
def test_worst_first_each_once(statuses: list[NodeStatus]) -> None:
    """Whatever is wrong: critical before warning before information, and no problem twice."""
    problems = _lasting(_cluster(*statuses))
    order = [Severity.CRITICAL, Severity.WARNING, Severity.INFO]

    assert sorted(problems, key=lambda problem: order.index(problem.severity)) == list(problems)
    assert len(problems) == len({problem.identity for problem in problems})
    assert all(isinstance(problem, Problem) for problem in problems)


def test_two_agents_with_one_id() -> None:
    """The first that the source tells of keeps the name, always; the other is a problem, with or without names of its own."""
    named = make_view(make_node("n1"), make_node("n2", reported_node_id="n1"), make_node("n3"))
    urls = ("http://a.test", "http://b.test")
    unnamed = make_view(*(make_node(url, agent_address=url, reported_node_id="x") for url in reversed(urls)))

    assert ("DUPLICATE_NODE_ID", "n2") in _found(named)
    assert [("DUPLICATE_NODE_ID", urls[0])] == [found for found in _found(unnamed) if found[0] == "DUPLICATE_NODE_ID"]


def test_a_log_that_became_shorter() -> None:
    """Told with from where to where, as long as the node remembers it."""
    back = Rewind(
        shard_id="rs0", before=Offset(unit="seconds", value=9), after=Offset(unit="seconds", value=7), at=later(-60)
    )
    (problem,) = _lasting(_changed(make_node("n1"), rewinds=(back,)))

    assert ("OFFSET_WENT_BACK", "n1") == (problem.code, problem.node_id)
    assert problem.evidence.startswith("rs0 went from 9 back to 7 seconds at 2026-")


@pytest.mark.parametrize(
    ("fields", "node", "why"),
    [
        ({"state": ActionState.RUNNING}, {"status": NodeStatus.UNREACHABLE}, "is RUNNING: its agent does not answer"),
        ({}, {"foreign_id": "billing"}, "is PENDING_SCHEDULE: its node is another cluster's"),
        ({}, {}, "is PENDING_SCHEDULE"),
    ],
)
def test_why_an_action_is_stuck(fields: dict[str, Any], node: dict[str, Any], why: str) -> None:
    """As far as it is known: its agent is away, its node is not ours; otherwise only where it stands."""
    stuck = make_action(1, created_at=NOW - timedelta(hours=2), **fields)
    view = make_view(make_node("n1", **node), *map(make_node, NODES[1:]), actions=[stuck])
    (problem,) = (problem for problem in _lasting(view) if problem.code == "ACTION_STUCK")

    assert problem.evidence.endswith(why)


def test_several_stuck_actions_are_one_problem_of_their_node() -> None:
    """The oldest is named, and what the next one waits for is known: it is on the node."""
    first = make_action(1, state=ActionState.RUNNING, created_at=NOW - timedelta(hours=3))
    second = make_action(2, created_at=NOW - timedelta(hours=2))
    (problem,) = _lasting(make_view(*map(make_node, NODES), actions=[second, first]))
    (waits,) = _lasting(make_view(*map(make_node, NODES), actions=[second, first.evolve(created_at=NOW)]))
    left = first.evolve(state=ActionState.CANCELLED, left_running=True)
    (behind,) = _lasting(make_view(*map(make_node, NODES), actions=[second, left]))

    assert problem.evidence.endswith("is RUNNING (and 1 more)")
    assert problem.evidence.startswith(f"action {first.action_id}")
    assert waits.evidence.endswith(f"it waits for action {first.action_id} on its node")
    assert behind.evidence.endswith(f"it waits for action {first.action_id} on its node")


@pytest.mark.parametrize(("state_", "codes"), [(WorkState.DEAD, [("WORK_DEAD", None)]), (WorkState.CLAIMED, [])])
def test_dead_work_is_a_problem_of_its_cluster(state_: WorkState, codes: list[tuple[str, None]]) -> None:
    """A cluster that is not looked after any more says so, with the last error."""
    item = Request(kind="orchestrate", subject="prod/orders", state=state_, error="killed its worker", finished_at=NOW)

    assert codes == _found(make_view(*map(make_node, NODES), dead_work=item))


def test_a_part_is_stale_for_a_while_before_that_is_a_problem() -> None:
    """Longer than the namespace says; actions alone count, and stand for themselves."""
    stale_after = NamespaceSettings().stale_after
    young = _changed(make_node("n2"), actions_stale_since=later(-stale_after + 1))
    (problem,) = _lasting(_changed(make_node("n2"), actions_stale_since=later(-stale_after)))

    assert [] == _found(young)
    assert ("STALE_FACTS", "n2", True) == (problem.code, problem.node_id, problem.root)


def test_what_cannot_be_asked_says_why() -> None:
    """Where all, or too many, cannot be asked, the reasons stand with the one problem that is shown."""
    why = {"status": NodeStatus.UNREACHABLE, "status_text": "TLS: the certificate comes from an unknown CA"}
    alone = _lasting(make_view(make_node("n1", **why)))
    most = _lasting(make_view(make_node("n1", **why), make_node("n2", **why), make_node("n3")))

    for problems, code in ((alone, "CLUSTER_UNKNOWN"), (most, "MAJORITY_UNKNOWN")):
        (found,) = [problem for problem in problems if problem.code == code]

        assert "n1: TLS: the certificate comes from an unknown CA" in found.evidence


def test_tls_material_that_cannot_be_used_any_more_is_a_problem() -> None:
    """While the last good one is still in use: said of the cluster, once, with the reason."""
    why = "ca_bundle: there is no usable PEM certificate in it"
    view = make_view(make_node("n1", tls_trouble=why), make_node("n2", tls_trouble=why), make_node("n3"))
    (found,) = [problem for problem in _lasting(view) if problem.code == "TLS_MATERIAL"]

    assert (None, why) == (found.node_id, found.evidence)
