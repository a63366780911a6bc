from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from blocks.models.problem import Acknowledgement, Problem, Severity
from doubles.cli import Outside
from doubles.labelled import labelled, listed
from doubles.store_samples import later, state

WORD = Acknowledgement(who="bob", why="on [it]", at=later(-300))


def problem(code: str, node_id: str | None, **fields: Any) -> Problem:
    """Something wrong."""
    return Problem(
        code=code, severity=Severity.WARNING, node_id=node_id, description="bad", since=later(-600), **fields
    )


@pytest.fixture
async def outside() -> Outside:
    """The labelled fleet, with two problems, one of which has been seen."""
    outside = await labelled()
    seen = problem("NODE_UNREACHABLE", "n1", acknowledged=WORD)
    await outside.put(state().evolve(problems=(seen, problem("OFFSET_WENT_BACK", "n2"))))
    outside.flows["acknowledge"] = lambda **given: (problem(given["code"], given["node"] or "n2"),)
    return outside


async def test_it_is_ordered_by_name(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """The flow gets the whole name of the cluster, the code as the table has it, who and why."""
    words = ("acknowledge", "orders", "offset_went_back", "-m", "restored")
    assert 0 == await asyncio.to_thread(outside.replictl, *words)
    plain = capsys.readouterr().out
    assert 0 == await asyncio.to_thread(outside.replictl, *words, "--node", "n1", "-o", "json")
    (row,) = json.loads(capsys.readouterr().out)

    assert [
        ("prod/orders", "OFFSET_WENT_BACK", node, "restored", "ann@here", 30.0, "replicore") for node in (None, "n1")
    ] == [
        tuple(given[name] for name in ("cluster", "code", "node", "reason", "by", "wait_s", "fleet"))
        for _, given in outside.called
    ]
    assert "OFFSET_WENT_BACK of prod/orders/n2 is cleared\n" == plain
    assert ("n1", True, "ann@here", "restored") == tuple(
        row[name] for name in ("node", "cleared", "acknowledged_by", "acknowledged_why")
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["orders", "NODE_UNREACHABLE"], 2, "say why with --reason"),
        (["orders", "NOT_A_CODE", "-m", "x"], 1, "'NOT_A_CODE' is no code of a problem"),
        (["nope", "NODE_UNREACHABLE", "-m", "x"], 1, "there is no cluster nope"),
    ],
)
async def test_wrong_usage(
    outside: Outside, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    """Nothing is ordered."""
    assert code == await asyncio.to_thread(outside.replictl, "acknowledge", *words)
    assert said in capsys.readouterr().err
    assert [] == outside.called


@pytest.mark.parametrize("command", [("problems",), ("cluster", "orders"), ("topology", "orders")])
async def test_others_see_it(outside: Outside, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]) -> None:
    """Who, and why, wherever the problem is shown."""
    assert 0 == await asyncio.to_thread(outside.replictl, *command)
    out = capsys.readouterr().out

    assert ("acknowledged by bob" in out, "on [it]" in out) == (True, True)


async def test_programs_see_it(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """What nobody has seen yet can be asked for, and the check fails on that alone."""
    left = await listed(outside, capsys, "problems", "orders", "--where", "acknowledged_by=null")
    (seen,) = await listed(outside, capsys, "problems", "--where", "acknowledged_by=bob")
    shape = await listed(outside, capsys, "topology", "orders")
    checked = await asyncio.to_thread(
        outside.replictl, "problems", "--check", "--where", "acknowledged_by=null,code=NODE_UNREACHABLE"
    )

    assert (["OFFSET_WENT_BACK"], 0) == ([row["code"] for row in left], checked)
    assert ("on [it]", 300.0) == (seen["acknowledged_why"], seen["acknowledged_age_s"])
    assert "bob" in {
        one["acknowledged"]["who"] for node in shape["nodes"] for one in node["problems"] if one["acknowledged"]
    }
