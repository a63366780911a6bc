"""`locks inspect`, `locks release`, `work drop`: what a person takes away, why, and what is refused."""

from __future__ import annotations

import json

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.models.event import EventType
from blocks.models.request import Request, WorkKind, WorkState
from blocks.store.protocol import EventQuery
from doubles.cli import Outside, replictl

Said = pytest.CaptureFixture[str]
DEAD = Request(kind=WorkKind.APPLY, subject="4711", state=WorkState.DEAD, error="record too large")
TIMED = Request(kind=WorkKind.DISCOVER, subject="prod/x", interval=60, state=WorkState.DEAD)


async def _audit(outside: Outside) -> list[tuple[object, object, object]]:
    events = await outside.store_.events(EventQuery(types=(EventType.COMMAND_GIVEN.value,)))
    return [(event.data["command"], event.data["subject"], event.data["outcome"]) for event in events]


async def test_a_lock_is_looked_at(capsys: Said) -> None:
    """Who holds it, for what, and whether that worker is still there."""
    outside = Outside()
    await outside.coordinator_.take(ClaimKind.LOCK, "prod/orders", "orchestrate")
    code = await replictl(outside, "locks", "inspect", "prod/orders", "-o", "json")
    row = json.loads(capsys.readouterr().out)

    assert (0, "prod/orders", "orchestrate", False) == (code, row["name"], row["purpose"], row["present"])


async def test_a_lock_is_taken_away(capsys: Said) -> None:
    """By order of a person with a reason; it is free then, and kept in the audit."""
    outside = Outside()
    await outside.coordinator_.take(ClaimKind.DUTY, "relay", "")
    code = await replictl(outside, "locks", "release", "relay", "--kind", "duties", "--reason", "it hangs")
    left = await outside.coordinator_.holders(ClaimKind.DUTY)

    assert (0, []) == (code, left)
    assert "relay was taken away from" in capsys.readouterr().out
    assert [("locks release", "duties relay", "done")] == await _audit(outside)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["locks", "release", "prod/orders"], 2, "say why with --reason"),
        (["locks", "release", "prod/orders", "--reason", "x"], 1, "nobody holds prod/orders (locks)"),
        (["locks", "inspect", "prod/orders"], 1, "nobody holds prod/orders (locks)"),
        (["work", "drop", "apply:4711"], 2, "say why with --reason"),
        (["work", "drop", "apply:1", "-m", "x"], 1, "apply:1: no dead work of that key"),
        (["work", "drop", "discover:prod/x", "-m", "x"], 1, "on the timetable, so it would come back"),
    ],
)
async def test_what_cannot_be_taken_away(capsys: Said, words: list[str], code: int, said: str) -> None:
    """Without a reason, or where there is nothing: said, and nothing is changed."""
    outside = Outside()
    outside.store_.work |= {item.key: item for item in (DEAD, TIMED)}
    got = await replictl(outside, *words)
    err = " ".join(capsys.readouterr().err.split())

    assert code == got
    assert said in err
    assert {DEAD.key, TIMED.key} == outside.store_.work.keys()


async def test_dead_work_is_given_up(capsys: Said) -> None:
    """What nobody will ever be able to do; kept in the audit."""
    outside = Outside()
    outside.store_.work[DEAD.key] = DEAD
    code = await replictl(outside, "work", "drop", DEAD.key, "--reason", "handed in again, smaller")

    assert (0, {}) == (code, outside.store_.work)
    assert DEAD.key in capsys.readouterr().out
    assert [("work drop", DEAD.key, "done")] == await _audit(outside)
