"""What a discovery run that a person started shows: by name, bounded, and without foreign markup."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from blocks.models.source import Rejected, SourceReport
from flows.artifacts import WHY_CHARS_MAX, source_page, source_rows

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def _report(**fields: Any) -> SourceReport:
    return SourceReport(**{"namespace": "prod", "name": "inventory", "at": NOW, "duration_s": 0.25, **fields})


def test_rows_name_everything() -> None:
    """What was found in all, then new, changed, missing and refused, each with its name and the reason."""
    report = _report(
        clusters=4,
        nodes=9,
        new=1,
        changed=1,
        missing=1,
        new_clusters=("a",),
        changed_clusters=("b",),
        missing_clusters=("c",),
        rejected=(Rejected(what="cluster d", reason="no nodes"),),
        rejected_total=1,
    )

    assert [
        ("found", "4 clusters, 9 nodes", ""),
        ("new", "a", ""),
        ("changed", "b", ""),
        ("missing", "c", ""),
        ("refused", "cluster d", "no nodes"),
    ] == [tuple(row.values()) for row in source_rows(report)]


def test_page_names_and_counts() -> None:
    """A heading with the count, the names below it, and how many are not named; nothing of what there is none."""
    report = _report(
        clusters=200,
        nodes=600,
        new=150,
        new_clusters=tuple(f"c{number}" for number in range(100)),
        rejected=(Rejected(what="cluster d", reason="labels: too many", partial=True),),
        rejected_total=3,
    )
    page = list(source_page(report))

    assert ["## New: 150", "- and 50 more", "## Refused: 3", "- and 2 more"] == [
        line for line in page if line.startswith(("## ", "- and"))
    ]
    assert "It told of 200 clusters with 600 nodes, in 0.25 s." in page
    assert "- cluster d: labels: too many (only that part)" in page


def test_page_says_why_nothing_was_concluded() -> None:
    """A failure stands first."""
    page = list(source_page(_report(error="connection refused")))
    last = "Its last good answer, at 2026-03-01 12:00:00 UTC, told of 3 clusters with 9 nodes."
    good = _report(error="slow", good_at=datetime(2026, 3, 1, 12, tzinfo=UTC), clusters=3, nodes=9)

    assert ["# Discovery by prod/inventory", "", "**Nothing was concluded**, after 0.25 s: connection refused"] == page[
        :3
    ]
    assert "It has never given a good answer." == page[4]
    assert last == list(source_page(good))[4]


def test_what_a_source_tells_is_no_markup() -> None:
    """Names and reasons from outside stay text, and long ones are cut."""
    what = "<img src=x onerror=alert(1)> [click](http://evil)"
    report = _report(
        new=1, new_clusters=("*a*",), rejected=(Rejected(what=what, reason="|" * 1_000),), rejected_total=1
    )
    page = list(source_page(report))

    assert "- \\*a\\*" in page
    assert "- \\<img src=x onerror=alert(1)\\> \\[click\\](http://evil): " + "\\|" * (WHY_CHARS_MAX - 1) + "…" in page
