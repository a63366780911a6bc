from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from blocks.models.event import Event, EventType
from doubles.views import NOW, REF, later
from tasks.decide.history import Known, Past
from tasks.decide.moves import Gap, Key, Value
from tasks.decide.timeline import Difference, Way, differences, entries, folded, lines_of, named, short_type

E = EventType
NO, LOST = Gap.ABSENT, Gap.UNKNOWN


def event(type_: str, sequence: int = 2, at: datetime = NOW, **data: Any) -> Event:
    """An event of the cluster's stream."""
    return Event(
        event_id=str(sequence), type=type_, stream=REF.key, subject=str(REF), sequence=sequence, time=at, data=data
    )


def report(sequence: int, at: datetime, started_at: datetime, outcome: str = "success", **fields: Any) -> Event:
    """The report of a cycle."""
    told = {"started_at": started_at.isoformat(), "outcome": outcome, **fields}
    return event(E.CLUSTER_REPORT, sequence, at, report=told)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            event(E.NODE_STATUS_CHANGED, node_id="n1", before="HEALTHY", after="UNREACHABLE", reason="refused"),
            [("node n1", "HEALTHY", "UNREACHABLE", None, "refused")],
        ),
        (
            event(E.NODE_CHANGED, node_id="n1", before={"store_version": {"number": "6"}, "node_class": None},
                  after={"store_version": {"number": "7"}, "node_class": "big"}),
            [("node n1 node_class", NO, "big", None, None), ("node n1 store_version number", "6", "7", None, None)],
        ),
        (
            event(E.NODE_ADDED, node_id="n1", status="HEALTHY", agent_address="http://a"),
            [("node n1", NO, "HEALTHY", None, "at http://a")],
        ),
        (event(E.NODE_REMOVED, node_id="n1", status="HEALTHY"), [("node n1", "HEALTHY", NO, None, None)]),
        (
            event(E.SHARD_CHANGED, node_id="n1", shard_id="rs0", role="primary", role_before="secondary"),
            [("shard rs0 on n1", "secondary", "primary", None, None)],
        ),
        (
            event(E.SHARD_REMOVED, node_id="n1", shard_id="rs0"),
            [("shard rs0 on n1", LOST, NO, None, None)],
        ),
        (
            event(E.PROBLEM_RAISED, code="LAG", node_id="n1", severity="warning", description="late", evidence="9 s"),
            [("problem LAG on n1", NO, "warning", None, "late: 9 s")],
        ),
        (event(E.PROBLEM_CLEARED, code="LAG", node_id=None), [("problem LAG", "raised", "cleared", None, None)]),
        (
            event(E.PROBLEM_ACKNOWLEDGED, code="LAG", node_id="n1", who="ann", why="on it"),
            [("problem LAG on n1", "raised", "acknowledged", "ann", "on it")],
        ),
        (
            event(E.CLUSTER_HEALTH_CHANGED, before="UNKNOWN", after="HEALTHY"),
            [("health", NO, "HEALTHY", None, None)],
        ),
        (
            event(E.CLUSTER_SPEC_APPLIED, who="ann", before={"interval": 60, "version": 1, "labels": {"a": "1"}},
                  after={"interval": 30, "version": 2, "labels": {"a": "1", "b": "2"}}),
            [("spec interval", 60, 30, "ann", None), ("spec labels b", NO, "2", "ann", None)],
        ),
        (
            event(E.CLUSTER_DISCOVERY_CHANGED,
                  before={"source": "p/a", "nodes": [{"node_id": "n1", "agent_address": "x"}]},
                  after={"source": "p/b", "nodes": [{"node_id": "n1", "agent_address": "y"}]}),
            [("discovery nodes n1 agent_address", "x", "y", None, None), ("discovery source", "p/a", "p/b", None, None)],
        ),
        (event(E.CLUSTER_MISSING, reason="gone"), [("missing from its source", NO, True, None, "gone")]),
        (event(E.CLUSTER_DELETED, who="ann", why="old"), [("cluster", "known", NO, "ann", "old")]),
        (
            event(E.ACTION_FINISHED, action_id="a", kind="k", node_id="n1", state_before="RUNNING", state="FAILED",
                  who="core", why="its agent says so", error="disk"),
            [("action k on n1", "RUNNING", "FAILED", "core", "its agent says so, disk")],
        ),
        (
            event(E.ACTION_REFUSED, action_id="a", node_id=None, state="DONE", wanted="NEW", reason="no way back"),
            [("action a", "DONE", "DONE", None, "no way back")],
        ),
        (
            event(E.ROLLING_CHANGED, rolling_id="r", kind="k", state_before="RUNNING", state="FAILED", batch=1, batches=3,
                  who="core", why="no disk"),
            [("rolling k (r)", "RUNNING", "FAILED", "core", "no disk")],
        ),
        (
            event(E.ROLLING_CHANGED, rolling_id="r", kind="k", state_before="RUNNING", state="RUNNING", batch=1, batches=3),
            [("rolling k (r)", "RUNNING", "RUNNING", None, "1 of 3 batches done")],
        ),
        (report(2, NOW, NOW), []),
        (
            report(2, NOW, NOW, "failed", error="store", notes=["n"]),
            [("cycle", NO, "failed", None, "store, n")],
        ),
        (event("io.replicante.cluster.renamed.v3", who="bob"), [("cluster.renamed", NO, NO, "bob", None)]),
    ],
)  # fmt: skip
def test_lines(told: Event, expected: list[tuple[object, ...]]) -> None:
    """What, from, to, who and why, one change in a line; a good report is no change."""
    assert expected == [(line.what, line.before, line.after, line.who, line.why) for line in lines_of(told)]


@pytest.mark.parametrize("type_", EventType)
@pytest.mark.parametrize("data", [{}, {"before": 1, "after": [], "report": 7, "node_id": 3}, {"report": {"notes": 1}}])
def test_odd_events_have_lines(type_: EventType, data: dict[str, Any]) -> None:
    """Whatever another version wrote can be told."""
    assert all(line.what for line in lines_of(event(type_, **data)))


def test_what_one_cycle_saw_is_one_entry() -> None:
    """Events of one moment belong together, and so does the report of the cycle that was under way."""
    told = [
        event(E.NODE_STATUS_CHANGED, 5, later(10), node_id="n1", before="HEALTHY", after="UNREACHABLE"),
        event(E.CLUSTER_HEALTH_CHANGED, 6, later(10), before="HEALTHY", after="DEGRADED"),
        report(7, later(11), later(9)),
        event(E.NODE_STATUS_CHANGED, 8, later(20), node_id="n1", before="UNREACHABLE", after="HEALTHY"),
    ]

    assert [(later(10), 5, 7, 2, "success"), (later(20), 8, 8, 1, None)] == [
        (entry.at, entry.first, entry.last, len(entry.lines), entry.cycle) for entry in entries(told)
    ]


def test_a_report_of_another_cycle_is_its_own() -> None:
    """A failed cycle is an entry; a good one that saw no change is none."""
    told = [
        event(E.CLUSTER_HEALTH_CHANGED, 5, later(10), before="HEALTHY", after="DEGRADED"),
        report(6, later(31), later(30)),
        report(7, later(41), later(40), "failed", error="lock"),
    ]

    assert [(later(10), "health"), (later(41), "cycle")] == [(entry.at, entry.lines[0].what) for entry in entries(told)]


def test_many_shards_that_moved_alike_are_one_line() -> None:
    """Of one node, from one role to one other; a few of them stay as they are."""
    moved = [
        line
        for number in range(6)
        for line in lines_of(
            event(E.SHARD_CHANGED, node_id="n1", shard_id=f"t/{number}", role_before="secondary", role="primary")
        )
    ]
    few = [
        line
        for number in range(3)
        for line in lines_of(event(E.SHARD_ADDED, node_id="n2", shard_id=f"t/{number}", role="secondary"))
    ]

    assert ["6 shards on n1", "shard t/0 on n2", "shard t/1 on n2", "shard t/2 on n2"] == [
        line.what for line in folded([*moved, *few])
    ]


def past(facts: Mapping[Key, Value], *unknown: Key) -> Past:
    """What was known at a moment."""
    return Past(NOW, {key: Known(value) for key, value in facts.items()}, frozenset(unknown))


def test_differences_between_two_moments() -> None:
    """What came, what went, what is otherwise, part by part; what is the same is left out."""
    before = past(
        {("health",): "HEALTHY", ("spec",): {"interval": 60, "active": True}, ("node", "n1", "status"): "HEALTHY"}
    )
    after = past(
        {("health",): "CRITICAL", ("spec",): {"interval": 30, "active": True}, ("node", "n2", "status"): "HEALTHY"}
    )

    assert (
        Difference(Way.CHANGED, "health", "HEALTHY", "CRITICAL"),
        Difference(Way.REMOVED, "node n1", "HEALTHY", NO),
        Difference(Way.ADDED, "node n2", NO, "HEALTHY"),
        Difference(Way.CHANGED, "spec interval", 60, 30),
    ) == differences(before, after)


def test_what_is_known_once_is_no_change() -> None:
    """A fact that is not known at one of the moments is told as that."""
    before = past({("node", "n1", "status"): "HEALTHY"}, ("node", "n1"))
    after = past({("node", "n1", "status"): "HEALTHY", ("node", "n1", "store_id"): "mongo"})

    assert (Difference(Way.UNKNOWN, "node n1 store_id", LOST, "mongo"),) == differences(before, after)
    assert () == differences(after, after)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (("health",), "health"),
        (("node", "n1", "status"), "node n1"),
        (("node", "n1", "role", "rs0"), "shard rs0 on n1"),
        (("problem", "X", "", ""), "problem X"),
        (("problem", "X", "n1", "s"), "problem X on n1/s"),
        (("action", "a"), "action a"),
    ],
)
def test_names_of_facts(key: Key, name: str) -> None:
    """As people say them."""
    assert name == named(key)


@pytest.mark.parametrize(("type_", "short"), [(E.NODE_ADDED, "node.added"), ("other", "other")])
def test_short_types(type_: str, short: str) -> None:
    """Without what all types have."""
    assert short == short_type(type_)
