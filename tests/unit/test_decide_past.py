from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given

from blocks.models.cluster import ClusterSpec, Health
from blocks.models.event import EventDraft, EventType
from blocks.models.node import NodeStatus
from blocks.models.problem import Severity
from blocks.models.request import Request, WorkKind
from blocks.models.view import ClusterView
from doubles.streams import BORN, stream_of, values_of, views_of_cycles
from doubles.views import NOW, REF, discovery, found, later, make_node, make_view
from tasks.decide.aggregate import aggregate
from tasks.decide.diff import draft
from tasks.decide.history import Known, Past, rebuild
from tasks.decide.moves import steps
from tasks.decide.past import NOT_TOLD, Records, facts_of, paused_at, records_at

E = EventType


# -- single events ---------------------------------------------------------------------------------------------------------


def _after(*drafts: EventDraft, at: datetime = NOW) -> Past:
    return rebuild(at, stream_of([drafts], first=2), None, None)


def test_a_manifest_is_a_fact_with_who_applied_it() -> None:
    """As it was applied, without its version in the store."""
    data: dict[str, Any] = {"who": "ann", "before": None, "after": {"active": True, "interval": 30.0, "version": 4}}
    past = _after(EventDraft(type=E.CLUSTER_SPEC_APPLIED, stream=REF.key, subject=REF.key, data=data))
    spec = records_at(past, REF).spec

    assert Known({"active": True, "interval": 30.0}, NOW, who="ann") == past.facts["spec",]
    assert (ClusterSpec(namespace="prod", cluster_id="orders", interval=30.0)) == spec


def test_missing_and_returned() -> None:
    """A cluster is missing from the moment at which that was told until it is told to be back."""
    told = (*BORN, draft(REF, E.CLUSTER_MISSING, str(REF), source="prod/inventory", reason="gone"))
    missing = records_at(_after(*told), REF).discovery
    back = records_at(_after(*told, draft(REF, E.CLUSTER_RETURNED, str(REF), source="prod/inventory")), REF).discovery

    assert missing is not None
    assert back is not None
    assert (NOW, None) == (missing.missing_since, back.missing_since)


def test_a_pause_is_over_when_its_end_has_come() -> None:
    """Its end, who and why; nothing after the end, and nothing of pauses of other work."""
    data: dict[str, Any] = {"until": "2026-03-01T13:00:00Z", "who": "ann", "why": "disks"}
    told = EventDraft(type=E.WORK_PAUSED, stream=REF.key, subject=f"orchestrate:{REF.key}", data=data)
    other = EventDraft(type=E.WORK_PAUSED, stream=REF.key, subject="discover:prod/inventory", data=data)

    assert {"until": later(3_600), "who": "ann", "why": "disks"} == paused_at(_after(told))
    assert [{}, {}] == [paused_at(_after(told, at=later(3_600))), paused_at(_after(other))]


def test_the_present_pause_is_a_fact() -> None:
    """As the event that began it would have told it."""
    item = Request(
        kind=WorkKind.ORCHESTRATE, subject=REF.key, paused_until=later(3_600), paused_by="ann", paused_why="disks"
    )
    known = facts_of(Records(REF, item=item))["paused",]

    assert {"until": "2026-03-01T13:00:00Z", "who": "ann", "why": "disks"} == known.value


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"node_id": 7, "before": [], "after": "x"},
        {"node_id": "n1", "status": ["?"], "role": None, "shard_id": None},
        {"action_id": "x", "state": "NEW_STATE", "state_before": {}},
        {"code": "NEW_CODE", "severity": "awful", "node_id": "n1"},
        {"before": {"status": 1}, "after": None, "until": "soon"},
    ],
)
@pytest.mark.parametrize("type_", EventType)
def test_odd_events_stop_nobody(type_: EventType, data: dict[str, Any]) -> None:
    """What another version wrote (other words, missing parts) still makes records that can be shown."""
    told = EventDraft(type=type_, stream=REF.key, subject=f"orchestrate:{REF.key}", data=data)
    past = _after(*BORN, told)
    records = records_at(past, REF)

    assert REF == records.ref
    assert {} == paused_at(past)
    assert all(node.node_id == node_id for node_id, node in records.nodes.items())


def test_unknown_types_are_passed_over() -> None:
    """An event of a type that this version does not know moves nothing."""
    event = stream_of([BORN])[1].evolve(type="io.replicante.cluster.renamed.v7")

    assert () == steps(event)


# -- records ---------------------------------------------------------------------------------------------------------------


@given(views_of_cycles())
def test_facts_and_records_say_the_same(view: ClusterView) -> None:
    """What records say of the past is, as facts again, what was known."""
    facts = facts_of(Records.of(view))
    records = records_at(Past(later(60), facts), REF)

    assert values_of(facts) == values_of(facts_of(records))


def test_records_have_counts() -> None:
    """Health, problems worst first with their remedy, counts of nodes and shards."""
    view = make_view(make_node("n1"), make_node("n2", status=NodeStatus.UNREACHABLE), make_node("n3"))
    view = replace(view, state=aggregate(view, now=NOW))
    state = records_at(Past(later(60), facts_of(Records.of(view))), REF).state

    assert state is not None
    assert (Health.DEGRADED, 3, 2, 1, 1) == (
        state.health, state.nodes_total, state.nodes_healthy, state.shards, state.primaries,
    )  # fmt: skip
    assert ["MAJORITY_AT_RISK", "NODE_UNREACHABLE"] == [problem.code for problem in state.problems]
    assert all(problem.remedy for problem in state.problems)


def test_a_cleared_problem_was_there_with_the_words_of_the_rules() -> None:
    """Its event tells only its code: severity, words and remedy are those of the rule; of an unknown code that is said."""
    cleared = (
        draft(REF, E.PROBLEM_CLEARED, str(REF), code="NO_PRIMARY", node_id=None),
        draft(REF, E.PROBLEM_CLEARED, str(REF), code="OLD_CODE", node_id="n1"),
    )
    past = rebuild(NOW, [], stream_of([cleared], first=5, since=later(9)), facts_of(Records(REF)))
    state = records_at(past, REF).state

    assert state is not None
    assert [("NO_PRIMARY", Severity.CRITICAL, "a shard has no primary"), ("OLD_CODE", Severity.WARNING, NOT_TOLD)] == [
        (problem.code, problem.severity, problem.description) for problem in state.problems
    ]


@pytest.mark.parametrize(("since", "expected"), [(None, NOW), ("soon", NOW), ("2026-03-01T11:59:50Z", later(-10))])
def test_since_when_a_problem_is_one(since: str | None, expected: datetime) -> None:
    """Since what its event says, for it may have been seen for a while; where it says nothing, since it was told."""
    raised = draft(REF, E.PROBLEM_RAISED, str(REF), code="NO_PRIMARY", node_id=None, severity="critical", since=since)
    state = records_at(_after(raised), REF).state

    assert state is not None
    assert [expected] == [problem.since for problem in state.problems]


def test_discovered_nodes_keep_their_labels() -> None:
    """Selecting by label works on the past as on the present."""
    told = discovery().evolve(nodes=(found("n1", labels={"zone": "a"}),))
    records = records_at(Past(NOW, facts_of(Records(REF, discovery=told))), REF)

    assert records.discovery is not None
    assert [{"zone": "a"}] == [node.labels for node in records.discovery.nodes]
