from __future__ import annotations

import json

import pytest
from hypothesis import given

from blocks.errors import InvalidInputError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec
from blocks.models.declaration import Declaration, Initialise
from blocks.models.namespace import Namespace
from blocks.models.source import HttpDiscovery, PlatformApi, Source
from blocks.models.tls import Sensitive, Tls
from blocks.yaml_dialect import write_yaml
from doubles.declared import actions, declarative
from doubles.manifests import ASKED, PRIVATE_PEM, PUBLIC_PEM, SAME, URL
from tasks.decide.documents import read_documents
from tasks.decide.manifest_export import manifest_of
from tasks.decide.manifests import Wanted, parse


def _again(text: str) -> Wanted:
    (record,) = parse(read_documents(text), ASKED)
    return record


@given(declarative)
def test_an_exported_record_applies_as_itself(record: Wanted) -> None:
    """Through YAML and through JSON."""
    document = manifest_of(record)

    assert record == _again(write_yaml([document]))
    assert record == _again(json.dumps(document))


@given(actions)
def test_an_exported_action_is_the_same_order(record: Action) -> None:
    """Its id, target, kind, arguments and approval; not how far it has come."""
    again = _again(write_yaml([manifest_of(record)]))
    same = ("action_id", "cluster", "node_id", "kind", "args", "metadata", "timeout_s")

    assert isinstance(again, Action)
    assert [getattr(record, name) for name in same] == [getattr(again, name) for name in same]
    assert (record.approved_by is not None) is (again.state is ActionState.PENDING_SCHEDULE)


@pytest.mark.parametrize("meaning", SAME)
def test_every_meaning_survives(meaning: str) -> None:
    """What is applied, exported and applied again is the same."""
    (record,) = parse([SAME[meaning][-1]], ASKED)
    again = _again(write_yaml([manifest_of(record)]))

    assert record.model_dump(exclude={"history"}) == again.model_dump(exclude={"history"})


def test_only_what_differs_is_said() -> None:
    """The defaults are not repeated; an interval is, and whole seconds are written so."""
    assert {"apiVersion": "replicante.io/v0", "kind": "Namespace", "metadata": {"name": "prod"}} == manifest_of(
        Namespace(name="prod", version=7)
    )
    source = Source(namespace="prod", name="a", interval=300.0, http=HttpDiscovery(url=URL))
    assert {"interval": 300, "http": {"url": URL}} == manifest_of(source)["spec"]
    assert "300.0" not in str(manifest_of(source))


def test_arguments_keep_their_numbers() -> None:
    """Only our own fields are made whole: in arguments 1.0 and 1 are not the same to everybody."""
    spec = ClusterSpec(
        namespace="prod",
        cluster_id="orders",
        lag_limit_s=1e300,
        declaration=Declaration(initialise=Initialise(action_args=1.0)),
    )
    exported = manifest_of(spec)["spec"]

    assert ("1.0", "1e+300") == (
        repr(exported["declaration"]["initialise"]["action_args"]),
        repr(exported["lag_limit_s"]),
    )
    assert spec == _again(write_yaml([manifest_of(spec)]))


def test_a_synthetic_spec_becomes_a_declared_one() -> None:
    """A manifest never says that we made it."""
    spec = ClusterSpec(namespace="prod", cluster_id="orders", synthetic=True)

    assert spec.evolve(synthetic=False) == _again(write_yaml([manifest_of(spec)]))


def test_public_certificates_are_shown() -> None:
    """They are no secrets, so that what holds them can be exported."""
    record = Namespace(name="prod", tls=Tls(ca_bundle=Sensitive.model_validate(PUBLIC_PEM)))

    assert {"tls": {"ca_bundle": PUBLIC_PEM}} == manifest_of(record)["spec"]


KEY = Sensitive.model_validate(PRIVATE_PEM)
CERTIFICATE = Sensitive(secret="certificate")
HTTP = HttpDiscovery(url=URL, headers={"X-Token": KEY, "Accept": Sensitive(file="/x")}, tls=Tls(client_cert=KEY))


@pytest.mark.parametrize(
    ("record", "places"),
    [
        (Namespace(name="prod", tls=Tls(client_cert=CERTIFICATE, client_key=KEY)), ["spec.tls.client_key"]),
        (
            Source(namespace="prod", name="a", http=HTTP),
            ["spec.http.headers.X-Token", "spec.http.tls.client_cert"],
        ),
        (
            Source(namespace="prod", name="a", platform=PlatformApi(base_url=URL, headers={"X": KEY})),
            ["spec.transport.http.headers.X"],
        ),
    ],
)
def test_an_inline_secret_is_not_exported(record: Wanted, places: list[str]) -> None:
    """Each is named, none is shown, and it is said what to do."""
    with pytest.raises(InvalidInputError, match="apply its manifest again") as caught:
        manifest_of(record)

    assert places == [fault.where for fault in caught.value.faults]
    assert "hunter2" not in str(caught.value)


def test_an_action_is_exported_with_its_id() -> None:
    """Applied again it is recognised."""
    (action,) = parse([SAME["orchestrator action"][0]], ASKED)

    assert {
        "action": "core.replicante.io/debug.ping",
        "action_id": action.key,
        "metadata": {"why": "x"},
        "timeout": 5_400,
    } == manifest_of(action)["spec"]
