"""`freeze`, `unfreeze`, `windows`, `window`, `why` and `catalogue`: what people type, and what they are told."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from blocks.models.action import ActionState
from blocks.models.gate import Gate, GateKind, Weekly
from blocks.models.namespace import Namespace
from deployments.cli.gates import weekly_of
from doubles.cli import Outside, replictl
from doubles.store_samples import NOW, action, item, node, spec
from tasks.decide.gating import freeze_of, window_of

Said = pytest.CaptureFixture[str]


@pytest.fixture
async def outside() -> Outside:
    """A cluster, and flows that make gates."""
    outside = Outside()
    await outside.put(Namespace(name="prod", version=1), spec(), node(1))

    def freeze(**given: Any) -> Gate:
        return freeze_of(given["target"], given["reason"], given["until"], given["by"], NOW)

    def window(fleet: str, **given: Any) -> Gate:
        assert "replicore" == fleet
        return window_of(**given, now=NOW)

    def lift(**given: Any) -> Gate:
        return freeze_of("prod", "r", None, given["by"], NOW)

    outside.flows |= {"freeze": freeze, "window": window, "lift": lift}
    return outside


# -- freezes ---------------------------------------------------------------------------------------------------------------


async def test_freezing(outside: Outside, capsys: Said) -> None:
    """Everything, unless a target is given; for a while, or until it is lifted; by whom."""
    assert 0 == await replictl(outside, "freeze", "-m", "disk trouble", "--for", "2h")
    assert 0 == await replictl(outside, "freeze", "prod/orders", "-m", "disk trouble")
    said = capsys.readouterr().out

    (_, everything), (_, one) = outside.called
    assert ("everything", NOW + timedelta(hours=2), "ann@here") == tuple(
        everything[name] for name in ("target", "until", "by")
    )
    assert ("prod/orders", None) == (one["target"], one["until"])
    assert "disk trouble" in said


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["freeze"], "say why with --reason"),
        (["freeze", "-m", "x", "--for", "2h", "--until", "2030-01-01"], "not both"),
        (["freeze", "-m", "x", "--for", "soon"], "is no duration"),
        (["window", "set", "w", "-k", "freeze", "-m", "x", "--expires", "2031-01-01"], "has a command of its own"),
        (["window", "set", "w", "-k", "blackout", "-m", "x", "--expires", "then"], "is no time"),
        (["window", "set", "w", "-k", "blackout", "-m", "x", "--expires", "2031-01-01", "-l", "env"], "KEY=VALUE"),
        (
            ["window", "set", "w", "-k", "blackout", "-m", "x", "--expires", "2031-01-01", "--weekly", "mon"],
            "days@HH:MM",
        ),
    ],
)
async def test_what_cannot_be_meant(outside: Outside, capsys: Said, words: list[str], reason: str) -> None:
    """Said as wrong usage, before anything is asked of anybody."""
    assert 2 == await replictl(outside, *words)
    assert reason in " ".join(capsys.readouterr().err.split())
    assert [] == outside.called


async def test_lifting_a_freeze(outside: Outside, capsys: Said) -> None:
    """By its target; what is not frozen is said."""
    await outside.put(freeze_of("prod", "r", None, "ann", NOW).evolve(version=1))
    assert 0 == await replictl(outside, "unfreeze", "prod", "-m", "mended")
    assert 1 == await replictl(outside, "unfreeze", "prod/orders")

    assert [
        ("lift", {"name": "freeze-prod", "reason": "mended", "by": "ann@here", "fleet": "replicore"})
    ] == outside.called
    assert "prod/orders is not frozen" in capsys.readouterr().err


# -- windows ---------------------------------------------------------------------------------------------------------------


async def test_declaring_a_window(outside: Outside, capsys: Said) -> None:
    """All that it is, from the command line; the owner is whoever types, if nobody else is named."""
    words = [
        "-k",
        "maintenance",
        "-m",
        "few users",
        "--expires",
        "2031-01-01T00:00:00Z",
        "--target",
        "prod",
        "-l",
        "env=live",
    ]
    assert 0 == await replictl(
        outside, "window", "set", "nights", *words, "--weekly", "sat,sun@02:00+240m@Europe/Rome", "-o", "json"
    )
    row = json.loads(capsys.readouterr().out)

    assert ("nights", "maintenance", "prod (env=live)", "ann@here", "closed") == tuple(
        row[name] for name in ("name", "kind", "where", "owner", "now")
    )
    assert Weekly(days=("sat", "sun"), at="02:00", minutes=240, zone="Europe/Rome") == weekly_of(
        "sat,sun@02:00+240m@Europe/Rome"
    )


async def test_windows_are_listed(outside: Outside, capsys: Said) -> None:
    """Open or closed, until when; of one namespace with what is for all; those that have ended only when asked for."""
    basics = {"reason": "r", "owner": "ann", "created_at": NOW - timedelta(days=2), "created_by": "ann", "version": 1}
    old = Gate.model_validate(
        {**basics, "name": "old", "kind": GateKind.BLACKOUT, "expires_at": NOW - timedelta(days=1)}
    )
    test = Gate.model_validate({**basics, "name": "test", "kind": GateKind.FREEZE, "namespace": "test"})
    await outside.put(old, test, freeze_of("everything", "disk [red]trouble", None, "ann", NOW).evolve(version=1))
    shown = []
    for words in ([], ["--all"], ["-n", "prod"], ["--where", "kind=freeze", "--where", "namespace=test"]):
        assert 0 == await replictl(outside, "windows", *words, "-o", "json")
        shown.append([(row["name"], row["now"]) for row in json.loads(capsys.readouterr().out)])
    assert 0 == await replictl(outside, "windows")

    both = [("freeze", "open"), ("test", "open")]
    assert [both, [both[0], ("old", "expired"), both[1]], both[:1], both[1:]] == shown
    assert "disk [red]trouble" in capsys.readouterr().out


# -- why -------------------------------------------------------------------------------------------------------------------


async def test_why_an_action_waits(outside: Outside, capsys: Said) -> None:
    """The rule first; for machines with the action and its state."""
    waiting = action(1, ActionState.PENDING_APPROVE)
    await outside.put(waiting)
    assert 0 == await replictl(outside, "why", waiting.action_id, "-o", "json")
    told = json.loads(capsys.readouterr().out)
    assert 0 == await replictl(outside, "why", waiting.action_id)

    assert (waiting.action_id, "PENDING_APPROVE", "APPROVAL") == (
        told["action"],
        told["state"],
        told["reasons"][0]["rule"],
    )
    assert "replictl approve" in capsys.readouterr().out


async def test_why_a_cluster_waits(outside: Outside, capsys: Said) -> None:
    """By its name; frozen, the reason is the freeze's."""
    await outside.put(freeze_of("prod/orders", "disk trouble", None, "ann", NOW).evolve(version=1))
    await outside.store_.ensure_work([item("prod/orders")], NOW)
    assert 0 == await replictl(outside, "why", "orders", "-o", "json")
    told = json.loads(capsys.readouterr().out)

    assert ("prod/orders", ["FREEZE"]) == (told["cluster"], [reason["rule"] for reason in told["reasons"]])


@pytest.mark.parametrize("what", ["00000000-0000-0000-0000-00000000ffff", "prod/nobody"])
async def test_why_of_what_there_is_not(outside: Outside, capsys: Said, what: str) -> None:
    """Said, with where to look."""
    assert 1 == await replictl(outside, "why", what)
    assert "there is no" in capsys.readouterr().err


# -- catalogue -------------------------------------------------------------------------------------------------------------


def test_the_catalogue(capsys: Said) -> None:
    """Every kind; of one also its arguments; no server is needed."""
    outside = Outside()
    assert 0 == outside.replictl("catalogue", "-o", "json")
    kinds = [row["kind"] for row in json.loads(capsys.readouterr().out)]
    assert 0 == outside.replictl("catalogue", "debug.counting", "-o", "json")
    one = json.loads(capsys.readouterr().out)
    assert 1 == outside.replictl("catalogue", "nonsense")

    assert "core.replicante.io/http" in kinds
    assert ("core.replicante.io/debug.counting", "EXCLUSIVE", ["count"]) == (
        one["kind"],
        one["mode"],
        one["args"]["required"],
    )
