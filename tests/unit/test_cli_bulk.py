"""Orders about many actions at once: selected, shown, asked, done one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from blocks.errors import RefusedError
from blocks.models.action import Action, ActionState
from doubles.cli import Outside, replictl
from doubles.store_samples import action, spec

S = ActionState
Said = pytest.CaptureFixture[str]


@pytest.fixture
async def outside() -> Outside:
    """Two actions that wait for approval, one that runs, and three that have ended."""
    outside = Outside()
    states = (S.PENDING_APPROVE, S.PENDING_APPROVE, S.RUNNING, S.DONE, S.FAILED, S.CANCELLED)
    actions = [action(number, state) for number, state in enumerate(states, start=1)]
    await outside.put(spec(), *actions)
    known = {one.action_id: one for one in actions}

    def done(**given: Any) -> Action:
        return known[str(given["action_id"])]

    outside.flows |= dict.fromkeys(("approve", "reject", "cancel", "retry"), done)
    return outside


def ordered(outside: Outside) -> list[tuple[str, int]]:
    """What was run, and for which actions."""
    return sorted((name, given["action_id"].int) for name, given in outside.called)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["approve", "--where", "cluster=orders"], [("approve", 1), ("approve", 2)]),
        (["reject", "--where", "state=PENDING_APPROVE"], [("reject", 1), ("reject", 2)]),
        (["cancel", "--where", "state=RUNNING"], [("cancel", 3)]),
        (["retry", "--where", "cluster=orders"], [("retry", 5)]),
        (["retry", "--where", "state=CANCELLED"], [("retry", 6)]),
        (["retry", "--where", "state!=LOST"], [("retry", 5)]),
    ],
)
async def test_those_that_are_selected_and_can_be(
    outside: Outside, words: list[str], expected: list[tuple[str, int]]
) -> None:
    """Each verb takes only what stands where it applies."""
    assert 0 == await replictl(outside, *words, "--yes")
    assert expected == ordered(outside)


async def test_nobody_to_ask(outside: Outside, capsys: Said) -> None:
    """Without a terminal the selected ones are shown, and nothing is done."""
    assert 2 == await replictl(outside, "approve", "--where", "cluster=orders")
    out, err = capsys.readouterr()

    assert [] == ordered(outside)
    assert 2 == out.count("PENDING_APPROVE")
    assert "say --yes" in " ".join(err.split())


@pytest.mark.parametrize(
    "words", [["approve"], ["cancel", "00000000-0000-0000-0000-000000000001", "--where", "cluster=orders"]]
)
async def test_ids_or_conditions(outside: Outside, capsys: Said, words: list[str]) -> None:
    """One of the two, never both, never neither."""
    assert 2 == await replictl(outside, *words, "--yes")
    assert "their ids, or conditions" in " ".join(capsys.readouterr().err.split())


async def test_nothing_selected(outside: Outside, capsys: Said) -> None:
    """Said, and a failure for scripts."""
    assert 1 == await replictl(outside, "approve", "--where", "cluster=billing", "--yes")
    assert "no action is selected" in capsys.readouterr().err


async def test_what_goes_wrong_with_one_does_not_stop_the_others(outside: Outside, capsys: Said) -> None:
    """Each is told; the exit code says that something failed."""

    def refusing(**given: Any) -> Action:
        if given["action_id"].int == 1:
            message = "it is final"
            raise RefusedError(message)
        return action(2, S.CANCELLED)

    outside.flows["cancel"] = refusing
    assert 1 == await replictl(outside, "cancel", "--where", "state=PENDING_APPROVE", "-y", "-o", "json")
    out, err = capsys.readouterr()

    assert ["CANCELLED"] == [row["state"] for row in json.loads(out)]
    assert "error: it is final" in err
