from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import DependencyUnavailableError, RefusedError
from blocks.models.command import Outcome
from blocks.models.record import Change
from doubles.cli import Outside, replictl
from doubles.rollings import RESTART
from doubles.store import MemoryStore
from doubles.store_samples import NOW
from tasks.decide.audit import ARGUMENT_CHARS_MAX, Command, command_given


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


ID = "00000000-0000-0000-0000-000000000001"
REFUSED_BEFORE_THE_FLOW: dict[tuple[str, ...], tuple[str, dict[str, Any]]] = {
    ("roll", "prod/nosuch", RESTART, "--batch", "2", "--args", '{"x": 1}'): (
        f"{RESTART} on prod/nosuch", {"args": {"x": 1}, "pace": {
            "batch": 2, "settle_s": 10.0, "health_within_s": 600.0, "batch_within_s": 3_600.0, "failures_max": 0, "primaries_last": True,
        }},
    ),
    ("apply", "-f", "/nowhere/nothing.yaml"): ("/nowhere/nothing.yaml", {}),
    ("acknowledge", "prod/nosuch", "NODE_UNREACHABLE", "-m", "so"): (
        "prod/nosuch", {"code": "NODE_UNREACHABLE", "reason": "so"}
    ),
    ("acknowledge", "prod/nosuch", "NONSENSE", "-m", "so"): ("prod/nosuch", {"code": "NONSENSE", "reason": "so"}),
    ("pause", "prod/nosuch", "--for", "2h", "-m", "so"): ("prod/nosuch", {"reason": "so"}),
    ("resume", "prod/nosuch"): ("prod/nosuch", {}),
    ("unfreeze", "prod"): ("prod", {}),
    ("delete", "cluster", "nosuch", "--yes"): ("cluster nosuch", {}),
    ("delete", "action", ID, "--yes"): (f"action {ID}", {}),
    ("orchestrate", "nosuch"): ("nosuch", {}),
    ("discover", "nosuch"): ("nosuch", {}),
    ("work", "retry", "nonsense"): ("nonsense", {}),
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED_BEFORE_THE_FLOW, ids=" ".join)
async def test_what_is_refused_before_the_flow_is_kept(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Names that nothing has, files that cannot be read: once, with what was asked for, and the error that the person is told."""
    outside = Outside()
    code = await replictl(outside, *words)
    said = capsys.readouterr().err
    await replictl(outside, "audit", "-o", "json")
    (row,) = json.loads(capsys.readouterr().out)

    assert (1, "refused", "ann@here") == (code, row["outcome"], row["who"])
    assert REFUSED_BEFORE_THE_FLOW[words] == (row["subject"], row["arguments"])
    assert f"error: {row['reason']}".splitlines()[0] in said
    assert [] == outside.called


async def test_a_manifest_that_is_wrong_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the name of its file; a dry run is no command, and leaves nothing."""
    outside, file = Outside(), tmp_path / "x.yaml"
    file.write_text("apiVersion: replicante.io/v0\nkind: Nonsense\nmetadata: {name: x}\n")
    codes = [await replictl(outside, "apply", str(file), *more) for more in ((), ("--dry-run",), ("--queue",))]
    capsys.readouterr()
    await replictl(outside, "audit", "-o", "json")
    rows = json.loads(capsys.readouterr().out)

    assert ([1, 1, 1], [str(file)] * 2) == (codes, [row["subject"] for row in rows])


async def test_words_that_cannot_be_a_command_are_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """What the command line itself has wrong ends before anything is read."""
    outside = Outside()
    codes = [
        await replictl(outside, *words)
        for words in (("approve", "nonsense"), ("pause", "prod/a", "--for", "soon", "-m", "so"))
    ]
    capsys.readouterr()
    await replictl(outside, "audit", "-o", "json")

    assert ([2, 2], []) == (codes, json.loads(capsys.readouterr().out))


class Away(Outside):
    """Nobody reaches the store."""

    async def store(self) -> MemoryStore:
        """Say so."""
        raise DependencyUnavailableError("MongoDB", "memory", "connection refused", "")


async def test_a_refusal_that_cannot_be_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """The store is away: the person is told what was refused, and that it is not in the audit."""
    code = await replictl(Away(), "apply", "-f", "/nowhere/nothing.yaml")
    said = capsys.readouterr().err

    assert 1 == code
    assert "No such file" in said
    assert "note: that it was refused is not in the audit: MongoDB" in said


async def test_force_without_a_comment_is_left_to_the_flow(capsys: pytest.CaptureFixture[str]) -> None:
    """It refuses that, and keeps it."""

    def refuse(**given: Any) -> None:
        message = "what is forced needs a reason: say why"
        raise RefusedError(message)

    outside = Outside(flows={"approve": refuse})
    code = await replictl(outside, "approve", ID, "--force")
    ((name, given),) = outside.called

    assert (1, "approve", True, "") == (code, name, given["force"], given["comment"])
    assert "say why" in capsys.readouterr().err


def test_arguments_are_bounded() -> None:
    """Whatever their type: what is long is kept as the beginning of its JSON."""
    nodes = [f"node-{number}" for number in range(1_000)]
    draft = command_given(Command("roll", "x", "ann", {"nodes": nodes, "args": [1]}), Outcome.DONE, None, "here", None)
    arguments: Any = draft.data["arguments"]

    assert (ARGUMENT_CHARS_MAX, '["node-0", "node-1"', [1]) == (
        len(arguments["nodes"]), arguments["nodes"][:19], arguments["args"],
    )  # fmt: skip
