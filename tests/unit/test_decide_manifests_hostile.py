from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import Fault, InvalidInputError
from doubles.views import NOW
from tasks.decide.documents import read_documents
from tasks.decide.manifests import API_VERSION, KINDS, Asked, Wanted, parse

ID = UUID(int=42)
ASKED = Asked(who="ann", now=NOW, new_id=lambda: ID)

TARGET = {"namespace": "prod", "cluster": "orders", "node": "n1"}
HTTP = {"url": "http://inventory.test:8080/clusters"}


def _manifest(kind: str, metadata: object = None, spec: object = None) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata or {}, "spec": spec or {}}


def _faults(*documents: object) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInputError) as caught:
        parse(documents, ASKED)
    return [(fault.where, fault.reason) for fault in caught.value.faults]


HOSTILE = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ["..", "", " a", "a\u202eb", "a\x00", "A" * 999]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | HOSTILE | st.binary() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HOSTILE | st.integers(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "namespace",
    "name",
    "cluster",
    "node",
    "id",
    "ns_id",
    "action",
    "args",
    "interval",
    "tls",
    "http",
    "url",
    "metadata",
    "body",
    "headers",
    "kind",
    "backend",
    "path",
    "file",
    "transport",
    "discovery",
    "declaration",
    "platform",
    "nodes",
    "timeout",
    "labels",
    "settings",
    "https_transport",
]


@given(
    kind=st.sampled_from([*(kind.name for kind in KINDS), "Nonsense"]) | VALUES,
    metadata=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6) | VALUES,
    spec=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6) | VALUES,
)
def test_hostile_documents_end_in_faults_or_in_records(kind: object, metadata: object, spec: object) -> None:
    """Whatever is in a document: either records that can be told as JSON, or faults with a place each."""
    document = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
    records, faults = _judged(document)

    assert bool(records) is not bool(faults)
    assert all(record.model_dump_json() for record in records)
    assert all(fault.where.startswith("document 1") and fault.reason for fault in faults)


def _judged(document: object) -> tuple[tuple[Wanted, ...], tuple[Fault, ...]]:
    try:
        return parse([document], ASKED), ()
    except InvalidInputError as error:
        return (), error.faults


@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@`#\n\t ?,0", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text brings the reader out of step: as many documents as YAML's own reader sees, or refused in our words."""
    documents, refused = _read(text)

    assert "" == refused or "nothing was applied" in refused
    assert refused or len(documents) <= len(list(yaml.load_all(text, Loader=yaml.CBaseLoader)))


def _read(text: str) -> tuple[list[object], str]:
    try:
        return read_documents(text), ""
    except InvalidInputError as error:
        return [], error.message


def test_a_key_that_is_given_twice_is_refused() -> None:
    """YAML would keep the last of two in silence; in what acts on databases that is a fault."""
    with pytest.raises(
        InvalidInputError, match=r"document 2 cannot be read.* at line 4, column 1 \(the key 'spec' is given twice\)"
    ):
        read_documents("a: 1\n---\nspec: {action: one}\nspec: {action: two}\n")


@pytest.mark.parametrize(
    "text",
    ["a: 1\nkey: hunter2: x", "key: *hunter2", "key: 'hunter2", "key: @hunter2", "key: !hunter2 x", "{a: hunter2"],
)
def test_what_cannot_be_read_is_not_repeated(text: str) -> None:
    """It may be a secret that lost its quotes; line and column are told, the text is not."""
    with pytest.raises(InvalidInputError, match=r"line \d, column \d") as caught:
        read_documents(text)

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_json_is_read_as_json() -> None:
    """Where YAML would read other numbers and texts in it."""
    text = json.dumps({"a": "\N{PILE OF POO}\x7f", "b": 1e22, "c": "1e5"})

    assert [{"a": "\N{PILE OF POO}\x7f", "b": 1e22, "c": "1e5"}] == read_documents(text)
    with pytest.raises(InvalidInputError, match="'a' is given twice"):
        read_documents('{"a": 1, "a": 2}')


def test_nesting_without_end_is_refused_by_the_reader() -> None:
    """A text that would exhaust the parser is a fault of its document."""
    with pytest.raises(InvalidInputError, match=r"document 1 cannot be read.*maximum nesting depth"):
        read_documents("[" * 100_000)


def test_credentials_in_a_url_are_refused() -> None:
    """A source's URL is shown in listings: a password in it is a fault, and is not repeated."""
    document = {
        "apiVersion": "replicante.io/v0",
        "kind": "DiscoverySettings",
        "metadata": {"namespace": "prod", "name": "dc1"},
        "spec": {"interval": 5, "url": "http://ann:secret@host/discover"},
    }
    ((where, reason),) = _faults(document)

    assert ("document 1: spec.url", True) == (where, "no user and password" in reason)
    assert "secret" not in reason


def test_numbers_beyond_64_bits_are_refused() -> None:
    """What neither MongoDB nor JSON readers can hold is a fault, not a poison."""
    document = {
        "apiVersion": "replicante.io/v0",
        "kind": "NodeAction",
        "metadata": {"namespace": "prod", "cluster": "orders", "node": "n1"},
        "spec": {"action": "a/b", "args": {"n": 2**64}},
    }
    ((where, reason),) = _faults(document)

    assert ("document 1", True) == (where, "64 bits" in reason)
