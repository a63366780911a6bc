"""Manifests that are small as texts and would be huge as records; and what the reader makes of scalars."""

from __future__ import annotations

import time
from uuid import UUID

import pytest

from blocks.errors import InvalidInputError
from doubles.views import NOW
from tasks.decide.documents import TEXT_MAX, read_documents
from tasks.decide.manifest_size import CHARS_MAX, check_size
from tasks.decide.manifests import API_VERSION, Asked, parse

ASKED = Asked(who="ann", now=NOW, new_id=lambda: UUID(int=42))
SPEC = f"apiVersion: {API_VERSION}\nkind: ClusterSpec\nmetadata: {{namespace: prod, cluster: orders}}\nspec:\n"


def _refused(text: str) -> str:
    with pytest.raises(InvalidInputError) as caught:
        parse(read_documents(text), ASKED)
    return str(caught.value)


def test_merged_keys_are_counted_before_they_are_copied() -> None:
    """Twenty thousand keys, merged five thousand times in 264 KB of text: refused at once, with the place."""
    text = "a: &a {" + ", ".join(f"k{n}: 1" for n in range(20_000)) + "}\nb:\n" + "- {<<: *a}\n" * 5_000
    began = time.monotonic()
    reason = _refused(text)

    assert "document 1 cannot be read, nothing was applied: it holds more than" in reason
    assert "aliases unfolded at line" in reason
    assert time.monotonic() - began < 5.0


def test_merged_keys_are_counted_over_all_documents() -> None:
    """What no single document is too big for, all of them together are."""
    one = "a: &a {" + ", ".join(f"k{n}: 1" for n in range(1_000)) + "}\nb:\n" + "- {<<: *a}\n" * 500
    reason = _refused("---\n".join([one] * 100))

    assert "cannot be read, nothing was applied: it holds more than" in reason


@pytest.mark.parametrize(("chars", "repeats"), [(10_000, 40_000), (100_000, 45_000)])
def test_characters_are_counted_as_often_as_aliases_repeat_them(chars: int, repeats: int) -> None:
    """A long text, repeated: the sum counts, not the number of values."""
    arguments = f"      - &x {'z' * chars}\n" + "      - *x\n" * repeats
    reason = _refused(f"{SPEC}  declaration:\n    initialise:\n      action_args:\n{arguments}")

    assert f"it holds more than {TEXT_MAX} characters, aliases unfolded at line" in reason


def test_one_document_has_a_limit_of_its_own() -> None:
    """Texts and keys count, however the document was made."""
    text = "z" * (CHARS_MAX // 8)
    check_size({"a": [text] * 7})

    with pytest.raises(InvalidInputError, match=f"more than {CHARS_MAX} characters"):
        check_size({"a": [text] * 9})
    with pytest.raises(InvalidInputError, match=f"more than {CHARS_MAX} characters"):
        check_size({"a": [{text: 1}] * 9})


@pytest.mark.parametrize(
    "place",
    ["initialise.action_args", "definition.attributes", "definition.nodes.small.attributes"],
)
def test_free_values_of_a_declaration_are_bounded(place: str) -> None:
    """Like the arguments of an action: an agent or a platform has to take them. Each has its place in the fault."""
    value: object = {"key": "z" * 70_000}
    for name in reversed(place.split(".")):
        value = {name: value}
    document = {
        "apiVersion": API_VERSION,
        "kind": "ClusterSpec",
        "metadata": {"namespace": "prod", "cluster": "orders"},
        "spec": {"declaration": value},
    }
    with pytest.raises(InvalidInputError) as caught:
        parse([document], ASKED)

    assert (f"document 1: spec.declaration.{place}", "it is larger than 65536 bytes") in caught.value.faults


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    """Python cannot even print it in decimal."""
    with pytest.raises(InvalidInputError, match="a number of 20000 bits in it does not fit into 64 bits"):
        check_size({"a": int("f" * 5_000, 16)})


def test_scalars_are_those_of_file_sources() -> None:
    """YAML 1.2: nothing in base sixty, no octal numbers without `0o`, `yes` and dates are texts."""
    text = "{a: 1:30, b: 0100, c: 0o17, d: yes, e: 2020-01-01, f: 1_000, 7: x}"

    assert [{"a": "1:30", "b": 100, "c": 15, "d": "yes", "e": "2020-01-01", "f": "1_000", "7": "x"}] == read_documents(
        text
    )


def test_an_interval_in_base_sixty_is_a_fault() -> None:
    """It was ninety seconds once, in silence."""
    assert "document 1: spec.interval" in _refused(f"{SPEC}  interval: 1:30\n")


@pytest.mark.parametrize("text", ['[{"a": 1}, {"b": 2}]', "- {a: 1}\n- {b: 2}\n", "a: 1\n---\nb: 2\n"])
def test_lists_of_documents(text: str) -> None:
    """`export -o json` and `get -o yaml` write lists: they are read like as many documents."""
    assert [{"a": 1}, {"b": 2}] == read_documents(text)
