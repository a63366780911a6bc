from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from blocks.models.base import TEXT_CHARS_MAX, Seconds, Utc, clean_text
from doubles.views import make_node

UTC_MS = TypeAdapter(Utc)


@given(st.text(st.characters(exclude_categories=()), min_size=1), st.integers(1, 50))
def test_cleaned_text_is_harmless(text: str, chars_max: int) -> None:
    """Encodable, without control or direction characters, not too long, and clean already the second time."""
    cleaned = clean_text(text, chars_max)

    assert len(cleaned) <= chars_max
    assert cleaned.encode()
    assert not set(cleaned) & set("\n\r\t\x00\x1b\x7f\x85\x9b\u202e\u2066\u2028")
    assert cleaned == clean_text(cleaned, chars_max)


def test_long_text_ends_in_an_ellipsis() -> None:
    """What was cut says so."""
    assert "a" * (TEXT_CHARS_MAX - 1) + "…" == clean_text("a" * 9_999)


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1)), st.integers(-14, 14))  # noqa: DTZ001
def test_moments_are_utc_in_milliseconds(naive: datetime, hours: int) -> None:
    """Any aware moment becomes UTC, cut to milliseconds; the same moment, at most one earlier."""
    moment = naive.replace(tzinfo=timezone(timedelta(hours=hours)))
    kept = UTC_MS.validate_python(moment)

    assert UTC is kept.tzinfo
    assert timedelta() <= moment - kept < timedelta(milliseconds=1)
    assert kept == UTC_MS.validate_python(kept)


def test_a_moment_without_zone_is_refused() -> None:
    """Nobody can know when that is."""
    with pytest.raises(ValidationError, match="a time needs a time zone"):
        UTC_MS.validate_python("2026-03-01T12:00:00")


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 32 * 86_400, "soon"])
def test_impossible_durations_are_refused(seconds: object) -> None:
    """An interval or deadline is a positive, bounded number."""
    with pytest.raises(ValidationError):
        TypeAdapter(Seconds).validate_python(seconds)


def test_facts_cannot_be_changed() -> None:
    """A fact is a value; a changed one is another, validated again."""
    node = make_node("n1")
    with pytest.raises(ValidationError, match="frozen"):
        node.node_id = "n2"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        node.evolve(node_id="")

    assert ("n1", "n2") == (node.node_id, node.evolve(node_id="n2").node_id)


def test_unknown_fields_are_ignored() -> None:
    """A newer writer does not stop an older reader."""
    node = make_node("n1")

    assert node == type(node).model_validate({**node.model_dump(), "new_in_v9": {"a": 1}})
