from __future__ import annotations

from pathlib import Path

from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import NamespaceSettings
from deployments.problem_reference import page
from tasks.decide.rules.table import RULES

DOCS = Path(__file__).parents[2] / "docs"
SETTINGS = {*ClusterSpec.model_fields, *NamespaceSettings.model_fields}


def test_the_page_is_up_to_date() -> None:
    """`python -m deployments.problem_reference > docs/problems.md`; whoever changes a rule runs it."""
    assert page() == (DOCS / "problems.md").read_text()


def test_the_page_has_every_rule() -> None:
    """Each in one row, with what to do and of what it is a symptom."""
    for rule in RULES:
        (row,) = [line for line in page().splitlines() if line.startswith(f"| `{rule.code}` |")]
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]

        assert [rule.description, rule.remedy, ", ".join(f"`{code}`" for code in rule.under)] == cells[1:4]


def test_graces_are_settings() -> None:
    """What the page calls a grace can be set."""
    graces = {line.split(" | ")[4].strip("|` ") for line in page().splitlines() if line.startswith("| `")} - {""}

    assert {"primary_grace", "lag_grace", "exclusive_patience"} == graces
    assert graces <= SETTINGS


def test_causes_are_rules() -> None:
    """No code is a symptom of what is not in the table."""
    assert {code for rule in RULES for code in rule.under} <= {rule.code for rule in RULES}
