"""YAML and JSON from people: what is refused, where, and that nothing explodes."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from blocks.documents import DocumentError, read_json, read_json_texts, read_yaml
from blocks.yaml_dialect import write_yaml

texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\ufeff\ufffe\uffff"), max_size=8
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


class TestYaml:
    def test_scalars_are_those_of_yaml_1_2(self) -> None:
        """Dates, `yes`, octal without `0o`, and what is quoted or tagged as text are texts."""
        text = "[yes, 012, 0o17, 0x1F, 1e3, .5, -7, 2020-01-01, ~, null, True, '1', !!str 5, 1_000, 12:30, +, -.inf]"

        expected = ["yes", 12, 15, 31, 1000.0, 0.5, -7, "2020-01-01", None, None, True, "1", "5", "1_000", "12:30"]
        assert [[*expected, "+", float("-inf")]] == read_yaml(text)

    def test_keys_are_texts_as_they_are_written(self) -> None:
        """What JSON cannot have as a key becomes a text."""
        assert [{"1": 1, "on": 2, "2020-01-01": 3, "": 4}] == read_yaml("{1: 1, on: 2, 2020-01-01: 3, '': 4}")

    def test_aliases_and_merged_keys(self) -> None:
        """An alias stands for its value; merged keys are before those that stand there."""
        text = "base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\none: {<<: *base, b: 9}\nall: {<<: [*base, *more]}"

        assert [{"a": 1, "b": 9}, {"a": 1, "b": 2, "c": 4}] == [
            value for document in read_yaml(text) if isinstance(document, dict) for value in list(document.values())[2:]
        ]

    def test_several_documents(self) -> None:
        """All documents in order, None for empty ones."""
        assert [{"a": 1}, None, "b"] == read_yaml("a: 1\n---\n---\nb")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("a: {<<: 7}", "'<<' needs an object at line 1, column 10"),
            ("? [a]\n: b", "a key is not a text at line 1, column 5"),
            ("&a [*a]", "an alias refers to nothing before it, or to what it is in at line 1, column 5"),
            (
                "a: 1\n---\nb: &x 1\n---\nc: *x",
                "an alias refers to nothing before it, or to what it is in at line 5, column 4",
            ),
            ("a:\n  b: \x07", "it is not YAML (a character that may not be in it) at line 2, column 6"),
            ("'\ud800'", "it is not YAML (a character that may not be in it)"),
            ("[" * 5_000, "it is not YAML (exceeded maximum nesting depth) at line 1, column 1001"),
            ("%YAML 9.9\n---\na", "it is not YAML (found incompatible YAML document) at line 1, column 1"),
        ],
        ids=range(8),
    )
    def test_refusals(self, text: str, reason: str) -> None:
        """Each says what and where."""
        with pytest.raises(DocumentError) as error:
            read_yaml(text)

        assert reason == str(error.value)

    @pytest.mark.parametrize("step", ["[{}]", "{{<<: [{}]}}"])
    def test_bombs_do_not_go_off(self, step: str) -> None:
        """Aliases of aliases, in lists or merged, are refused before they unfold."""
        lines = ["a0: &a0 {k: 1}"]
        lines += [f"a{n}: &a{n} {step.format(', '.join([f'*a{n - 1}'] * 9))}" for n in range(1, 60)]
        started = time.monotonic()

        with pytest.raises(DocumentError, match="it holds more than 2000000 values, aliases unfolded at line"):
            read_yaml("\n".join(lines))
        assert time.monotonic() - started < 1.0

    @given(values)
    def test_what_was_written_is_read(self, value: object) -> None:
        """Whatever JSON can say comes back from YAML and from JSON."""
        assert [value] == read_yaml(write_yaml([value]))
        assert value == read_json(orjson.dumps(value).decode())

    @given(st.lists(values, max_size=4), st.sampled_from(["", " ", "\n", "\r\n\t"]))
    def test_json_texts_after_each_other(self, many: list[object], between: str) -> None:
        """JSON lines, or files put together: each is read."""
        wrapped = [[value] for value in many]

        assert wrapped == read_json_texts(between.join(orjson.dumps(value).decode() for value in wrapped))

    @pytest.mark.parametrize("text", ['{"a": 1} x', '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100_000, '{"a": 1'])
    def test_what_are_no_json_texts(self, text: str) -> None:
        """Anything else is refused, whatever comes before it."""
        with pytest.raises(DocumentError):
            read_json_texts("[] " + text)

    def test_texts_are_written_so_that_they_are_read_as_texts(self) -> None:
        """Whether YAML 1.1 or 1.2 would read something else in them without quotes."""
        value = ["1e5", "0o17", "010", "1:30", "yes", "null", "", "<<", ".inf", {"1e5": 1, "<<": {"a": 2}}]

        assert [value] == read_yaml(write_yaml([value]))
        assert [value] == list(yaml.safe_load_all(write_yaml([value], ascii_only=True, start=False)))

    def test_a_key_in_quotes_is_merged_with_nothing(self) -> None:
        """Only the plain `<<` is YAML's merge key."""
        assert [{"<<": {"a": 1}, "b": 2}] == read_yaml("{'<<': {a: 1}, b: 2}")

    @given(st.text("{}[]:,-&*!'\"#|>?%@~ \n\tab01.<", max_size=40) | st.text(max_size=40))
    def test_no_text_breaks_it(self, text: str) -> None:
        """A text is documents or a `DocumentError`."""
        for read in (read_yaml, read_json):
            made: Any = None
            try:
                made = read(text)
            except DocumentError as error:
                made = str(error)
            assert made is None or isinstance(made, list | dict | str | int | float | bool)
