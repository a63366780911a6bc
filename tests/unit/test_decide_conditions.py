from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import InvalidInputError
from blocks.models.cluster import Health
from blocks.models.problem import Severity
from tasks.decide.conditions import Compare, Condition, Fields, parse_conditions

FIELDS: Fields = {
    "name": str,
    "version": str,
    "error": str,
    "health": Health,
    "severity": Severity,
    "problems": int,
    "age_s": float,
    "lag_ms": int,
    "seen_at": datetime,
    "active": bool,
    "stores": list,
    "roles": dict,
    "labels": dict,
    "data": dict,
}
ROW: dict[str, Any] = {
    "name": "orders, EU",
    "version": "8.0.10",
    "error": None,
    "health": Health.DEGRADED,
    "severity": Severity.WARNING,
    "problems": 3,
    "age_s": 300.0,
    "lag_ms": 5_000,
    "seen_at": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "active": True,
    "stores": ("MongoDB 8.0", "Kafka 4"),
    "roles": {"primary": 2},
    "labels": {"env": "prod", "example.org/tier": "gold"},
    "data": {"report": {"outcome": "success", "events": 2.0, "ok": True}, "notes": [], "text": "12"},
}


def holds(text: str, row: dict[str, Any] | None = None) -> bool:
    """Whether conditions hold for the row."""
    return all(condition.holds(ROW if row is None else row) for condition in parse_conditions([text], FIELDS))


@pytest.mark.parametrize(
    "text",
    [
        "problems=3", "problems==3.0", "problems > 2", "problems>=3,problems<4", "problems!=4", "problems>-1",
        "health=degraded", "health!=HEALTHY", "health>UNKNOWN", "severity>=warning", "severity<critical", "health~grad",
        'name="orders, EU"', "name~ORDERS", "name!=orders", "name>a", "version=8.0.10", "version>8.0.9", "version<8.1",
        "age_s=5m", "age_s>299", "age_s<0.5h", "age_s>=300000ms", "lag_ms=5s", "lag_ms<1m",
        "seen_at=2026-01-31T13:00:00+01:00", "seen_at>2026-01-31", "seen_at<2026-01-31T12:00:00.001Z", "seen_at~2026-01",
        "active=true", "active=YES", "active!=false",
        "stores=Kafka 4", "stores~mongo", "stores!=Kafka 3", "stores!=null",
        "error=", "error=null", "error = ", "error=,problems=3", "name!=null", "name!=", "data.notes=null",
        "roles.primary>0", "roles.secondary=null", "roles.secondary!=1", "labels.env=prod", "labels.nope!=x", "labels!=null",
        "labels.example.org/tier=gold", "data.report.outcome=success", "data.report.events=2", "data.report.ok=true",
        "data.text<100", "data.report.outcome~CC",
    ],
)  # fmt: skip
def test_condition_holds(text: str) -> None:
    """Each compares in the way of its field."""
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "problems=4", "problems>3", "problems=3,problems=4", "health=HEALTHY", "severity>warning", "name=Orders", "name=null",
        "version>8.0.10", "version<8.0.9", "age_s>5m", "seen_at<2026-01-31", "active=false", "stores=Kafka", "stores!=Kafka 4",
        "stores~cassandra", "error!=null", "error~x", 'error=""', "error>a", "roles.primary=1", "roles.secondary>0",
        "labels.env=test", "labels.env.x=prod", "data.report=success", "data.report~success", "data.report.ok=1",
        "data.report.ok>0", "data.notes=x", "data.notes>1", "data.report.events=two",
    ],
)  # fmt: skip
def test_condition_does_not_hold(text: str) -> None:
    """What is not so, is of another type, or has no value."""
    assert not holds(text)


def test_null_and_the_text_null() -> None:
    """In quotes a value is always a text."""
    assert holds('name="null"', {**ROW, "name": "null"})
    assert not holds("name=null", {**ROW, "name": "null"})
    assert holds("name=", {**ROW, "name": ""})
    assert holds("labels=null", {**ROW, "labels": {}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "character 1: expected the name of a field, found its end"),
        ("problems", "character 9: expected one of = == != < <= > >= ~, found its end"),
        ("problems=3,", "character 12: expected the name of a field"),
        ("problems=>3", "character 10: expected a value; one that begins like an operator stands in double quotes"),
        ('name="x', "character 6: expected a closing quote"),
        ('name="x"y', "character 9: expected a comma, or the end, found 'y'"),
        ("lag=3", "there is no field 'lag' to put a condition on; there are: active, age_s, data, error"),
        ("lag=3", "data.NAME, labels.NAME, roles.NAME"),
        ("name.x=3", "there is no field 'name.x'"),
        ("problems=three", "condition on problems: 'three' is not a number"),
        ("problems=5m", "'5m' is not a number"),
        ("problems=1e999", "is not a number"),
        ("age_s=5y", "'5y' is not a number or a duration such as 90s, 5m, 2h"),
        ("health=fine", "'fine' is not one of HEALTHY, UNKNOWN, DEGRADED, CRITICAL"),
        ("seen_at>yesterday", "'yesterday' is not a time such as 2026-01-31T12:00:00Z"),
        ("active=maybe", "'maybe' is not true or false"),
        ("active>false", "active is true or false, which has no order"),
        ("stores>a", "stores is a list, which has no order"),
        ("problems>null", "nothing is smaller or greater than null"),
        ("labels=prod", "it is an object; write labels.NAME"),
        ("name~", "~ needs a text"),
        (",".join(["problems=3"] * 101), "expected no more than 100 conditions"),
    ],
)
def test_bad_condition(text: str, said: str) -> None:
    """What can never be so is refused: with its place, with the fields there are, with what a value may be."""
    with pytest.raises(InvalidInputError) as caught:
        parse_conditions([text], FIELDS)

    assert said in str(caught.value)


def test_several_texts() -> None:
    """Conditions may stand in one text or in several."""
    assert parse_conditions(["problems=3,name~x"], FIELDS) == parse_conditions(["problems=3", "name~x"], FIELDS)
    assert () == parse_conditions([], FIELDS)


TEXTS = st.text(max_size=10)
CONDITIONS = (
    st.builds(Condition, st.just("name"), st.sampled_from(Compare), TEXTS, st.just(str))
    | st.builds(Condition, st.just("data.xy"), st.sampled_from(Compare), TEXTS, st.just(object))
    | st.builds(Condition, st.just("error"), st.sampled_from([Compare.EQ, Compare.NE]), st.none(), st.just(str))
    | st.builds(
        Condition,
        st.just("problems"),
        st.sampled_from(list(Compare)[:6]),
        st.integers(-(2**63), 2**63).map(str),
        st.just(int),
    )
)


@given(st.lists(CONDITIONS, max_size=4).map(tuple))
def test_written_conditions_are_read_again(conditions: tuple[Condition, ...]) -> None:
    """Conditions as text are the same conditions."""
    texts = [",".join(map(str, conditions))] if conditions else []

    assert conditions == parse_conditions(texts, FIELDS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(Health),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc.", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from([*FIELDS, "data.a", "labels.a.b", "x"]),
    st.sampled_from(Compare),
    st.text(max_size=8)
    | st.sampled_from(["1", "-0.5", "5m", "null", "true", "HEALTHY", "2026-01-01", "0001-01-01T00:00+14:00"]),
    JSON,
)
def test_nothing_crashes(field: str, compare: Compare, value: str, found: object) -> None:
    """Any text is a condition or refused, and a condition has an answer for any row."""
    try:
        conditions = parse_conditions([f"{field}{compare}{value}"], FIELDS)
    except InvalidInputError:
        return
    row = {**dict.fromkeys(FIELDS, found), "data": {"a": found}, "labels": {"a": {"b": found}}}

    assert all(condition.holds(row) in {True, False} for condition in conditions)
    assert conditions == parse_conditions([",".join(map(str, conditions))], FIELDS)


@pytest.mark.parametrize("compare", [one for one in Compare if one is not Compare.NE])
def test_what_has_no_value_is_only_unequal(compare: Compare) -> None:
    """Null is neither equal to, nor smaller or greater than, nor contains anything."""
    nothing = dict.fromkeys(FIELDS)

    assert not Condition("problems", compare, "3", int).holds(nothing)
    assert Condition("problems", Compare.NE, "3", int).holds(nothing)
