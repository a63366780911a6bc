from __future__ import annotations

import asyncio
from typing import Any

import pytest

from blocks.models.request import Request, WorkState
from blocks.models.source import Rejected, SourceReport
from deployments.cli.turns import due_in_s, next_turn, turn_fields
from doubles.cli import Outside
from doubles.labelled import labelled, listed
from doubles.store_samples import KEY, NOW, later, source


@pytest.fixture
async def outside() -> Outside:
    """A labelled fleet."""
    return await labelled()


def turn(state: WorkState, **fields: Any) -> Request:
    """A work item that is on the timetable for in 40 s."""
    basics = {"kind": "discover", "subject": "prod/x", "interval": 60, "next_at": later(40), "state": state}
    return Request.model_validate({**basics, **fields})


@pytest.mark.parametrize(
    ("item", "due", "shown"),
    [
        (turn(WorkState.IDLE), 40.0, "in 40s"),
        (turn(WorkState.IDLE, next_at=later(-3)), -3.0, "overdue 3s"),
        (turn(WorkState.IDLE, active=False), None, None),
        (turn(WorkState.IDLE, next_at=None), None, None),
        (turn(WorkState.IDLE, paused_until=later(300)), 300.0, "in 5m"),
        (turn(WorkState.IDLE, paused_until=later(-300)), 40.0, "in 40s"),
        (turn(WorkState.QUEUED, wanted_at=later(-5)), -5.0, "overdue 5s"),
        (turn(WorkState.QUEUED, wanted_at=later(-5), not_before=later(7)), 7.0, "in 7s"),
        (turn(WorkState.QUEUED, wanted_at=later(-5), paused_until=later(300)), -5.0, "overdue 5s"),
        (turn(WorkState.CLAIMED), None, "running"),
        (turn(WorkState.DEAD), None, "dead"),
    ],
)
def test_next_turn(item: Request, due: float | None, shown: str | None) -> None:
    """When it is due, by how much that is over, or why there is no such moment."""
    cell = next_turn(turn_fields(item, NOW))

    assert (due, shown) == (due_in_s(item, NOW), None if cell is None else str(cell))


async def test_sources(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """A source tells its kind, the interval in effect, its next turn, its pause, and all that was refused."""
    rejected = tuple(Rejected(what=f"record {number}", reason="bad") for number in range(2))
    told = SourceReport(namespace="prod", name="inventory", at=NOW, duration_s=0.5, rejected=rejected, rejected_total=7)
    key = "discover:prod/inventory"
    pause = {"paused_until": later(3_600), "paused_by": "ann", "paused_why": "move"}
    outside.store_.work[key] = outside.store_.work[key].evolve(next_at=later(40), started_at=NOW, late_s=2, **pause)
    await outside.put(told, source().evolve(name="folder", http=None, file={"path": "/fleet.yaml"}, interval=30))
    folder, inventory = await listed(outside, capsys, "sources")
    await asyncio.to_thread(outside.replictl, "sources")
    titles, *lines = capsys.readouterr().out.splitlines()

    assert ("file", 30, None, "/fleet.yaml") == tuple(
        folder[name] for name in ("kind", "interval_s", "next_at", "where")
    )
    assert ("http", 900, 3_600, 2, 7, "ann", "move") == tuple(
        inventory[name] for name in ("kind", "interval_s", "due_in_s", "late_s", "rejected", "paused_by", "paused_why")
    )
    assert ["2030-01-02T03:04:45.678Z", "2030-01-02T03:04:05.678Z", "2030-01-02T04:04:05.678Z"] == [
        inventory[name] for name in ("next_at", "started_at", "paused_until")
    ]
    assert (
        "NAMESPACE SOURCE KIND ENABLED EVERY NEXT PAUSED LAST TOOK GOOD CLUSTERS NODES MISSING REFUSED WHERE ERROR"
        == " ".join(titles.split())
    )
    assert "2030-01-02T04:04:05Z" in lines[1]
    assert "in 60m" in lines[1]


async def test_clusters_tell_their_turn_and_pause(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """When a cluster is looked after next, how late that was last, and until when it is paused."""
    key = f"orchestrate:{KEY}"
    outside.store_.work[key] = outside.store_.work[key].evolve(late_s=2, paused_until=later(60))
    orders, other = await listed(outside, capsys, "clusters")
    await asyncio.to_thread(outside.replictl, "clusters")
    lines = capsys.readouterr().out.splitlines()

    assert (2, "2030-01-02T03:05:05.678Z") == (orders["late_s"], orders["paused_until"])
    assert (0, None) == (other["late_s"], other["paused_until"])
    assert ["paused until 2030-01-02T03:05:05Z" in line for line in lines] == [False, True, False]
