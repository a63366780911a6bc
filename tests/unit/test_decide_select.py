from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import InvalidInputError
from blocks.models.search import MatchOp
from tasks.decide.select import Requirement, Selector, parse_selector, parse_selectors, written

LABELS = {"env": "prod", "zone": "a", "empty": "", "app.kubernetes.io/name": "kafka", "note": 'a, "b"'}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("env=prod", True),
        ("env==prod", True),
        ("env = test", False),
        ("env!=test", True),
        ("env != prod", False),
        ("owner!=ann", True),
        ("env", True),
        ("owner", False),
        ("!owner", True),
        ("! env", False),
        ("zone in (a,b)", True),
        ("zone in(b, c)", False),
        ("owner in (ann)", False),
        ("zone notin (b)", True),
        ("zone notin (a)", False),
        ("owner notin (ann)", True),
        ("env=prod,zone in (a,b),!owner", True),
        ("env=prod , zone=b", False),
        ("empty=", True),
        ('empty in ("")', True),
        ("env=,zone=a", False),
        ("app.kubernetes.io/name=kafka", True),
        ('note="a, \\"b\\""', True),
        ("", True),
        ("  ", True),
    ],
)
def test_selector(text: str, *, expected: bool) -> None:
    """What kubectl's selectors mean, they mean here."""
    assert expected == parse_selector(text).matches(LABELS)


def test_labels_called_like_operators() -> None:
    """`in` and `notin` may be labels too."""
    assert parse_selector("in in (in),notin").matches({"in": "in", "notin": ""})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (",", "character 1: expected the key of a label, found ','"),
        ("env=prod,", "character 10: expected the key of a label, found its end"),
        ("env prod", "character 5: expected a comma, or the end, found 'prod'"),
        ("env=a b", "character 7: expected a comma, or the end, found 'b'"),
        ("env in", "character 7: expected values in parentheses, found its end"),
        ("env in ()", "character 9: expected a value (the empty one is \"\"), found ')'"),
        ("env in (a", "character 10: expected a comma or a closing parenthesis, found its end"),
        ('env="a', "character 5: expected a closing quote, found '\"a'"),
        ("-env", "character 1: expected the key of a label, found '-env'"),
        ("env-", "character 1: expected the key of a label"),
        ("!env=a", "character 5: expected a comma, or the end, found '=a'"),
        ("env<5", "character 4: expected a comma, or the end, found '<5'"),
        ("env\x1b[2J", "found '\ufffd[2J'"),
        ("a=" + "b" * 10_000, "at most 10000 characters"),
        (",".join(["a"] * 101), "expected no more than 100 requirements"),
    ],
)
def test_bad_selector(text: str, said: str) -> None:
    """What cannot be read is refused with its place."""
    with pytest.raises(InvalidInputError) as caught:
        parse_selector(text)

    assert said in str(caught.value)


def test_several_selectors() -> None:
    """All must be fitted."""
    both = parse_selectors(["env=prod", "zone=a,!owner"])

    assert both.matches(LABELS)
    assert not both.matches({**LABELS, "owner": ""})
    assert parse_selectors([]).matches({})


KEYS = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9._/-]{0,8}[A-Za-z0-9])?\Z")
VALUES = st.text(max_size=8)
REQUIREMENTS = (
    st.builds(Requirement, KEYS, st.sampled_from([MatchOp.EQ, MatchOp.NE]), st.tuples(VALUES))
    | st.builds(
        Requirement,
        KEYS,
        st.sampled_from([MatchOp.IN, MatchOp.NOT_IN]),
        st.lists(VALUES, min_size=1, max_size=3).map(tuple),
    )
    | st.builds(Requirement, KEYS, st.sampled_from([MatchOp.SET, MatchOp.UNSET]))
)


@given(st.lists(REQUIREMENTS, max_size=4).map(tuple).map(Selector))
def test_written_selector_is_read_again(selector: Selector) -> None:
    """A selector as text is the same selector."""
    assert selector == parse_selector(str(selector))


@given(st.text() | st.text('ab=!, ()"\\in', max_size=12))
def test_any_text_is_a_selector_or_refused(text: str) -> None:
    """Reading ends in a selector or in the one error, and what was read can be written and read again."""
    try:
        selector = parse_selector(text)
    except InvalidInputError:
        return

    assert selector == parse_selector(str(selector))


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_labels_written_select_themselves(labels: dict[str, str]) -> None:
    """Labels in a column can be copied into `-l`."""
    assert parse_selector(written(labels)).matches(labels)


def test_labels_are_written_in_order() -> None:
    """One form for the same labels."""
    assert 'a="1, 2",b=x' == written({"b": "x", "a": "1, 2"})
