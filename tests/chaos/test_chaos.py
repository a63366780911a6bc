"""A short part of chaos: the whole product on ensembles of real servers under faults, then every rule broken on purpose."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.chaos.saboteur import SWITCHES
from infra.stack.keeper import clean_environment
from infra.stack.layout import PROJECT

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

WITHIN_S = 580
SEED = 99
"""Agents that hang up, a broker and a worker killed, answers of agents dropped, events doubled."""


def test_no_rule_is_broken_and_every_rule_broken_on_purpose_is_caught(tmp_path: Path) -> None:
    """Faults for a while: no violation. Saboteurs for a while, one for each rule: all caught. The last line is the verdict."""
    command = [sys.executable, "-m", "infra.chaos", "--seed", str(SEED), "--minutes", "1", "--calm", "6"]
    command += ["--clusters", "16", "--orders", "1.2", "--workers", "4", "--serving", "0"]
    command += ["--prove", "--folder", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=WITHIN_S, env=clean_environment(), cwd=PROJECT, check=False
    )
    report = tmp_path / f"seed-{SEED}" / "main" / "report.md"
    assert done.stdout, done.stderr[-4_000:]
    told = json.loads(done.stdout.splitlines()[-1])

    assert (0, 0) == (done.returncode, told["violations"]), done.stderr[-4_000:]
    assert dict.fromkeys(SWITCHES, True) == told["caught"], done.stderr[-4_000:]
    assert {"seed", "minutes", "faults", "actions", "events", "recovery_p99_s", "failover_p99_s"} < told.keys()
    assert min(told["faults"], told["actions"], told["events"]) > 0
    assert "## Timeline" in report.read_text(encoding="utf-8")
