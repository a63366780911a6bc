"""Freezes and windows: when they are open, across weeks, time zones and changes of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blocks.models.gate import DAYS, Gate, GateKind, Weekly

MADE = datetime(2026, 1, 1, tzinfo=UTC)
"""A Thursday."""


def gate(kind: GateKind = GateKind.BLACKOUT, **fields: Any) -> Gate:
    """A gate that lasts for the year."""
    basics = {
        "name": "g", "kind": kind, "reason": "r", "owner": "ann", "expires_at": datetime(2027, 1, 1, tzinfo=UTC),
        "created_at": MADE, "created_by": "ann",
    }  # fmt: skip
    return Gate.model_validate({**basics, **fields})


def at(text: str) -> datetime:
    """A moment of 2026."""
    return datetime.fromisoformat(f"2026-{text}:00+00:00")


NIGHTS = Weekly(days=("sat", "sun"), at="02:00", minutes=240, zone="Europe/Rome")


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("01-02T12:00", (False, "01-03T01:00")),
        ("01-03T01:00", (True, "01-03T05:00")),
        ("01-03T04:59", (True, "01-03T05:00")),
        ("01-03T05:00", (False, "01-04T01:00")),
        ("01-04T05:00", (False, "01-10T01:00")),
        ("07-04T00:30", (True, "07-04T04:00")),
        ("03-29T01:30", (True, "03-29T05:00")),
        ("10-25T00:30", (True, "10-25T04:00")),
    ],
    ids=[
        "before", "opens", "open", "closes", "a week on", "in summer time", "clocks skip 02:00: opens at 03:00",
        "clocks repeat 02:00: the first of the two opens it, and it lasts its minutes",
    ],
)  # fmt: skip
def test_weekly_by_the_clocks_of_a_zone(moment: str, expected: tuple[bool, str]) -> None:
    """Open by local clocks, and when that changes next, in UTC."""
    is_open, changes = gate(weekly=NIGHTS).open_at(at(moment))

    assert (expected[0], "2026-" + expected[1]) == (is_open, f"{changes:%Y-%m-%dT%H:%M}")


def test_one_that_spans_days_and_touches_the_next() -> None:
    """Every day for a day: never closed, and what ends it is its end for good."""
    always = gate(weekly=Weekly(days=DAYS, at="12:00", minutes=1_440))

    assert always.open_at(at("05-05T11:59"))[0]
    assert always.open_at(at("05-05T12:00"))[0]


def test_without_times_it_is_open_until_it_expires() -> None:
    """From its start to its end, and never again."""
    made = gate(starts_at=at("02-01T00:00"), expires_at=at("03-01T00:00"))

    assert [(False, at("02-01T00:00")), (True, at("03-01T00:00")), (False, None)] == [
        made.open_at(at(moment)) for moment in ("01-15T00:00", "02-15T00:00", "03-01T00:00")
    ]


def test_a_freeze_may_be_without_end() -> None:
    """Nobody knows when it will be lifted."""
    assert (True, None) == gate(GateKind.FREEZE, expires_at=None).open_at(at("06-01T00:00"))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"expires_at": None}, "a window needs an end"),
        ({"expires_at": MADE}, "it ends before it begins"),
        ({"reason": ""}, "at least 1 item"),
        ({"owner": ""}, "at least 1 item"),
        ({"cluster_id": "orders"}, "named with its namespace"),
        ({"kind": "freeze", "weekly": NIGHTS}, "a freeze has no times"),
        ({"weekly": {**NIGHTS.model_dump(), "zone": "Mars/Olympus"}}, "there is no time zone"),
        ({"weekly": {**NIGHTS.model_dump(), "zone": "../../etc/passwd"}}, "there is no time zone"),
        ({"weekly": {**NIGHTS.model_dump(), "days": ("someday",)}}, "give days of the week"),
        ({"weekly": {**NIGHTS.model_dump(), "at": "25:00"}}, "should match pattern"),
        ({"weekly": {**NIGHTS.model_dump(), "minutes": 0}}, "greater than or equal to 1"),
    ],
)
def test_what_is_no_gate(fields: dict[str, Any], reason: str) -> None:
    """Mandatory parts and impossible times are said."""
    with pytest.raises(ValidationError, match=reason):
        gate(**fields)


TIMES = st.builds(
    Weekly,
    days=st.sets(st.sampled_from(DAYS), min_size=1).map(tuple),
    at=st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.integers(0, 59)),
    minutes=st.integers(1, 7 * 24 * 60),
    zone=st.sampled_from(["UTC", "Europe/Rome", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"]),
)


@given(TIMES, st.integers(1, 350 * 1_440).map(lambda minutes: MADE + timedelta(minutes=minutes)))
def test_it_changes_when_it_says(weekly: Weekly, moment: datetime) -> None:
    """Just before the moment that it names it is still as it was, at that moment it is not; and it names one within 8 days."""
    made = gate(weekly=weekly)
    is_open, changes = made.open_at(moment)
    if changes is None or changes == made.expires_at:
        return

    assert moment < changes <= moment + timedelta(days=16)
    assert is_open is made.open_at(changes - timedelta(seconds=1))[0] or changes - timedelta(seconds=1) < moment
    assert is_open is not made.open_at(changes)[0]
