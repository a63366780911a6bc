"""The endpoint of the serving process tells of a fleet that is really looked after, by shifts that are its children."""

from __future__ import annotations

import re
import time

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from blocks.metrics.families import FAMILIES
from doubles.product import Product
from infra.stack.layout import PROJECT

pytestmark = pytest.mark.real
WITHIN_S = 60.0


def _read(product: Product) -> dict[str, float]:
    """Every series, as it is asked for in a browser."""
    answer = httpx.get(product.environment["REPLICORE_STACK_METRICS"], timeout=10)
    answer.raise_for_status()
    return {
        f"{sample.name}{{{','.join(f'{key}={value}' for key, value in sorted(sample.labels.items()))}}}": sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def _read_when(product: Product, wanted: dict[str, float]) -> dict[str, float]:
    """The series, once these are at least what is wanted."""
    ends = time.monotonic() + WITHIN_S
    while True:
        series = _read(product)
        if all(series.get(name, 0.0) >= least for name, least in wanted.items()):
            return series
        if time.monotonic() > ends:
            pytest.fail(f"not within {WITHIN_S} s: {wanted}; {series}")
        time.sleep(0.5)


def test_the_demo_as_prometheus_sees_it(product: Product) -> None:
    """Three healthy clusters, five nodes probed and looked at, duties held once, events published, nothing dead."""
    wanted = {
        "replicore_clusters{health=HEALTHY}": 3,
        "replicore_nodes{status=HEALTHY}": 5,
        "replicore_looks_total{outcome=complete}": 5,
        "replicore_probes_total{outcome=answered}": 10,
        "replicore_cycles_total{outcome=success}": 3,
        "replicore_events_published_total{type=io.replicante.node.added.v1}": 1,
        "replicore_shifts{state=working}": 1,
        "replicore_fleet_readable{}": 1,
    }
    series = _read_when(product, wanted)

    assert {1.0} == {series[f"replicore_duties_held{{duty={duty}}}"] for duty in ("enqueue", "relay", "sweep")}
    assert (1, 0) == (series["replicore_seats{}"], series["replicore_work_items{state=dead}"])
    assert series["replicore_look_duration_seconds_count{}"] >= 5


def test_every_metric_is_really_there(product: Product) -> None:
    """What the table promises is in the answer, and nothing else; what the alerts ask for as well."""
    series = _read_when(product, {"replicore_fleet_readable{}": 1})
    names = {re.sub(r"_(bucket|sum|count|created)$", "", name.partition("{")[0]) for name in series}
    rules = yaml.safe_load((PROJECT / "infra/dashboards/alerts.yaml").read_text())["groups"][0]["rules"]
    asked = {name for rule in rules for name in re.findall(r"replicore_\w+", rule["expr"])}
    sometimes = {"replicore_problems"}

    assert {family.full_name for family in FAMILIES} - sometimes == names - sometimes
    assert asked <= names
