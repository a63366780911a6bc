from __future__ import annotations

import asyncio
import json

import pytest

from blocks.models.action import ActionState
from blocks.models.namespace import Namespace
from blocks.models.rolling import RollingState
from doubles.cli import Outside
from doubles.rollings import make_rolling
from doubles.store_samples import NOW, action, spec

Said = pytest.CaptureFixture[str]


async def test_approvals(capsys: Said) -> None:
    """Actions and rolling actions that wait, the oldest first, with until when and by whom they can be approved."""
    outside = Outside()
    settings = {"approver_must_differ": True, "approval_within": 3_600}
    await outside.put(
        Namespace.model_validate({"name": "prod", "settings": settings}),
        spec(),
        action(1).evolve(state=ActionState.PENDING_APPROVE, created_by="ann", created_at=NOW),
        action(2),
        make_rolling(state=RollingState.PENDING_APPROVE, approved_by=None, reason="new certificates"),
    )
    code = await asyncio.to_thread(outside.replictl, "approvals", "-o", "json")
    rows = json.loads(capsys.readouterr().out)
    await asyncio.to_thread(outside.replictl, "approvals", "--where", "rolling=false")
    table = capsys.readouterr().out

    assert (0, 2, sorted(row["created_at"] for row in rows)) == (code, len(rows), [row["created_at"] for row in rows])
    (single,) = [row for row in rows if not row["rolling"]]
    (rolling,) = [row for row in rows if row["rolling"]]
    assert (3_600.0, True, None) == (single["lapses_in_s"], single["must_differ"], single["digest"])
    assert ("new certificates", 3) == (rolling["reason"], rolling["nodes"])
    assert "anybody but ann" in table
    assert "rolling" not in table


async def test_nothing_waits(capsys: Said) -> None:
    """Said in words."""
    await asyncio.to_thread(Outside().replictl, "approvals")

    assert "nothing waits for approval" in capsys.readouterr().out
