from __future__ import annotations

import json

import pytest

from blocks.models.command import Outcome
from blocks.models.record import Change
from doubles.cli import Outside, replictl
from doubles.store_samples import NOW
from tasks.decide.audit import Command, command_given


async def test_audit(capsys: pytest.CaptureFixture[str]) -> None:
    """Who gave which command, from where, and what came of it; narrowed as any listing."""
    outside = Outside()
    for name, outcome, reason in (("approve", Outcome.DONE, None), ("cancel", Outcome.REFUSED, "it is DONE")):
        draft = command_given(Command(name, "4711", "ann", {"comment": "go"}), outcome, reason, "replictl, ann@h", None)
        await outside.store_.commit(Change(drafts=(draft,)), now=NOW)
    code = await replictl(outside, "audit")
    table = capsys.readouterr().out
    await replictl(outside, "audit", "--where", "outcome=refused", "-o", "json")
    (refused,) = json.loads(capsys.readouterr().out)
    await replictl(outside, "audit", "--limit", "1", "-o", "json")
    (newest,) = json.loads(capsys.readouterr().out)

    assert (0, "cancel", "it is DONE", "cancel") == (code, refused["command"], refused["reason"], newest["command"])
    for said in ("approve", "comment=go", "done", "replictl, ann@h"):
        assert said in table


async def test_work_retry_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where a command needs no flow, and when it is refused."""
    outside = Outside()
    await replictl(outside, "work", "retry", "apply:4711")
    capsys.readouterr()
    await replictl(outside, "audit", "-o", "json")
    (row,) = json.loads(capsys.readouterr().out)

    assert ("work retry", "apply:4711", "refused") == (row["command"], row["subject"], row["outcome"])
