"""The benchmark works: every figure is there, from real servers and a real worker. Not how fast it is: others run beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from infra.bench.report import GOALS
from infra.bench.split import PARTS_ALL
from infra.stack.keeper import clean_environment
from infra.stack.layout import PROJECT

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

WITHIN_S = 280
NOISE = {"two_workers_vs_one", "cpu_per_node_10000_vs_100", "simulator_vs_product"}
"""Not measured at this size, or lost in what a process uses anyway."""
FILES = ["cost.svg", "latency.svg", "report.json", "sizes.json", "split.svg", "steady.svg"]


def test_the_smallest_report(tmp_path: Path) -> None:
    """All headline figures with their raw numbers, the CPU split by part, and plots."""
    command = [sys.executable, "-m", "infra.bench", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(
        command, cwd=PROJECT, env=clean_environment(), capture_output=True, text=True, timeout=WITHIN_S, check=False
    )

    assert 0 == done.returncode, done.stdout[-3000:] + done.stderr[-3000:]
    made = orjson.loads((tmp_path / "report.json").read_bytes())
    assert set(GOALS) == set(made["goals"]) & set(made)
    assert all(made[name] is not None for name in set(GOALS) - NOISE)
    assert all("raw" in goal for goal in made["goals"].values())
    [size] = made["sizes"]
    assert 30 == size["nodes"]
    assert [] == size["events"]["not_told"]
    assert set(PARTS_ALL) == set(size["cycle"]["split"])
    assert size["cycle"]["nodes_per_s"]["median"] > 0
    assert FILES == sorted(path.name for path in tmp_path.iterdir())
