from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from blocks.models.action import ActionState
from blocks.models.declaration import Declaration
from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.models.node import Version
from blocks.models.report import Choice, CycleOutcome, Report
from blocks.models.source import SourceReport
from doubles.cli import Outside
from doubles.labelled import labelled, problem
from doubles.store_samples import KEY, NOW, action, later, node, spec, state

REPORT = Report(
    namespace="prod",
    cluster_id="orders",
    started_at=later(-30),
    outcome=CycleOutcome.FAILED,
    error="the store was away",
    phases_ms={"poll": 1_250.0, "save": 4.0},
    choice=Choice(block_nodes=True, reasons=("an action runs",)),
    nodes_synced=2,
)


@pytest.fixture
async def outside() -> Outside:
    """The labelled fleet; `orders` lags, has a running action and one that waits, and a cycle that failed."""
    outside = await labelled()
    await outside.put(
        Namespace(name="prod", settings=NamespaceSettings(probe_interval=7)),
        spec().evolve(declaration=Declaration(active=False)),
        state().evolve(
            health="CRITICAL", health_since=later(-600), lag_worst_ms=45_000, problems=(problem(None), problem("n1")),
            nodes_total=4, shards=2, primaries=1, stores=("mongo 8.0",),
        ),
        node(1).evolve(agent_version=Version(number="1.1")),
        node(2).evolve(agent_version=Version(number="1.0")),
        node(3).evolve(agent_version=Version(number="1.1")),
        action(7, ActionState.PENDING_APPROVE),
        SourceReport(namespace="prod", name="inventory", at=later(-300), duration_s=0.1, error="it is slow"),
        REPORT,
    )  # fmt: skip
    key = f"orchestrate:{KEY}"
    outside.store_.work[key] = outside.store_.work[key].evolve(
        next_at=later(40),
        started_at=later(-30),
        late_s=2,
        paused_until=later(3_600),
        paused_by="ann",
        paused_why="move",
    )
    return outside


async def page(outside: Outside, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a person sees, with runs of blanks as one."""
    code = await asyncio.to_thread(outside.replictl, *arguments)
    out = capsys.readouterr().out

    assert 0 == code
    return "\n".join(" ".join(line.split()) for line in out.splitlines())


async def machine(outside: Outside, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a machine sees."""
    await asyncio.to_thread(outside.replictl, *arguments, "-o", "json")
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "line",
    [
        "health CRITICAL for 10m",
        "nodes 3 of 4 healthy (3 HEALTHY)",
        "shards 2, 1 with a primary",
        "lag 45.0s, limit 30s",
        "store mongo 8.0",
        "agents 1 of 1.0, 2 of 1.1",
        "declared by a person",
        "probes every 7s",
        'declaration {"active": false}',
        "source prod/inventory, asked 5m ago",
        "source error it is slow",
        "next turn in 60m",
        "late 2.0 s",
        "paused until 2030-01-02T04:04:05Z by ann: move",
        "Problems",
        "Topology",
        "Unfinished actions: 1 running, 1 waiting",
        "Last report",
        "started 2030-01-02T03:03:35Z (30s ago)",
        "error the store was away",
        "poll 1.2s save 4ms",
        "held back: node actions (an action runs)",
        "Last events",
    ],
)
async def test_everything_is_on_the_page(outside: Outside, capsys: pytest.CaptureFixture[str], line: str) -> None:
    """Health, lag, versions, spec, source, timetable, problems, topology, actions, last report and events."""
    assert line in (await page(outside, capsys, "cluster", "orders")).splitlines()


async def test_problems_say_what_to_do(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its evidence and its remedy, in the table and under what it is about in the tree."""
    told = problem("n1").evolve(evidence="seen", remedy="mend it")
    await outside.put(state().evolve(problems=(told,)))
    lines = (await page(outside, capsys, "cluster", "orders")).splitlines()

    assert any(line.endswith("bad - seen mend it") for line in lines)
    assert any("- to do: mend it" in line for line in lines)


async def test_describe_is_the_same_page(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """`describe cluster` and `cluster` say the same, to people and to machines."""
    assert await page(outside, capsys, "cluster", "orders") == await page(
        outside, capsys, "describe", "cluster", "orders"
    )
    assert await machine(outside, capsys, "cluster", "orders") == await machine(
        outside, capsys, "describe", "cluster", "orders"
    )


async def test_the_page_for_machines(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """The manifest with a status, and every section whole."""
    value = await machine(outside, capsys, "cluster", "orders")

    assert {
        "apiVersion",
        "kind",
        "spec",
        "status",
        "work",
        "problems",
        "topology",
        "actions",
        "last_report",
        "events",
    } <= (value.keys())
    assert (3, 2, {"poll": 1_250.0, "save": 4.0}) == (
        len(value["topology"]["nodes"]), len(value["actions"]), value["last_report"]["phases_ms"],
    )  # fmt: skip


async def test_running_actions_come_first(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """What runs stands before what waits, although it is older."""
    value = await machine(outside, capsys, "cluster", "orders")

    assert ["RUNNING", "PENDING_APPROVE"] == [one["state"] for one in value["actions"]]


async def test_a_cluster_that_is_only_declared(capsys: pytest.CaptureFixture[str]) -> None:
    """There is a page before anything is known."""
    outside = Outside(now=NOW)
    await outside.put(Namespace(name="prod", settings=NamespaceSettings(probe_interval=0)), spec(cluster_id="new"))
    lines = (await page(outside, capsys, "cluster", "new")).splitlines()

    assert {
        "health UNKNOWN", "observed not yet", "source none tells of it", "probes none: the watch is off",
        "timetable it has no place there", "none",
    } <= set(lines)  # fmt: skip
    assert not {"Topology", "Last report"} & set(lines)


async def test_an_unknown_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence and exit code 1."""
    assert 1 == await asyncio.to_thread(Outside().replictl, "cluster", "prod/nope")
    assert "there is no cluster prod/nope" in capsys.readouterr().err


async def test_an_old_page_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Health and lag of a cluster that nobody has seen for long are those of then."""
    outside = Outside(now=NOW)
    old = state().evolve(health="HEALTHY", observed_at=later(-600), lag_worst_ms=0, health_since=later(-900))
    await outside.put(Namespace(name="prod"), spec(), old)
    lines = (await page(outside, capsys, "cluster", "orders")).splitlines()

    assert {
        "health HEALTHY? for 15m", "observed 10m ago: what is told here is as old", "lag 0ms 10m ago, limit 30s",
    } <= set(lines)  # fmt: skip
