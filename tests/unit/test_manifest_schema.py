from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from jsonschema import Draft202012Validator

from blocks.errors import InvalidInputError
from doubles.declared import actions, declarative
from doubles.manifests import ASKED, SAME, URL
from doubles.manifests_wrong import WRONG, distorted
from tasks.decide.manifest_export import manifest_of
from tasks.decide.manifest_kinds import KINDS, named
from tasks.decide.manifest_schema import all_schemas, schema_of
from tasks.decide.manifests import Wanted, parse

ROOT = Path(__file__).parents[2]
BY_KIND = {kind.name: Draft202012Validator(schema_of(kind)) for kind in KINDS}
ALL = Draft202012Validator(all_schemas())
EXAMPLES = [pytest.param(one, id=f"{meaning} {n}") for meaning, same in SAME.items() for n, one in enumerate(same)]


def _validators(document: dict[str, Any]) -> tuple[Draft202012Validator, Draft202012Validator]:
    kind = named(document["kind"])
    assert kind is not None

    return BY_KIND[kind.name], ALL


@pytest.mark.parametrize("schema", [*(schema_of(kind) for kind in KINDS), all_schemas()], ids=lambda one: one["$id"])
def test_schemas_are_schemas(schema: dict[str, Any]) -> None:
    """In the dialect that they name, with a name of their own."""
    Draft202012Validator.check_schema(schema)

    assert str(schema["$id"]).startswith("urn:replicante:v0:")
    assert "$ref" not in json.dumps(schema_of(KINDS[0]))


@pytest.mark.parametrize("document", EXAMPLES)
def test_every_spelling_that_is_accepted_is_valid(document: dict[str, Any]) -> None:
    """An editor flags nothing that we read."""
    assert parse([document], ASKED)
    assert [[], []] == [[error.message for error in one.iter_errors(document)] for one in _validators(document)]


@pytest.mark.parametrize(("document", "_place"), WRONG)
def test_unknown_fields_and_wrong_types_are_not_valid(document: dict[str, Any], _place: str) -> None:
    """An editor flags what we would refuse."""
    assert [False, False] == [one.is_valid(document) for one in _validators(document)]


def test_what_get_shows_beside_an_object_is_valid() -> None:
    """Its status is left out when it is applied; a body that is null is none."""
    document = {
        "apiVersion": "replicante.io/v0",
        "kind": "DiscoverySettings",
        "metadata": {"namespace": "prod", "name": "dc1"},
        "spec": {"url": "http://x.test/", "interval": 60, "body": None},
        "status": {"enabled": True},
    }

    assert parse([document], ASKED)
    assert [[], []] == [[error.message for error in one.iter_errors(document)] for one in _validators(document)]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"secret": "y", "text": None}, True),
        ({"file": "/x", "secret": None, "text": None}, True),
        ({"secret": "y"}, True),
        ({"secret": "y", "file": "/x"}, False),
        ({"secret": None}, False),
        ({}, False),
        ({"secret": "y", "other": None}, False),
    ],
)
@pytest.mark.parametrize("place", ["headers", "tls"])
def test_of_text_file_and_secret_one_is_given(value: dict[str, Any], read: bool, place: str) -> None:
    """One that is null is not given: so it is read, and so an editor sees it."""
    parts = {"headers": {"headers": {"X": value}}, "tls": {"tls": {"ca_bundle": value}}}
    document = {
        "apiVersion": "replicante.io/v0",
        "kind": "DiscoverySettings",
        "metadata": {"namespace": "prod", "name": "dc1"},
        "spec": {"url": "http://x.test/", **parts[place]},
    }
    try:
        parse([document], ASKED)
    except InvalidInputError:
        accepted = False
    else:
        accepted = True

    assert (read, [read, read]) == (accepted, [one.is_valid(document) for one in _validators(document)])


@given(declarative | actions)
def test_what_is_exported_is_valid(record: Wanted) -> None:
    """Any record, in canonical spelling."""
    document = manifest_of(record)

    assert [[], []] == [[error.message for error in one.iter_errors(document)] for one in _validators(document)]


@given(distorted())
def test_no_manifest_that_is_accepted_is_flagged(document: dict[str, Any]) -> None:
    """Good manifests with one thing changed: whenever it is still read, it is valid."""
    try:
        parse([document], ASKED)
    except InvalidInputError:
        return

    assert [[], []] == [[error.message for error in one.iter_errors(document)] for one in _validators(document)]


def _demo() -> list[Any]:
    found = []
    for path in sorted((ROOT / "infra" / "demo").glob("*.yaml")):
        text = path.read_text()
        for word in ("$DISCOVERY", "$PLATFORM"):
            text = text.replace(word, URL)
        found += [pytest.param(one, id=f"{path.name} {n}") for n, one in enumerate(yaml.safe_load_all(text))]
    return found


@pytest.mark.parametrize("document", _demo())
def test_the_demo_is_valid(document: dict[str, Any]) -> None:
    """What is shown to newcomers is read, and not flagged."""
    assert parse([document], ASKED)
    assert [True, True] == [one.is_valid(document) for one in _validators(document)]


@pytest.mark.parametrize("document", [{"kind": "Pod"}, {"apiVersion": "v1", "kind": "Namespace"}, {}, [], 5])
def test_what_is_no_manifest_is_not_valid(document: object) -> None:
    """Neither other systems' objects nor none at all."""
    assert not ALL.is_valid(document)


def test_fields_are_described() -> None:
    """By the docstrings of the models: an editor shows them."""
    spec = schema_of(KINDS[0])["properties"]["spec"]["properties"]

    assert spec["settings"]["properties"]["agent_timeout"]["description"].startswith("Deadline of one request")
    assert spec["status"]["description"].startswith("What may happen")
