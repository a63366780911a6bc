from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from blocks.models.action import ActionState
from blocks.models.cluster import ClusterState, Discovery, Health
from blocks.models.node import NodeStatus, Offset, Shard, ShardRole, Version
from blocks.models.problem import Problem, Severity
from blocks.models.source import DiscoveredNode
from deployments.cli.clusters import cluster_rows
from deployments.cli.nodes import node_rows
from deployments.cli.problems import problem_rows
from doubles.cli import Outside
from doubles.labelled import listed
from doubles.store_samples import NOW, REF, action, item, later, node, spec

ISSUE_CLUSTER = {"namespace", "cluster", "health", "nodes_total", "nodes_healthy", "problems", "observed_at", "age_s"}
ISSUE_NODE = {
    "namespace", "cluster", "node", "status", "status_text", "store", "version", "agent", "shards", "roles", "lag_ms",
    "protocol", "stale",
}  # fmt: skip


def problem(code: str, severity: Severity, node_id: str | None = None, since_s: float = -60) -> Problem:
    """Something wrong."""
    return Problem(
        code=code,
        severity=severity,
        node_id=node_id,
        description=f"{code} it is",
        evidence="[red]seen[/red]",
        remedy="mend it",
        since=later(since_s),
    )


def state(cluster_id: str = "orders", **fields: Any) -> ClusterState:
    """A cluster that was seen 12 s ago."""
    basics = {"namespace": "prod", "cluster_id": cluster_id, "observed_at": later(-12), "version": 1}
    return ClusterState.model_validate({**basics, **fields})


def shard_behind(seconds: int) -> Shard:
    """A secondary that is so many seconds behind."""
    return Shard(shard_id=f"s/{seconds}", role=ShardRole.SECONDARY, lag=Offset(unit="seconds", value=seconds))


@pytest.fixture
async def outside() -> Outside:
    """A fleet of one cluster that is CRITICAL, and one that nobody has looked at."""
    outside = Outside()
    found = (
        DiscoveredNode(node_id="a", agent_address="http://a"),
        DiscoveredNode(node_id="b", agent_address="http://b"),
    )
    primary = Shard(shard_id="s/0", role=ShardRole.PRIMARY, commit_offset=Offset(unit="messages", value=7))
    late = Shard(shard_id="s/0", role=ShardRole.SECONDARY, lag=Offset(unit="seconds", value=2))
    await outside.put(
        spec(),
        spec(cluster_id="new"),
        Discovery(namespace="prod", cluster_id="new", source="prod/inventory", nodes=found, version=1),
        state(
            health=Health.CRITICAL,
            nodes_total=3,
            nodes_by_status={"HEALTHY": 2, "UNREACHABLE": 1},
            problems=(problem("MINOR", Severity.WARNING, "n1"), problem("MAJOR", Severity.CRITICAL)),
            stores=("MongoDB 8.0",),
        ),
        node(1).evolve(shards=(primary,), store_id="mongo", store_version=Version(number="8.0")),
        node(2).evolve(shards=(late,), shards_stale_since=later(-5)),
        node(3).evolve(shards=(), status=NodeStatus.UNREACHABLE, status_text="connection refused"),
        action(1, ActionState.RUNNING),
        action(2, ActionState.DONE),
    )
    return outside


async def test_cluster_rows(outside: Outside) -> None:
    """One row per cluster, seen or not, with the keys that scripts rely on."""
    new, orders = await cluster_rows(outside.store_, None, NOW)

    assert orders.keys() >= ISSUE_CLUSTER
    assert new.keys() == orders.keys()
    assert ("orders", "CRITICAL", 3, 2, 2, 12.0) == tuple(
        orders[key] for key in ("cluster", "health", "nodes_total", "nodes_healthy", "problems", "age_s")
    )
    assert ("new", "UNKNOWN", 2, 0, None) == tuple(
        new[key] for key in ("cluster", "health", "nodes_total", "nodes_healthy", "observed_at")
    )


async def test_node_rows(outside: Outside) -> None:
    """One row per node, with roles counted, the worst lag, and whether its facts are stale."""
    rows = await node_rows(outside.store_, REF, None, NOW)

    assert all(row.keys() >= ISSUE_NODE for row in rows)
    assert ["n1", "n2", "n3"] == [row["node"] for row in rows]
    assert [{"primary": 1}, {"secondary": 1}, {}] == [row["roles"] for row in rows]
    assert [(None, None, None), (None, 2_000, 5.0), (None, None, None)] == [
        (row["lag_ms"], row["lag_last_ms"], row["lag_age_s"]) for row in rows
    ]
    assert [False, True, False] == [row["stale"] for row in rows]
    assert ("mongo", "8.0", "http://127.0.0.1:8000") == tuple(rows[0][key] for key in ("store", "version", "agent"))


async def test_lag_of_a_silent_node_has_its_age(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """What was told before is not shown as that of now, and no condition on the lag of now finds it."""
    await outside.put(node(1).evolve(shards=(shard_behind(0),), info_stale_since=later(-600)))
    await outside.put(node(2).evolve(shards=(shard_behind(3), shard_behind(9).evolve(stale_since=later(-60)))))
    found = await listed(outside, capsys, "nodes", "orders", "--where", "lag_ms>=0s")
    await asyncio.to_thread(outside.replictl, "nodes", "orders")
    lines = capsys.readouterr().out.splitlines()

    assert [("n2", 3_000, 3_000)] == [(row["node"], row["lag_ms"], row["lag_last_ms"]) for row in found]
    assert " 0ms 10m ago  10m stale " in lines[1]


async def test_problem_rows_worst_first(outside: Outside) -> None:
    """Problems come with the worst first, each with its remedy and age."""
    rows = await problem_rows(outside.store_, None, None, NOW)

    assert [("MAJOR", None), ("MINOR", "n1")] == [(row["code"], row["node"]) for row in rows]
    assert ("mend it", 60.0) == (rows[0]["remedy"], rows[0]["age_s"])


async def test_a_cluster_that_was_not_seen_for_long(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Its health is that of then, and says so; one that is off, or looked at seldom, is not marked."""
    old = {"health": Health.HEALTHY, "observed_at": later(-400), "lag_worst_ms": 0}
    await outside.put(
        spec(cluster_id="old"), state("old", **old), spec(cluster_id="off").evolve(active=False), state("off", **old)
    )
    await outside.put(spec(cluster_id="seldom"), state("seldom", **old))
    await outside.store_.ensure_work([item("prod/seldom", 3_600.0)], NOW)
    rows = {row["cluster"]: row["unseen"] for row in await cluster_rows(outside.store_, None, NOW)}
    assert 0 == await asyncio.to_thread(outside.replictl, "clusters")

    assert {"new": False, "orders": False, "old": True, "off": False, "seldom": False} == rows
    marked = next(line for line in capsys.readouterr().out.splitlines() if "HEALTHY?" in line)
    assert " 0ms 6m ago " in marked
    assert " 6m stale " in marked


@pytest.fixture
async def incident(outside: Outside) -> Outside:
    """A third cluster of which no node serves, with what follows from it, and something else that is wrong."""
    gone = problem("GONE", Severity.CRITICAL).evolve(symptoms=2)
    symptoms = [problem("SILENT", Severity.WARNING, name).evolve(cause="GONE") for name in ("n1", "n2")]
    await outside.put(state("third", problems=(gone, *symptoms, problem("SKEW", Severity.INFO))))
    return outside


async def problems(outside: Outside, capsys: pytest.CaptureFixture[str], *words: str) -> list[tuple[str, str, str]]:
    """Cluster, code and node of the problems that `replictl problems` lists."""
    rows = await listed(outside, capsys, "problems", *words)
    return [(row["cluster"], row["code"], row["node"]) for row in rows]


async def test_symptoms_are_folded(incident: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Causes alone are listed; asked for, symptoms follow their cause, whatever else is worse than they are."""
    causes = [("orders", "MAJOR", None), ("third", "GONE", None), ("orders", "MINOR", "n1"), ("third", "SKEW", None)]
    symptoms = [("third", "SILENT", "n1"), ("third", "SILENT", "n2")]

    assert causes == await problems(incident, capsys)
    assert [*causes[:2], *symptoms, *causes[2:]] == await problems(incident, capsys, "--symptoms")


async def test_symptoms_without_their_cause_are_listed(incident: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Who filters for what is a symptom sees it."""
    assert [("third", "SILENT", "n2")] == await problems(incident, capsys, "--where", "node=n2")


async def test_clusters_count_causes_and_symptoms(incident: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Side by side, so that one incident does not look like many."""
    third = (await cluster_rows(incident.store_, None, NOW))[-1]

    assert (2, 2) == (third["problems"], third["symptoms"])
    assert 0 == await asyncio.to_thread(incident.replictl, "clusters")
    assert " 2 (+2) " in capsys.readouterr().out


async def test_rows_of_one_namespace(outside: Outside) -> None:
    """A namespace narrows listings."""
    await outside.put(spec(namespace="test", cluster_id="other"))
    rows = await cluster_rows(outside.store_, "test", NOW)

    assert ["other"] == [row["cluster"] for row in rows]


@pytest.mark.parametrize(
    ("written", "code"),
    [("prod/orders", 0), ("orders", 0), ("prod/nobody", 1), ("nobody", 1), ("PROD/x", 2), ("prod/..", 2)],
)
async def test_names_of_clusters(outside: Outside, written: str, code: int) -> None:
    """A full name or a clear id is enough; an unknown one fails; what can be none is wrong usage."""
    assert code == await asyncio.to_thread(outside.replictl, "topology", written)


async def test_ambiguous_id_lists_the_choices(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """An id that several namespaces have is refused with the full names; `--namespace` decides."""
    await outside.put(spec(namespace="test"))
    code = await asyncio.to_thread(outside.replictl, "nodes", "orders")
    said = capsys.readouterr().err
    decided = await asyncio.to_thread(outside.replictl, "nodes", "orders", "-n", "prod", "-o", "json")

    assert (1, 0) == (code, decided)
    assert "prod/orders, test/orders" in said
    assert 3 == len(json.loads(capsys.readouterr().out))
