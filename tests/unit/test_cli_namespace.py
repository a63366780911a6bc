"""`-n`: what is in a namespace, in every listing that has things of namespaces."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.models.cluster import ClusterState, Discovery
from blocks.models.record import Change
from blocks.models.request import Request, WorkKind
from doubles.cli import Outside
from doubles.store_samples import NOW, draft, later

Said = pytest.CaptureFixture[str]


@pytest.fixture
async def outside() -> Outside:
    """Things of two namespaces whose names begin alike, and of none."""
    made = Outside()
    for number, stream in enumerate(("prod", "prod/orders", "prod2/orders", "replicore"), start=1):
        await made.store_.commit(Change(drafts=(draft(number, stream),)), now=NOW)
    for subject in ("prod/orders", "prod2/orders"):
        item = Request(kind=WorkKind.ORCHESTRATE, subject=subject, interval=60)
        made.store_.work[item.key] = item
        await made.coordinator_.take(ClaimKind.LOCK, subject, "orchestrate")
    await made.coordinator_.take(ClaimKind.LOCK, "source:prod/inventory", "discover")
    await made.coordinator_.take(ClaimKind.SEAT, "seat-0", "")
    return made


@pytest.mark.parametrize(
    ("words", "field", "expected"),
    [
        (["events"], "stream", ["prod", "prod/orders"]),
        (["work"], "subject", ["prod/orders"]),
        (["locks", "--all"], "name", ["prod/orders", "source:prod/inventory"]),
    ],
)
async def test_only_what_is_in_it(
    outside: Outside, capsys: Said, words: list[str], field: str, expected: list[str]
) -> None:
    """Not what is in another whose name begins alike, nor what is in none."""
    await asyncio.to_thread(outside.replictl, *words, "-n", "prod", "-o", "json")
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)

    assert expected == sorted(row[field] for row in rows)


async def test_a_missing_cluster_is_a_problem_before_its_own_turn(capsys: Said) -> None:
    """Paused, or looked at once an hour: what its source no longer tells of is a problem at once, and only once."""
    outside = Outside()
    gone = Discovery(
        namespace="prod", cluster_id="orders", source="prod/inventory", missing_since=later(-60), version=1
    )
    await outside.put(gone, ClusterState(namespace="prod", cluster_id="orders"))
    await asyncio.to_thread(outside.replictl, "problems", "-o", "json")
    (row,) = json.loads(capsys.readouterr().out)

    assert ("CLUSTER_MISSING", "orders", 60.0) == (row["code"], row["cluster"], row["age_s"])
    assert "prod/inventory has not told of it since" in row["evidence"]
