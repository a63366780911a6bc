from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles.manifests import ASKED, PRIVATE_PEM, PUBLIC_PEM, SAME, URL, manifest
from tasks.decide.kinds.base import API_VERSION
from tasks.decide.manifests import Scope, parse
from tasks.decide.sheltering import sheltered

SOURCE = {"namespace": "prod", "name": "dc1"}
TLS = {"ca_bundle": PUBLIC_PEM, "client_cert": PUBLIC_PEM, "client_key": PRIVATE_PEM}
HEADERS = {"Authorization": "Bearer hunter2", "X": {"text": "hunter2"}, "Y": {"secret": "mine"}, "Z": {"file": "/f"}}


@pytest.mark.parametrize(
    ("document", "count"),
    [
        (manifest("DiscoverySettings", SOURCE, {"url": URL, "headers": HEADERS, "tls": TLS}), 3),
        (manifest("DiscoverySettings", SOURCE, {"http": {"url": URL, "headers": HEADERS, "tls": TLS}}), 3),
        (manifest("Platform", SOURCE, {"url": {"base_url": URL, "headers": HEADERS, "tls": TLS}}), 3),
        (manifest("Platform", SOURCE, {"transport": {"http": {"base_url": URL, "headers": HEADERS}}}), 2),
        (manifest("Namespace", {"name": "prod"}, {"tls": {"client_cert": PRIVATE_PEM}}), 1),
        (manifest("Namespace", None, {"id": "prod", "https_transport": TLS}), 1),
    ],
)
def test_inline_secrets_leave_the_document(document: dict[str, Any], count: int) -> None:
    """In every spelling; what is public, or named already, stays. It parses as before, with the secrets' names."""
    (after,), secrets = sheltered([document])
    (record,) = parse([after], ASKED)

    assert count == len(secrets)
    assert "hunter2" not in str(after)
    assert all("hunter2" in secret.get_secret_value() for secret in secrets.values())
    assert all(f"'{name}'" in str(after) for name in secrets)
    assert "hunter2" not in repr((record, secrets))


def test_names_say_where_a_secret_is_used() -> None:
    """Kind, namespace, name and field, within what a Prefect block may be called."""
    document = manifest("DiscoverySettings", SOURCE, {"url": URL, "headers": {"Authorization": "hunter2"}})
    _, secrets = sheltered([document])
    (name,) = secrets

    assert re.fullmatch(r"replicore-discoverysettings-prod-dc1-headers-authorization-[0-9a-f]{8}", name)


def _names(metadata: dict[str, str], value: str = "a", scope: Scope | None = None, **spec: Any) -> set[str]:
    document = manifest("DiscoverySettings", metadata, {"url": URL, "headers": {"X": value}, **spec})
    return set(sheltered([document], scope or Scope())[1])


def test_the_same_place_has_the_same_name() -> None:
    """Whatever the secret and the spelling: a new value takes the place of the old one."""
    flat = manifest("discoverySettings", None, {"ns_id": "prod", "name": "dc1", "http": {"headers": {"X": "b"}}})

    assert _names(SOURCE) == _names(SOURCE, "other") == set(sheltered([flat])[1])


def test_other_places_have_other_names() -> None:
    """Also where letters alone do not tell them apart, and where the same file is applied to two namespaces."""
    long = {"namespace": "prod", "name": "x" * 63}
    named = [
        _names(SOURCE),
        _names({"namespace": "prod-dc1", "name": ""}),
        _names({"namespace": "prod", "name": "dc.1"}),
        _names({"namespace": "prod", "name": "dc-1"}),
        _names(SOURCE, scope=Scope(namespace="test")),
        _names(long, headers={"x" * 200: "a"}),
        _names(long, headers={"x" * 201: "a"}),
    ]

    assert len(named) == len(set[str]().union(*named))
    assert all(len(name) <= 100 for names in named for name in names)


def test_a_namespace_that_is_filled_in_counts() -> None:
    """A document that names none is of the one that is given beside it."""
    without = {"name": "dc1"}

    assert _names(SOURCE) == _names(without, scope=Scope(fill_namespace="prod"))
    assert _names(SOURCE) == _names(SOURCE, scope=Scope(fill_namespace="dev"))


@pytest.mark.parametrize("meaning", SAME)
def test_what_has_no_secrets_is_given_back(meaning: str) -> None:
    """Nothing is done to it."""
    assert (SAME[meaning], {}) == sheltered(SAME[meaning])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=())) | st.just(PRIVATE_PEM),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["http", "url", "headers", "tls", "client_key", "client_cert", "transport", "text", "name"])
            | st.text(st.characters(exclude_categories=()), max_size=3)
            | st.integers(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
PARTS = ("namespace", "ns_id", "name", "http", "url", "transport", "headers", "tls", "https_transport")


@given(
    st.sampled_from(["Namespace", "platform", "DiscoverySettings", "NodeAction", "Pod", None, 5]),
    st.dictionaries(st.sampled_from(PARTS), VALUES, max_size=4) | VALUES,
    st.dictionaries(st.sampled_from(PARTS), VALUES, max_size=4) | VALUES,
)
def test_hostile_documents(kind: object, metadata: object, spec: object) -> None:
    """Whatever is in a document: it is never changed in place, nothing fails, and names fit Prefect."""
    document = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
    before = copy.deepcopy(document)
    (after,), secrets = sheltered([document])

    assert before == document
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,98}[a-z0-9]", name) for name in secrets)
    assert bool(secrets) is (after != document)


@given(st.lists(VALUES, max_size=3))
def test_what_is_no_manifest_passes(documents: list[object]) -> None:
    """It is for the parser to refuse."""
    assert (documents, {}) == sheltered(documents)


def test_a_document_that_contains_itself() -> None:
    """YAML can say so."""
    document = manifest("DiscoverySettings", SOURCE, {"headers": {"X": "hunter2"}})
    document["spec"]["more"] = document
    (after,), secrets = sheltered([document])

    assert 1 == len(secrets)
    assert isinstance(after, dict)
    assert "hunter2" != after["spec"]["headers"]["X"]


def test_every_secret_of_an_object_has_a_name_of_its_own() -> None:
    """The second and later ones too: a shared name would send one object's secret to another's server."""
    found = [
        sheltered([{
            "apiVersion": "replicante.io/v0",
            "kind": "DiscoverySettings",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"url": "http://x.test", "headers": {"A": "one", "B": "two", "C": "three"}},
        }])[1]
        for namespace in ("prod", "demo")
        for name in ("s1", "s2")
    ]  # fmt: skip

    assert 12 == len({secret for secrets in found for secret in secrets})
