from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from blocks.errors import InvalidInputError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec
from blocks.models.source import FileDiscovery, Source
from doubles.manifests import ASKED, DEFINITION, PRIVATE_PEM, SAME, URL, manifest
from doubles.manifests_wrong import WRONG
from tasks.decide.manifest_kinds import KINDS
from tasks.decide.manifests import Scope, Wanted, kind_for, kind_of, parse

CLUSTER = {"namespace": "prod", "cluster": "orders"}


def _one(document: dict[str, Any], scope: Scope | None = None) -> Wanted:
    (record,) = parse([document], ASKED, scope or Scope())
    return record


def _faults(document: object, scope: Scope | None = None) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInputError) as caught:
        parse([document], ASKED, scope or Scope())
    return [(fault.where, fault.reason) for fault in caught.value.faults]


@pytest.mark.parametrize("meaning", SAME)
def test_all_spellings_mean_the_same(meaning: str) -> None:
    """Names in metadata or all flat in spec, old names of fields or ours: one record."""
    first, *others = (_one(document) for document in SAME[meaning])

    assert [first] * len(others) == others


@pytest.mark.parametrize(("document", "place"), WRONG)
def test_a_fault_is_told_where_it_is_written(document: dict[str, Any], place: str) -> None:
    """In the spelling of the document; unknown fields and wrong types are refused at every depth, and nothing is repeated."""
    assert [f"document 1: {place}"] == [where for where, _ in _faults(document)]


def test_old_fields_come_to_ours() -> None:
    """What the two historical forms say lands where our records have it."""
    namespace = _one(SAME["namespace that has all"][1])
    source = _one(SAME["HTTP source with files"][1])
    cluster = _one(SAME["declared cluster"][1])

    assert ("both", 3) == (namespace.tls.client_cert.secret, namespace.settings.schedule_attempts_max)
    assert ("ca.pem", "/etc/both.pem") == (source.http.tls.ca_bundle.file, source.http.tls.client_cert.file)
    assert (7, {"n 1": {"zone": "a"}}) == (cluster.declaration.graces.scale_up, cluster.node_labels)


def test_platform_and_file_are_sources() -> None:
    """They are discovered from like any other."""
    platform, file = _one(SAME["platform"][1]), _one(SAME["file source"][0])

    assert (Source, 10.0, True) == (type(platform), platform.interval, platform.enabled)
    assert FileDiscovery(path="/etc/clusters") == file.file


def test_orchestrator_action() -> None:
    """It is for a whole cluster, and may say how long it may take."""
    action = _one(SAME["orchestrator action"][1])

    assert isinstance(action, Action)
    assert (None, 5_400.0, ActionState.PENDING_SCHEDULE) == (action.node_id, action.timeout_s, action.state)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ({"secs": 1, "nanos": 500_000_000}, 1.5),
        ({"secs": 2}, 2.0),
        (0.5, 0.5),
        ("90s", 90.0),
        ("10m", 600.0),
        ("1d2h", 93_600.0),
        ("1.5h", 5_400.0),
    ],
)
def test_timeouts(written: object, seconds: float) -> None:
    """As the original's duration, as seconds, or as a person says it."""
    action = _one(manifest("OAction", CLUSTER, {"action": "x", "timeout": written}))

    assert seconds == action.timeout_s


@pytest.mark.parametrize("written", ["10", "m", "1h 30m", "10 m", "-5s", True, [5], {"nanos": 5}, "1e3s", "99999999d"])
def test_what_is_no_timeout(written: object) -> None:
    """It is refused, and never guessed at."""
    ((where, _),) = _faults(manifest("OAction", CLUSTER, {"action": "x", "timeout": written}))

    assert "document 1: spec.timeout" == where


def test_a_definition_fits_its_cluster_and_has_a_platform() -> None:
    """Both are told at once, each at its place."""
    spec = {"declaration": {"definition": {**DEFINITION, "cluster_id": "other"}}, "interval": "often"}

    assert [
        "document 1: spec.interval",
        "document 1: spec.declaration.definition.cluster_id",
        "document 1: spec.platform",
    ] == [where for where, _ in _faults(manifest("ClusterSpec", CLUSTER, spec))]


def test_one_thing_said_twice_differently_is_a_fault() -> None:
    """Nobody can know which of the two is meant; the same said twice is fine."""
    document = manifest("ClusterSpec", CLUSTER, {"cluster_id": "orders", "ns_id": "test"})

    assert [("document 1: spec.ns_id", "says something else than metadata.namespace")] == _faults(document)
    assert isinstance(_one(manifest("ClusterSpec", CLUSTER, {"cluster_id": "orders"})), ClusterSpec)


@pytest.mark.parametrize(
    "spec",
    [
        {"url": URL, "path": "/x"},
        {"url": URL, "backend": "file"},
        {"path": "/x", "backend": "http"},
        {"backend": ["http"], "url": URL},
    ],
)
def test_a_source_asks_one_thing(spec: dict[str, Any]) -> None:
    """An endpoint or a file, as its backend says."""
    assert _faults(manifest("DiscoverySettings", {"namespace": "prod", "name": "a"}, spec))


@pytest.mark.parametrize("headers", [{"a b": "c"}, {"": "c"}, {"a": "b\r\nc: d"}, {"a": {"text": "\x00"}}])
def test_headers_that_cannot_travel(headers: dict[str, Any]) -> None:
    """They are refused where they are written, not at every run."""
    document = manifest("DiscoverySettings", {"namespace": "prod", "name": "a"}, {"url": URL, "headers": headers})

    assert [f"document 1: spec.headers.{next(iter(headers))}"] == [where for where, _ in _faults(document)]


def test_a_list_of_manifests_is_a_fault() -> None:
    """It is said what to do about it."""
    ((_, reason),) = _faults([SAME["namespace"][0]])

    assert "not list (give each its own document" in reason


def test_a_date_is_a_fault_that_speaks_of_quotes() -> None:
    """YAML makes one of what was meant as a text."""
    ((where, reason),) = _faults(manifest("Namespace", {"name": "prod", "labels": {"a": date(2030, 1, 2)}}))

    assert ("document 1: metadata.labels.a", True) == (where, "quotes" in reason)


def test_an_override_replaces_what_documents_say() -> None:
    """Namespace, cluster and node, where the kind has such a name; never a namespace's own."""
    scope = Scope(namespace="test", cluster="copy", node="n9")
    action = _one(SAME["node action"][2], scope)

    assert "test/copy/n9" == str(action.node)
    assert "test/copy" == _one(SAME["orchestrator action"][0], scope).cluster.key
    assert "test/copy" == _one(SAME["cluster"][1], scope).key
    assert "test/dc1" == _one(SAME["HTTP source"][2], scope).key
    assert "prod" == _one(SAME["namespace"][1], scope).key


def test_a_missing_namespace_is_filled_in() -> None:
    """Only where the document names none."""
    spec = {"cluster": "orders"}

    assert "dev/orders" == _one(manifest("ClusterSpec", {}, spec), Scope(fill_namespace="dev")).key
    assert "prod/orders" == _one(SAME["cluster"][2], Scope(fill_namespace="dev")).key


def test_a_scope_that_names_nothing_possible() -> None:
    """It is told as such, not as a fault of each document."""
    ((where, _), *_) = _faults(SAME["cluster"][0], Scope(namespace="UPPER"))

    assert "the namespace 'UPPER' to apply to" == where


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ns", "Namespace"),
        ("NAMESPACES", "Namespace"),
        ("platforms", "Platform"),
        ("cluster", "ClusterSpec"),
        ("clusters", "ClusterSpec"),
        ("cluster-specs", "ClusterSpec"),
        ("source", "DiscoverySettings"),
        ("discovery_settings", "DiscoverySettings"),
        ("action", "NodeAction"),
        ("NActions", "NodeAction"),
        ("agentaction", "NodeAction"),
        ("oa", "OrchestratorAction"),
        ("OAction", "OrchestratorAction"),
    ],
)
def test_kinds_by_what_people_type(text: str, name: str) -> None:
    """In any case, in the plural, short."""
    assert name == kind_of(text).name


def test_a_limit_of_time_has_one_place() -> None:
    """`lag_limits` is for other units; a second limit of time is refused, with what to say instead."""
    document = manifest(
        "ClusterSpec", {"namespace": "prod", "cluster": "orders"}, {"lag_limits": {"seconds": 5, "bytes": 5}}
    )
    ((place, why),) = _faults(document)

    assert ("document 1: spec.lag_limits.seconds", True) == (place, "lag_limit_s" in why)


def test_an_unknown_kind_names_the_known() -> None:
    """All of them, with their other names."""
    with pytest.raises(InvalidInputError, match=r"unknown kind 'pod'; known kinds are Namespace, .*\(OAction\)"):
        kind_of("pod")


def test_no_word_has_two_kinds() -> None:
    """A table that is made of the kinds loses none of their names."""
    for kind in KINDS:
        for word in (kind.name, *kind.aliases, *kind.words):
            assert kind is kind_of(word)


@pytest.mark.parametrize("meaning", SAME)
def test_every_record_has_its_kind(meaning: str) -> None:
    """Also where two kinds share a type of record."""
    document = SAME[meaning][0]

    assert document["kind"].lower() == kind_for(_one(document)).name.lower()


def test_no_fault_repeats_a_secret() -> None:
    """Whatever is wrong around it."""
    spec = {"url": URL, "headers": {"A": "hunter2\n"}, "tls": {"client_key": PRIVATE_PEM, "ca_bundle": "hunter2"}}
    faults = _faults(manifest("DiscoverySettings", {"namespace": "prod", "name": "a"}, spec))

    assert "hunter2" not in str(faults)
    assert 3 == len(faults)
