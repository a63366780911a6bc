"""`doctor` and `admin validate`: what is wrong, and what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.models.action import ActionState
from blocks.models.cluster import Health
from blocks.models.record import Change, Fence
from blocks.models.report import CycleOutcome, Report
from blocks.models.request import Request, WorkKind, WorkState
from blocks.models.source import SourceReport
from deployments.cli.doctor import Grade, of_work
from doubles.cli import Outside, replictl
from doubles.store_samples import NOW, action, draft, later, spec, state
from tasks.decide.gating import freeze_of

Said = pytest.CaptureFixture[str]


async def _well(outside: Outside) -> None:
    for duty in ("enqueue", "relay", "sweep"):
        await outside.coordinator_.take(ClaimKind.DUTY, duty, "")
    await outside.coordinator_.take(ClaimKind.WORKER, "worker-1", "")


async def test_nothing_is_wrong(capsys: Said) -> None:
    """A worker, all duties, everything answers: exit code 0."""
    outside = Outside()
    await _well(outside)

    assert 0 == await replictl(outside, "doctor")
    assert "nothing is wrong" in capsys.readouterr().out


async def test_the_worst_comes_first(capsys: Said) -> None:
    """What is down, who does not work, then what is wrong; each with what to do, and exit code 1."""
    outside = Outside()
    outside.prefect_down = True
    outside.store_.work["apply:1"] = Request(kind=WorkKind.APPLY, subject="1", state=WorkState.DEAD, error="x")
    code = await replictl(outside, "doctor", "-o", "json")
    rows = json.loads(capsys.readouterr().out)
    grades = [Grade[row["grade"]] for row in rows]

    assert (1, sorted(grades)) == (code, grades)
    assert any(row["what"].startswith("prefect is down") for row in rows)
    assert any("nobody does the duty relay" in row["what"] for row in rows)
    assert any("apply:1" in row["what"] and "work retry" in row["do"] for row in rows)


async def test_a_zookeeper_that_lost_its_data_comes_with_the_command(capsys: Said) -> None:
    """What to type stands beside it."""
    outside = Outside()
    await _well(outside)
    await outside.store_.claim([Fence(subject="prod/orders", generation=1, token=10**6)])
    code = await replictl(outside, "doctor", "-o", "json")
    (row,) = json.loads(capsys.readouterr().out)

    assert (1, "COORDINATOR_WIPED") == (code, row["what"])
    assert "replictl admin coordinator-reset" in row["do"]


LATE = Request(kind=WorkKind.DISCOVER, subject="a/b", interval=60, state=WorkState.QUEUED, wanted_at=later(-300))
FAILED = Report(namespace="prod", cluster_id="orders", started_at=NOW, outcome=CycleOutcome.FAILED, error="x")
PAUSED = Request(kind=WorkKind.DISCOVER, subject="a/c", interval=60, paused_until=later(60), paused_by="ann")


@pytest.mark.parametrize(
    ("records", "work", "grade", "said"),
    [
        ([], [LATE], Grade.WRONG, "1 work item waits for a worker, the longest for 5m"),
        ([], [PAUSED], Grade.NOTE, "1 item paused: discover:a/c"),
        (
            [SourceReport(namespace="a", name="b", at=NOW, duration_s=1, error="refused")],
            [],
            Grade.WRONG,
            "a/b gives no good",
        ),
        ([state().evolve(health=Health.CRITICAL)], [], Grade.WRONG, "1 cluster CRITICAL: prod/orders"),
        ([FAILED], [], Grade.WRONG, "the last cycle of 1 cluster failed"),
        ([freeze_of("prod", "r", None, "ann", NOW).evolve(version=1)], [], Grade.NOTE, "frozen: prod"),
        ([spec(), action(1).evolve(state=ActionState.PENDING_APPROVE)], [], Grade.NOTE, "1 action waits for approval"),
    ],
)
async def test_what_the_store_tells(records: list[Any], work: list[Request], grade: Grade, said: str) -> None:
    """Each trouble is one line."""
    outside = Outside()
    await outside.put(*records)
    outside.store_.work |= {item.key: item for item in work}
    (finding,) = await of_work(outside.store_, NOW)

    assert grade is finding.grade
    assert said in finding.what


async def test_events_that_do_not_leave() -> None:
    """An outbox that is not emptied."""
    outside = Outside()
    await outside.store_.commit(Change(drafts=(draft(1),)), now=later(-600))
    (finding,) = await of_work(outside.store_, NOW)

    assert "1 event not on the bus yet, the oldest for 10m" in finding.what


async def test_validate(capsys: Said) -> None:
    """Each part says what is wrong with it; one that is away says so; exit code 1."""
    outside = Outside()
    outside.store_.wrong = ["index actions.newest is missing"]
    outside.queue.wrong = ["topic x is missing"]
    outside.prefect_down = True
    code = await replictl(outside, "admin", "validate", "-o", "json")
    rows = json.loads(capsys.readouterr().out)

    assert 1 == code
    assert [("mongodb", "index actions.newest is missing"), ("kafka: work", "topic x is missing")] == [
        (row["part"], row["fault"]) for row in rows[:2]
    ]
    assert "prefect" == rows[2]["part"]
