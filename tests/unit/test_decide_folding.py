from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.cluster import Health
from blocks.models.event import EventType
from blocks.models.node import NodeStatus
from blocks.models.problem import Problem, Severity
from doubles.views import NODES, NOW, failed_look, good_look, good_looks, later, make_node, make_view, shard
from tasks.decide.aggregate import aggregate
from tasks.decide.folding import UNDER, folded
from tasks.decide.problems import ORDER
from tasks.decide.rules.table import RULES
from tasks.decide.settle import settle

SEVERITIES = {rule.code: rule.severity for rule in RULES}


def _problem(code: str, node_id: str | None = None) -> Problem:
    return Problem(code=code, severity=SEVERITIES[code], node_id=node_id, description="d", since=NOW)


def _causes(*problems: Problem) -> list[tuple[str, str | None, str | None, int]]:
    return [(one.code, one.node_id, one.cause, one.symptoms) for one in folded(problems)]


PLACES = st.tuples(st.sampled_from([rule.code for rule in RULES]), st.sampled_from([None, "n1", "n2"]))


def test_the_table_names_rules_and_has_no_circle() -> None:
    """Every cause is a rule, no rule leads back to itself, and none is a symptom of what is less severe."""
    assert {cause for causes in UNDER.values() for cause in causes} <= SEVERITIES.keys()
    assert all(ORDER[SEVERITIES[cause]] <= ORDER[SEVERITIES[code]] for code in UNDER for cause in UNDER[code])

    def reaches(code: str) -> set[str]:
        above = set(UNDER.get(code, ()))
        return above.union(*(reaches(cause) for cause in above)) if above else above

    assert all(code not in reaches(code) for code in UNDER)


def test_nodes_that_are_gone_are_one_incident() -> None:
    """Three unreachable nodes are the cluster that does not serve, with three symptoms."""
    nodes = [_problem("NODE_UNREACHABLE", node_id) for node_id in NODES]

    assert [("CLUSTER_NOT_SERVING", None, None, 3)] == _causes(_problem("CLUSTER_NOT_SERVING"), *nodes)[:1]
    assert {"CLUSTER_NOT_SERVING"} == {cause for _, _, cause, _ in _causes(_problem("CLUSTER_NOT_SERVING"), *nodes)[1:]}


def test_a_cause_on_a_node_is_that_of_the_same_node() -> None:
    """What is stale on a node comes of that node's store, not of another's."""
    found = _causes(_problem("STORE_UNAVAILABLE", "n1"), _problem("STALE_FACTS", "n1"), _problem("STALE_FACTS", "n2"))

    assert [
        ("STORE_UNAVAILABLE", "n1", None, 1),
        ("STALE_FACTS", "n1", "STORE_UNAVAILABLE", 0),
        ("STALE_FACTS", "n2", None, 0),
    ] == found


def test_a_symptom_of_a_symptom_is_folded_under_the_first_cause() -> None:
    """Stale since the store is down, which is down since the majority is gone: one cause with two symptoms."""
    found = _causes(_problem("MAJORITY_LOST"), _problem("STORE_UNAVAILABLE", "n1"), _problem("STALE_FACTS", "n1"))

    assert [
        ("MAJORITY_LOST", None, 2),
        ("STORE_UNAVAILABLE", "MAJORITY_LOST", 0),
        ("STALE_FACTS", "MAJORITY_LOST", 0),
    ] == [(code, cause, symptoms) for code, _, cause, symptoms in found]


@given(st.lists(PLACES, unique=True))
def test_folding_keeps_all_and_every_symptom_has_a_root(places: list[tuple[str, str | None]]) -> None:
    """Same problems, same order, the same again; causes stand for themselves, and their counts add up."""
    problems = tuple(_problem(*place) for place in places)
    once = folded(problems)
    roots = {(one.code, one.node_id) for one in once if one.root}

    assert [one.identity for one in problems] == [one.identity for one in once]
    assert once == folded(once)
    assert all((one.cause, one.cause_node_id) in roots for one in once if not one.root)
    assert sum(one.symptoms for one in once) == len(once) - len(roots)


def test_health_is_that_of_the_causes() -> None:
    """A cluster without majority is CRITICAL because of that alone."""
    nodes = [make_node("n1"), *(make_node(one, status=NodeStatus.UNAVAILABLE) for one in ("n2", "n3"))]
    state = aggregate(make_view(*nodes), now=NOW)

    assert (Health.CRITICAL, ["MAJORITY_LOST"]) == (state.health, [one.code for one in state.problems if one.root])
    assert 2 == state.problems[0].symptoms


def test_events_name_the_cause_and_each_problem_is_told_once() -> None:
    """Raised and cleared are events of each problem, with its cause; a cause that changes is saved without an event."""
    view = settle(make_view(*map(make_node, NODES)), good_looks(), now=NOW).view
    away = {"n2": failed_look("n2"), "n3": failed_look("n3")}
    one = settle(view, {**good_looks(), "n3": failed_look("n3")}, now=later(10))
    two = settle(one.view, {"n1": good_look("n1"), **away}, now=later(20))
    raised = [draft.data for draft in two.change.drafts if draft.type is EventType.PROBLEM_RAISED]
    again = settle(two.view, {"n1": good_look("n1"), **away}, now=later(30))

    assert [("MAJORITY_UNKNOWN", None), ("NODE_UNREACHABLE", "MAJORITY_UNKNOWN")] == [
        (data["code"], data["cause"]) for data in raised
    ]
    assert two.view.state is not None
    assert {"MAJORITY_UNKNOWN"} == {problem.cause for problem in two.view.state.problems if not problem.root}
    assert again.change.empty


@pytest.mark.parametrize(("silent", "cause"), [("n1", "NODE_UNREACHABLE"), ("n2", None)])
def test_an_unknown_primary_comes_of_the_node_that_may_be_it(silent: str, cause: str | None) -> None:
    """Its agent is away: one incident. That of a node without the shard is another one."""
    nodes = [make_node(one, shards=() if one == "n2" else (shard(),)) for one in (*NODES, "n4", "n5")]
    down = {"status": NodeStatus.UNREACHABLE, "info_stale_since": NOW}
    view = make_view(*(node.evolve(**down) if node.node_id == silent else node for node in nodes))
    if silent == "n2":  # one whose shards could not be read may be the primary, and is reachable
        view.nodes["n3"] = view.nodes["n3"].evolve(shards_stale_since=NOW)
    state = aggregate(replace(view, state=aggregate(view, now=NOW)), now=later(60))
    (unknown,) = (one for one in state.problems if one.code == "PRIMARY_UNKNOWN")

    assert (cause, silent if cause else None) == (unknown.cause, unknown.cause_node_id)
    assert Health.DEGRADED is state.health


def test_a_changed_cause_is_saved() -> None:
    """The same problems with another cause are a change of the record, and no event."""
    view = settle(make_view(*map(make_node, NODES)), {**good_looks(), "n3": failed_look("n3")}, now=NOW).view
    assert view.state is not None
    other = tuple(problem.evolve(cause="MAJORITY_LOST") for problem in view.state.problems)
    settled = settle(
        replace(view, state=view.state.evolve(problems=other)), {**good_looks(), "n3": failed_look("n3")}, now=later(9)
    )

    assert ((), False) == (settled.change.drafts, settled.change.empty)
    assert Severity.WARNING is other[0].severity
