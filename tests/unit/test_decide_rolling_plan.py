"""Plans of rolling actions: who is meant, in which order, whether a plan still fits, and whether the cluster is fit for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import InvalidInputError
from blocks.models.action import ActionState
from blocks.models.cluster import ClusterSpec, Health
from blocks.models.gate import Gate, GateKind
from blocks.models.node import NodeStatus, ShardRole
from blocks.models.problem import Pending, Problem, Severity
from blocks.models.rolling import Pace
from blocks.models.view import ClusterView
from doubles.actions import make_action
from doubles.rollings import RESTART, make_plan, make_rolling, plan_for
from doubles.views import NODES, NOW, discovery, later, make_node, make_view, shard, state
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.rolling_plan import disorderly, other_members, planned, prospect, selected, unwell

FIVE = ("n1", "n2", "n3", "n4", "n5")
ZONES = {"n1": "a", "n2": "b", "n3": "c", "n4": "a", "n5": "c"}


def view_of(names: Sequence[str] = NODES, primary: str | None = "n1", **parts: Any) -> ClusterView:
    """A healthy cluster with one primary."""
    nodes = [make_node(n, shards=(shard(ShardRole.PRIMARY if n == primary else ShardRole.SECONDARY),)) for n in names]
    return make_view(*nodes, **{"state": state(health=Health.HEALTHY), **parts})


def zoned(primary: str = "n1", zones: dict[str, str] = ZONES) -> ClusterView:
    """A cluster of five nodes in three zones."""
    labels = {node_id: {"zone": zone} for node_id, zone in zones.items()}
    return view_of(FIVE, primary, spec=ClusterSpec(namespace="prod", cluster_id="orders", node_labels=labels))


@pytest.mark.parametrize(
    ("view", "pace", "expected"),
    [
        (view_of(), {}, [("n2",), ("n3",), ("n1",)]),
        (view_of(primary="n2"), {}, [("n1",), ("n3",), ("n2",)]),
        (view_of(), {"primaries_last": False}, [("n1",), ("n2",), ("n3",)]),
        (view_of(FIVE), {"batch": 3}, [("n2", "n3", "n4"), ("n5",), ("n1",)]),
        (zoned(), {"by": "zone", "batch": 5}, [("n2",), ("n3", "n5"), ("n4",), ("n1",)]),
        (zoned(), {"by": "zone", "batch": 5, "primaries_last": False}, [("n1", "n4"), ("n2",), ("n3", "n5")]),
        (view_of(primary=None), {"by": "zone", "batch": 2}, [("n1", "n2"), ("n3",)]),
    ],
)
def test_the_order(view: ClusterView, pace: dict[str, Any], expected: list[tuple[str, ...]]) -> None:
    """Secondaries before the primary; zone by zone, the one with the primary last; no batch mixes them or is too big."""
    assert tuple(expected) == plan_for(view, **pace).batches


@given(
    primaries=st.sets(st.sampled_from(FIVE)),
    zones=st.fixed_dictionaries({n: st.sampled_from("abc") for n in FIVE}),
    nodes=st.sets(st.sampled_from(FIVE), min_size=1),
    pace=st.builds(Pace, batch=st.integers(1, 5), by=st.sampled_from([None, "zone"]), primaries_last=st.booleans()),
    done=st.integers(0, 5),
)
def test_a_new_plan_fits(primaries: set[str], zones: dict[str, str], nodes: set[str], pace: Pace, done: int) -> None:
    """Whatever the cluster: each node once, batches as big as they may be, and what is left of it is in order, at any time."""
    view = zoned("n0", zones)
    roles = {n: (shard(ShardRole.PRIMARY if n in primaries else ShardRole.SECONDARY),) for n in FIVE}
    view = replace(view, nodes={n: make_node(n, shards=roles[n]) for n in FIVE})
    plan = planned(view, RESTART, None, sorted(nodes), pace, CATALOGUE)

    assert nodes == set(plan.nodes)
    assert all(len(batch) <= pace.batch for batch in plan.batches)
    assert None is disorderly(view, make_rolling(plan=plan, batch=min(done, len(plan.batches))))
    assert None is other_members(view, plan)


@pytest.mark.parametrize(
    ("primary", "batch", "fits"),
    [("n1", 0, True), ("n3", 0, False), ("n3", 1, False), ("n3", 2, True), ("n2", 1, True)],
)
def test_an_election_matters_where_it_asks_for_another_order(primary: str, batch: int, fits: bool) -> None:
    """Of n2, n3, n1: one that makes a node primary before its turn while secondaries come later; no other."""
    assert fits is (disorderly(view_of(primary=primary), make_rolling(batch=batch)) is None)


def test_labels_that_move_nodes_matter() -> None:
    """A node that comes into another zone mixes its batch."""
    plan = plan_for(zoned(), by="zone", batch=5)
    moved_away = zoned(zones={**ZONES, "n5": "b"})

    assert "another order" in str(disorderly(moved_away, make_rolling(plan=plan)))


@pytest.mark.parametrize(
    ("names", "why"),
    [(NODES, None), ((*NODES, "n4"), "n4 came"), (NODES[:2], "n3 went"), (("n1", "n2", "n9"), "n9 came and n3 went")],
)
def test_members(names: Sequence[str], why: str | None) -> None:
    """Any node that came or went, also one that is not acted on, makes it another cluster."""
    told = other_members(view_of(discovery=discovery(names)), make_plan())

    assert (told is None) if why is None else (why in str(told))


# -- who is meant ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, FIVE),
        ({"nodes": ["n3", "n1"]}, ("n1", "n3")),
        ({"selectors": ["zone in (a,b)"]}, ("n1", "n2", "n4")),
        ({"selectors": ["zone=a"], "where": ["roles.primary>0"]}, ("n1",)),
        ({"nodes": ["n1", "n2"], "where": ["status=HEALTHY", "version=6.0.0"]}, ("n1", "n2")),
    ],
)
def test_who_is_meant(choice: dict[str, Any], expected: tuple[str, ...]) -> None:
    """All conditions hold for them; without any, all nodes."""
    assert expected == selected(zoned(), NOW, **choice)


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"nodes": ["n1", "n9"]}, "has no node n9"),
        ({"selectors": ["zone=z"]}, "no node of cluster"),
        ({"selectors": ["zone in"]}, "label selector"),
        ({"where": ["colour=red"]}, "colour"),
    ],
)
def test_who_cannot_be_meant(choice: dict[str, Any], reason: str) -> None:
    """What is not there, or is no condition."""
    with pytest.raises(InvalidInputError, match=reason):
        selected(zoned(), NOW, **choice)


def test_a_node_that_was_not_looked_at_fits_no_condition() -> None:
    """Nothing is known of it; without conditions it is meant."""
    view = replace(view_of(), discovery=discovery(("n1", "n2", "n3", "new")))

    assert "new" not in selected(view, NOW, where=["status!=UNREACHABLE"])
    assert "new" in selected(view, NOW)


@pytest.mark.parametrize(
    ("kind", "args", "reason"),
    [
        ("core.replicante.io/debug.success", None, "is an action on clusters"),
        ("no such kind\n", None, "kind"),
        (RESTART, "x" * 70_000, "args are larger"),
        (RESTART, float("nan"), "JSON has no form"),
    ],
)
def test_what_cannot_be_planned(kind: str, args: Any, reason: str) -> None:
    """Said before anything is ordered."""
    with pytest.raises(InvalidInputError, match=reason):
        planned(view_of(), kind, args, NODES, Pace(), CATALOGUE)


# -- whether the cluster is fit ---------------------------------------------------------------------------------------------


def problem(code: str = "LAG", severity: Severity = Severity.WARNING, **fields: Any) -> Problem:
    """A problem."""
    return Problem(code=code, severity=severity, description="far behind", since=NOW, **fields)


def sick(*problems: Problem, **fields: Any) -> ClusterView:
    """A cluster with problems."""
    return view_of(state=state(health=Health.DEGRADED, problems=problems, **fields))


UNAVAILABLE = make_node("n2", status=NodeStatus.UNAVAILABLE, status_text="connection refused")


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (view_of(), []),
        (view_of(state=None), ["it was not looked at yet"]),
        (sick(problem(node_id="n2")), ["LAG n2: far behind"]),
        (sick(problem(node_id="n2", cause="NODE_UNREACHABLE")), []),
        (sick(problem("VERSION_SKEW", Severity.INFO)), []),
        (sick(pending=(Pending(code="NO_PRIMARY", since=NOW, until=later(9)),)), ["NO_PRIMARY, if it lasts"]),
        (sick(pending=(Pending(code="NO_PRIMARY", since=NOW),)), []),
        (make_view(UNAVAILABLE, state=state(health=Health.HEALTHY)), ["node n2 is UNAVAILABLE: connection refused"]),
        (view_of(discovery=discovery((*NODES, "n4"))), ["node n4 was not looked at yet"]),
        (
            make_view(make_node("n2", foreign_id="x"), state=state(health=Health.HEALTHY)),
            ["node n2 belongs to cluster x"],
        ),
        (make_view(state=state()), ["its health is UNKNOWN"]),
        (
            make_view(make_node("n1", pending_status=NodeStatus.UNAVAILABLE), state=state(health=Health.HEALTHY)),
            ["node n1 is UNAVAILABLE"],
        ),
    ],
)
def test_fitness(view: ClusterView, expected: list[str]) -> None:
    """Every node well, also as just seen; no problem that counts, and nothing that will be one if it lasts."""
    assert tuple(expected) == unwell(view)


def test_nodes_that_do_not_count_need_not_be_well() -> None:
    """As in majorities."""
    spec = ClusterSpec(namespace="prod", cluster_id="orders", not_counted=("n2",))
    assert () == unwell(make_view(make_node("n1"), UNAVAILABLE, state=state(health=Health.HEALTHY), spec=spec))


def test_what_was_there_when_it_was_forced_is_tolerated() -> None:
    """The same problem, and its node, do not count; another one does."""
    down = make_view(make_node("n1"), UNAVAILABLE, state=state(problems=(problem("STORE_UNAVAILABLE", node_id="n2"),)))
    down = replace(down, state=down.state.evolve(health=Health.DEGRADED) if down.state else None)
    plan = planned(down, RESTART, None, ["n1", "n2"], Pace(), CATALOGUE, tolerating=True)
    worse = replace(down, state=state(health=Health.DEGRADED, problems=(problem(node_id="n1"),)))

    assert ("STORE_UNAVAILABLE n2",) == plan.tolerated
    assert () == unwell(down, plan)
    assert 2 == len(unwell(worse, plan))


# -- what would keep it ----------------------------------------------------------------------------------------------------


def test_what_would_keep_it() -> None:
    """Each batch as if its turn were now: a freeze keeps all, a majority the second of a batch, an action its neighbours."""
    freeze = Gate(name="g", kind=GateKind.FREEZE, reason="disk", owner="ann", created_at=later(-9), created_by="ann")
    pairs = make_plan(("n2", "n3"), ("n1",), pace=Pace(batch=2))
    running = make_action(node_id="n2", kind=RESTART, state=ActionState.RUNNING)

    def rules(view: ClusterView, forced: str | None = None) -> list[tuple[str, str]]:
        return [(one.node_id, one.block.rule) for one in prospect(view, pairs, forced, NOW).hindrances]

    assert [("n3", "MAJORITY")] == rules(view_of())
    assert [] == rules(view_of(), "disks")
    assert [("n2", "FREEZE"), ("n3", "FREEZE"), ("n1", "FREEZE")] == rules(view_of(gates=(freeze,)), "disks")
    assert [("n3", "MAJORITY"), ("n1", "MAJORITY")] == rules(view_of(actions=[running]))


def test_a_dry_run_shows_the_health() -> None:
    """With the digest of the very plan."""
    found = prospect(sick(problem(node_id="n2")), make_plan(), None, NOW)

    assert (Health.DEGRADED, ("LAG n2: far behind",), make_plan().digest) == (found.health, found.unwell, found.digest)
