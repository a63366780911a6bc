from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from blocks.coordinator.protocol import ClaimKind
from blocks.metrics.families import COUNTED, FAMILIES, PREFIX, Family, Kind
from blocks.metrics.prometheus import PrometheusMetrics
from blocks.metrics.protocol import Metrics, NoMetrics
from blocks.metrics.settings import CLIENT_FOLDER, FOLDER, MetricsSettings, folder_of
from blocks.models.report import CycleOutcome, Report
from blocks.models.request import Ended, Request
from deployments.metrics_reference import page
from doubles.views import NOW
from flows.degraded import DegradedMode

ROOT = Path(__file__).parents[2]
REPORT = Report(namespace="prod", cluster_id="orders", started_at=NOW, outcome=CycleOutcome.SUCCESS)
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


class Counted:
    """Metrics of this process, and what they came to."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics: Metrics = PrometheusMetrics(self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        """A series, by its name without the prefix."""
        return self.registry.get_sample_value(f"{PREFIX}{name}", labels)

    def changed(self) -> Mapping[str, float]:
        """Every series but those of buckets that is not zero."""
        return {
            f"{sample.name.removeprefix(PREFIX)}{sorted(sample.labels.values())}": sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.value and not sample.name.endswith(("_bucket", "_created"))
        }


@pytest.fixture
def counted() -> Counted:
    """All at zero."""
    return Counted()


@each_family
def test_names_follow_the_rules(family: Family) -> None:
    """Snake case, base units last, `_total` on counters alone, a sentence of help, buckets in order on histograms alone."""
    assert re.fullmatch(r"replicore_[a-z]+(_[a-z]+)*", family.full_name)
    assert (family.kind is Kind.COUNTER) == family.name.endswith("_total")
    assert (family.kind is Kind.HISTOGRAM) == bool(family.buckets)
    assert sorted(set(family.buckets)) == list(family.buckets)
    assert family.help.endswith(".")
    assert not re.search(r"_(ms|millis|minutes|kb|mb)(_|$)", family.name)


@each_family
def test_labels_are_bounded(family: Family) -> None:
    """No label names a node, a cluster or a text; one metric has at most a hundred series, or says what bounds it."""
    series = 1
    for values in family.labels.values():
        series *= len(values) or 1

    assert set() == family.labels.keys() & {
        "node",
        "node_id",
        "cluster",
        "cluster_id",
        "namespace",
        "address",
        "error",
        "le",
    }
    assert all(re.fullmatch(r"[a-z]+", label) for label in family.labels)
    assert series <= 100
    assert all(values or "Bounded" in family.help for values in family.labels.values())


def test_no_name_twice() -> None:
    """Each metric is one."""
    assert len(FAMILIES) == len({family.name for family in FAMILIES})


def test_every_metric_is_registered_with_all_its_series(counted: Counted) -> None:
    """From the beginning, so that the first of anything is an increase; under its name, with its labels."""
    found = {
        (sample.name, tuple(sorted(sample.labels.items())))
        for metric in counted.registry.collect()
        for sample in metric.samples
        if not sample.name.endswith(("_bucket", "_sum", "_created"))
    }
    names = {name.removesuffix("_count") for name, _ in found}

    assert {family.full_name for family in COUNTED} == names
    assert (f"{PREFIX}work_ended_total", (("kind", "apply"), ("outcome", "failed"))) in found
    assert {} == counted.changed()


def test_labels_are_what_the_code_says(counted: Counted) -> None:
    """Modes and claims are those that there are."""
    by_name = {family.name: family for family in COUNTED}

    assert {mode.name for mode in DegradedMode} == set(by_name["degraded"].labels["mode"])
    assert {kind.value for kind in ClaimKind} > set(by_name["claims_lost_total"].labels["kind"])


def test_a_cycle(counted: Counted) -> None:
    """Its outcome, its duration and that of its phases in seconds, its events and actions."""
    phases = {"poll": 1_500.0, "decide": 500.0, "unlock": 7.0}
    done = REPORT.evolve(events=3, actions_sent=2, actions_lost=1, phases_ms=phases)
    counted.metrics.cycled(done, transient=False)

    assert 2.007 == pytest.approx(counted.value("cycle_duration_seconds_sum"))
    assert 1.5 == counted.value("cycle_phase_duration_seconds_sum", phase="poll")
    assert (1, 3) == (counted.value("cycles_total", outcome="success"), counted.value("cycle_events_total"))
    assert (2, 0, 1) == tuple(
        counted.value("actions_total", outcome=outcome) for outcome in ("sent", "send_failed", "lost")
    )


@pytest.mark.parametrize(
    ("outcome", "transient", "said"),
    [
        (CycleOutcome.FAILED, False, "failed"),
        (CycleOutcome.FAILED, True, "transient"),
        (CycleOutcome.SKIPPED, False, "skipped"),
    ],
)
def test_a_cycle_without_success(counted: Counted, outcome: CycleOutcome, transient: bool, said: str) -> None:
    """Failed, superseded, or not done at all: it has no duration."""
    counted.metrics.cycled(REPORT.evolve(outcome=outcome), transient=transient)

    assert {f"cycles_total['{said}']": 1.0} == counted.changed()


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (Ended(key="apply:1"), "success"),
        (Ended(key="apply:1", error="broken"), "failed"),
        (Ended(key="apply:1", error="away", transient=True), "transient"),
    ],
)
def test_the_end_of_work(counted: Counted, ended: Ended, said: str) -> None:
    """By kind and outcome."""
    counted.metrics.ended("apply", ended)

    assert {f"work_ended_total['apply', '{said}']": 1.0} == counted.changed()


def test_values_that_are_not_in_the_table(counted: Counted) -> None:
    """They are counted as `other`: what others say adds no more than one series."""
    for number in range(5):
        counted.metrics.published([f"io.replicante.new.{number}.v1"])
        counted.metrics.started(Request(kind=f"new-{number}", subject="x", late_s=2.0))

    assert 5 == counted.value("events_published_total", type="other")
    assert (5, 10) == tuple(counted.value(f"work_lateness_seconds_{part}", kind="other") for part in ("count", "sum"))


def test_a_shift_is_in_one_state(counted: Counted) -> None:
    """Standby, then working, then neither."""
    seen = []
    for state in ("standby", "working", None):
        counted.metrics.shift(state)
        seen.append(tuple(counted.value("shifts", state=one) for one in ("working", "standby")))

    assert [(0, 1), (1, 0), (0, 0)] == seen


def test_a_clock_that_went_back_is_no_negative_duration(counted: Counted) -> None:
    """A histogram's sum never falls."""
    counted.metrics.probed(-1.0, answered=False)

    assert (1, 0) == (counted.value("probe_duration_seconds_count"), counted.value("probe_duration_seconds_sum"))


def test_nobody_has_to_be_told(counted: Counted) -> None:
    """The one that counts nothing takes the same calls."""
    for name, method in inspect.getmembers(Metrics, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.signature(method) == inspect.signature(getattr(NoMetrics, name))
            assert inspect.signature(method) == inspect.signature(getattr(PrometheusMetrics, name))


def test_off_by_default() -> None:
    """Without a port there is no endpoint; with one it listens on this machine alone."""
    settings = MetricsSettings().overlaid({"REPLICORE_METRICS_PORT": "28108"})

    assert (0, 28108, "127.0.0.1") == (MetricsSettings().port, settings.port, settings.host)


def test_a_process_counts_only_where_it_is_told_to(tmp_path: Path) -> None:
    """Both variables, the same folder, and it is there; somebody else's use of the client library is not ours."""
    here = str(tmp_path)

    assert tmp_path == folder_of({FOLDER: here, CLIENT_FOLDER: here})
    assert [None] * 4 == [
        folder_of({}),
        folder_of({CLIENT_FOLDER: here}),
        folder_of({FOLDER: here, CLIENT_FOLDER: "/elsewhere"}),
        folder_of({FOLDER: f"{here}/gone", CLIENT_FOLDER: f"{here}/gone"}),
    ]


PROGRAM = """
import asyncio, sys
import flows.operate, deployments.serve
from blocks.fleet import Fleet, connect
async def main():
    async with connect(Fleet()) as connections:
        print(type(await connections.metrics()).__name__)
asyncio.run(main())
print(sorted(name for name in sys.modules if name.startswith("blocks.metrics.")))
"""


def test_off_costs_nothing() -> None:
    """A worker that is not asked to count, and a process that serves no metrics, load nothing that counts."""
    environ = {name: value for name, value in os.environ.items() if name not in {FOLDER, CLIENT_FOLDER}}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environ, cwd=ROOT, timeout=60, check=True
    )
    loaded = ["blocks.metrics.families", "blocks.metrics.protocol", "blocks.metrics.settings"]

    assert ["NoMetrics", str(loaded)] == done.stdout.splitlines()


def test_the_page_is_up_to_date() -> None:
    """`python -m deployments.metrics_reference > docs/metrics.md`; whoever changes a metric runs it."""
    assert page() == (ROOT / "docs" / "metrics.md").read_text()
