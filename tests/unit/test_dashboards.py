"""The dashboard and the alerts ask for metrics that there are, with labels and values that they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from blocks.metrics.families import BY_NAME, FAMILIES, PREFIX, Family, Kind
from tasks.decide.rules.table import RULES

DASHBOARDS = Path(__file__).parents[2] / "infra" / "dashboards"
CODES = {rule.code for rule in RULES}
ROWS = ["Fleet health", "Watch and cycles", "Work and lateness", "Events and outbox", "Actions", "Control plane"]
GIVEN = {"instance", "job", "le"}
"""Labels that Prometheus gives."""
FUNCTIONS = {"sum", "max", "min", "rate", "increase", "histogram_quantile", "topk", "time", "vector", "by", "or", "le"}
SERIES = re.compile(rf"{PREFIX}(\w+)(?:\{{([^}}]*)\}})?(\[)?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


def _dashboard() -> dict[str, Any]:
    made: dict[str, Any] = json.loads((DASHBOARDS / "replicore.json").read_text())
    return made


def _panels() -> list[dict[str, Any]]:
    return [panel for panel in _dashboard()["panels"] if panel["type"] != "row"]


def _rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((DASHBOARDS / "alerts.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def _expressions() -> Iterator[tuple[str, str, set[str]]]:
    """Where, the expression, and the labels of its result that are shown."""
    for panel in _panels():
        for target in panel["targets"]:
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            yield f"{panel['title']} {target['refId']}", target["expr"], shown
    for rule in _rules():
        yield rule["alert"], rule["expr"], set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))


each_expression = pytest.mark.parametrize(
    ("expr", "shown"), [pytest.param(expr, shown, id=where) for where, expr, shown in _expressions()]
)


def _family(series: str) -> tuple[Family, str]:
    """The metric that a series belongs to, and the part of it: `_bucket`, `_sum`, `_count` or nothing."""
    for part in ("_bucket", "_sum", "_count", ""):
        family = BY_NAME.get(series.removesuffix(part) if part else series)
        if family is not None and (family.kind is Kind.HISTOGRAM) == bool(part):
            return family, part
    message = f"there is no metric {series}"
    raise AssertionError(message)


@each_expression
def test_metrics_and_their_labels_exist(expr: str, shown: set[str]) -> None:
    """Each series is one that the code registers; labels it is asked by, and values that it is compared with, are known."""
    families = [(_family(series)[0], matchers) for series, matchers, _ in SERIES.findall(expr)]
    labels = {label for family, _ in families for label in family.labels} | GIVEN
    asked = {label for by in re.findall(r"by \(([^)]*)\)", expr) for label in by.split(", ")}

    assert families
    assert set() == asked - labels
    assert set() == shown - asked
    for family, matchers in families:
        for label, _, value in MATCHER.findall(matchers):
            assert value in family.labels[label] or (label == "code" and value in CODES)


@each_expression
def test_counters_are_never_looked_at_bare(expr: str, shown: set[str]) -> None:
    """Counters and histograms only as rates or increases over a time, gauges never so; buckets by their bound."""
    for found in SERIES.finditer(expr):
        family, part = _family(found[1])
        over_time = found[3] is not None

        assert (family.kind is not Kind.GAUGE) == over_time
        assert not part or "by (le" in expr
    assert expr.count("(") == expr.count(")")
    assert set(re.findall(r"\b([a-z_]+) ?\(", expr)) <= FUNCTIONS


def test_rows_and_ids() -> None:
    """Rows by what one wants to know; every id is unique; panels lie on the grid and on no other."""
    panels = _dashboard()["panels"]
    ids = [panel["id"] for panel in panels]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert ROWS == [panel["title"] for panel in panels if panel["type"] == "row"]
    assert len(ids) == len(set(ids))
    assert len(cells) == len(set(cells))
    assert 24 > max(x for x, _ in cells)


def test_the_data_source_is_a_variable() -> None:
    """Whoever imports it chooses; no panel names a data source of ours."""
    dashboard = _dashboard()
    sources = [panel["datasource"] for panel in _panels()]
    sources += [target["datasource"] for panel in _panels() for target in panel["targets"]]

    assert [("datasource", "prometheus")] == [(one["type"], one["query"]) for one in dashboard["templating"]["list"]]
    assert {"${datasource}"} == {source["uid"] for source in sources}
    assert "id" not in dashboard
    assert {"timeseries", "stat"} == {panel["type"] for panel in _panels()}
    assert all(panel["title"] and panel["fieldConfig"]["defaults"]["unit"] for panel in _panels())


def test_every_metric_is_on_the_dashboard() -> None:
    """What is counted is shown."""
    expressions = [target["expr"] for panel in _panels() for target in panel["targets"]]
    shown = {_family(series)[0].name for expr in expressions for series, _, _ in SERIES.findall(expr)}

    assert {family.name for family in FAMILIES} == shown


def test_alerts_say_what_to_do() -> None:
    """Each has a name of its own, waits, pages or not, and says in two sentences what is wrong and what to do."""
    rules = _rules()

    assert len(rules) == len({rule["alert"] for rule in rules})
    for rule in rules:
        assert {"alert", "expr", "for", "labels", "annotations"} == rule.keys()
        assert re.fullmatch(r"Replicore[A-Z][A-Za-z]+", rule["alert"])
        assert re.fullmatch(r"\d+m", rule["for"])
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert {"summary", "description"} == rule["annotations"].keys()
        assert re.search(r" (==|>) [\d.]+$", rule["expr"])
