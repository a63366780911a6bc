"""`roll`, `rolling`, and orders about rolling actions: what people type, and what they are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, Health
from blocks.models.namespace import Namespace
from blocks.models.node import NodeStatus
from blocks.models.rolling import Pace, Prospect, Rolling, RollingState
from doubles.cli import Outside, replictl
from doubles.rollings import RESTART, ROLLING_ID, make_plan, make_rolling
from doubles.views import NODES, discovery, make_node, state
from tasks.decide.rolling import actions_of

S = RollingState
Said = pytest.CaptureFixture[str]


@pytest.fixture
async def outside() -> Outside:
    """A healthy cluster of three, and flows that give back a rolling action."""
    outside = Outside()
    spec = ClusterSpec(namespace="prod", cluster_id="orders", version=1, node_labels={"n2": {"zone": "a"}})
    known = state(health=Health.HEALTHY)
    await outside.put(Namespace(name="prod", version=1), spec, discovery(), known, *map(make_node, NODES))

    def roll(**given: Any) -> Prospect:
        plan = make_plan()
        return Prospect(
            plan=plan, digest=plan.digest, health=Health.HEALTHY, rolling=make_rolling(state=S.PENDING_APPROVE)
        )

    def ordered(**given: Any) -> Rolling:
        return make_rolling()

    names = ("approve", "reject", "cancel", "retry", "pause", "resume")
    outside.flows |= {"roll": roll, **dict.fromkeys(names, ordered)}
    return outside


async def test_a_dry_run(outside: Outside, capsys: Said) -> None:
    """The plan, the health, what would keep it; nothing is ordered, and Prefect is not needed."""
    outside.prefect_down = True
    assert 0 == await replictl(outside, "roll", "orders", RESTART, "--dry-run", "--batch", "2", "-o", "json")
    shown = json.loads(capsys.readouterr().out)
    assert 0 == await replictl(outside, "roll", "orders", RESTART, "--dry-run", "--batch", "2")
    said = capsys.readouterr().out

    assert [(1, "n2", []), (1, "n3", ["MAJORITY"]), (2, "n1", [])] == [
        (row["batch"], row["node"], [block["rule"] for block in row["waits_for"]]) for row in shown["plan"]
    ]
    assert (None, "HEALTHY", [], 2) == (shown["rolling_id"], shown["health"], shown["unwell"], shown["pace"]["batch"])
    assert shown["digest"] in said
    assert "no majority" in said
    assert [] == outside.called


async def test_a_dry_run_says_why_it_would_be_refused(outside: Outside, capsys: Said) -> None:
    """What is not well."""
    await outside.put(make_node("n3", status=NodeStatus.UNAVAILABLE))
    assert 0 == await replictl(outside, "roll", "orders", RESTART, "--dry-run")
    assert "not fit: node n3 is UNAVAILABLE" in capsys.readouterr().out


async def test_ordering(outside: Outside, capsys: Said) -> None:
    """Exactly the plan that was made here, with all that was said; the next step is told."""
    words = ["--args", '{"x": 1}', "--by", "zone", "--failures", "1", "--settle", "5s", "--health-within", "2m",
             "--batch-within", "30m", "--any-order", "-l", "zone=a", "-m", "certificates"]  # fmt: skip
    assert 0 == await replictl(outside, "roll", "orders", RESTART, *words)
    [(name, given)] = outside.called

    assert ("roll", "prod/orders", RESTART, {"x": 1}, ["zone=a"], "certificates", "ann@here") == (
        name, given["cluster"], given["kind"], given["args"], given["selectors"], given["reason"], given["by"],
    )  # fmt: skip
    assert (
        Pace(by="zone", failures_max=1, settle_s=5, health_within_s=120, batch_within_s=1_800, primaries_last=False)
        == given["pace"]
    )
    assert 16 == len(given["digest"])
    assert f"replictl approve {ROLLING_ID}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["roll", "orders", RESTART, "--settle", "soon"], 2, "is no duration"),
        (["roll", "orders", RESTART, "--batch", "0"], 2, "batch"),
        (["roll", "orders", RESTART, "--by", "a b"], 2, "by"),
        (["roll", "orders", RESTART, "--args", "{"], 1, "no JSON"),
        (["roll", "orders", RESTART, "--node", "n9"], 1, "has no node n9"),
        (["roll", "nobody", RESTART], 1, "there is no cluster"),
        (["roll", "orders", "core.replicante.io/debug.ping"], 1, "is an action on clusters"),
        (["rolling", ROLLING_ID], 1, "no rolling action"),
        (["pause", ROLLING_ID], 2, "say why"),
        (["pause", ROLLING_ID, "-m", "x", "--for", "2h"], 2, "until somebody resumes it"),
    ],
)
async def test_what_cannot_be(outside: Outside, capsys: Said, words: list[str], code: int, reason: str) -> None:
    """Said, before anything is ordered."""
    assert code == await replictl(outside, *words)
    assert reason in " ".join(capsys.readouterr().err.split())
    assert [] == outside.called


async def test_the_list(outside: Outside, capsys: Said) -> None:
    """Unfinished ones; all with --all; of one namespace; how far each is."""
    over = make_rolling(rolling_id="00000000-0000-0000-0000-0000000000aa", state=S.DONE)
    await outside.put(make_rolling(batch=1, ended={"n2": ActionState.DONE}), over)
    shown = []
    for words in ([], ["--all"], ["-n", "test"]):
        assert 0 == await replictl(outside, "rolling", *words, "-o", "json")
        shown.append([(row["state"], row["batch"], row["nodes_done"]) for row in json.loads(capsys.readouterr().out)])
    assert 0 == await replictl(outside, "rolling")
    table = capsys.readouterr().out

    assert [("RUNNING", 1, 1)] == shown[0]
    assert (2, []) == (len(shown[1]), shown[2])
    assert "1/3" in table
    assert RESTART in table


async def test_one_with_its_progress(outside: Outside, capsys: Said) -> None:
    """Node by node: its batch, how its action stands, why it failed; and the history."""
    rolling = make_rolling(batch=1, ended={"n2": ActionState.DONE})
    first = actions_of(rolling.evolve(batch=0), now=outside.now)[0].evolve(state=ActionState.DONE)
    second = actions_of(rolling, now=outside.now)[0].evolve(state=ActionState.RUNNING, error="slow")
    await outside.put(rolling, first, second)
    assert 0 == await replictl(outside, "rolling", ROLLING_ID, "-o", "json")
    row = json.loads(capsys.readouterr().out)
    assert 0 == await replictl(outside, "rolling", ROLLING_ID)

    assert [(1, "n2", "DONE"), (2, "n3", "RUNNING"), (3, "n1", "not begun")] == [
        (one["batch"], one["node"], one["state"]) for one in row["progress"]
    ]
    assert "slow" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "name", "expected"),
    [
        (["approve", ROLLING_ID, "--digest", "ab"], "approve", {"digest": "ab"}),
        (["reject", ROLLING_ID], "reject", {}),
        (["cancel", ROLLING_ID, "-m", "not today"], "cancel", {"comment": "not today"}),
        (["retry", ROLLING_ID], "retry", {}),
        (["pause", ROLLING_ID, "-m", "lunch"], "pause", {"kind": "rolling", "name": ROLLING_ID, "reason": "lunch"}),
        (["resume", ROLLING_ID], "resume", {"kind": "rolling", "name": ROLLING_ID}),
    ],
)
async def test_orders(outside: Outside, capsys: Said, words: list[str], name: str, expected: dict[str, Any]) -> None:
    """By the same commands as for actions, clusters and sources; shown as what it is."""
    assert 0 == await replictl(outside, *words)
    [(called, given)] = outside.called
    said = capsys.readouterr().out

    assert (name, expected) == (called, {key: given[key] for key in expected})
    assert ROLLING_ID in said
    assert RESTART in said


async def test_why(outside: Outside, capsys: Said) -> None:
    """Of a rolling action by its id, and with its cluster."""
    waiting = make_rolling(state=S.PENDING_APPROVE)
    await outside.put(waiting)
    assert 0 == await replictl(outside, "why", ROLLING_ID, "-o", "json")
    one = json.loads(capsys.readouterr().out)
    assert 0 == await replictl(outside, "why", "orders", "-o", "json")
    cluster = json.loads(capsys.readouterr().out)

    assert (ROLLING_ID, "PENDING_APPROVE", "APPROVAL") == (one["rolling"], one["state"], one["reasons"][0]["rule"])
    assert ROLLING_ID == cluster["reasons"][0]["about"]
    assert [] == await outside.store_.find(Action)


@pytest.mark.parametrize(
    "words", [["cluster", "orders"], ["describe", "cluster", "orders"], ["describe", "ns", "prod"]]
)
async def test_pages_show_it(outside: Outside, capsys: Said, words: list[str]) -> None:
    """Unfinished ones, where there are some."""
    await outside.put(make_rolling(batch=1))
    assert 0 == await replictl(outside, *words, "-o", "json")
    row = json.loads(capsys.readouterr().out)
    assert 0 == await replictl(outside, *words)

    assert [ROLLING_ID] == [one["rolling_id"] for one in row["rollings"]]
    assert "Rolling actions" in capsys.readouterr().out
