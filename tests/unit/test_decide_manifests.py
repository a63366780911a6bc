from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from blocks.errors import InvalidInputError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.source import Source
from doubles.views import NOW, later
from tasks.decide.documents import read_documents
from tasks.decide.manifests import API_VERSION, DOCUMENTS_MAX, Asked, Wanted, parse

ID = UUID(int=42)
ASKED = Asked(who="ann", now=NOW, new_id=lambda: ID)

NAMESPACE = {"name": "prod"}
TARGET = {"namespace": "prod", "cluster": "orders", "node": "n1"}
HTTP = {"url": "http://inventory.test:8080/clusters"}


def _manifest(kind: str, metadata: object = None, spec: object = None) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata or {}, "spec": spec or {}}


def _one(kind: str, metadata: object = None, spec: object = None) -> Wanted:
    (record,) = parse([_manifest(kind, metadata, spec)], ASKED)
    return record


def _faults(*documents: object) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInputError) as caught:
        parse(documents, ASKED)
    return [(fault.where, fault.reason) for fault in caught.value.faults]


def _places(*documents: object) -> list[str]:
    return [where for where, _ in _faults(*documents)]


def test_namespace() -> None:
    """A namespace with nothing but its name is active."""
    assert Namespace(name="prod") == _one("Namespace", NAMESPACE)
    assert NamespaceStatus.OBSERVED is _one("Namespace", {}, {"id": "prod", "status": "Observed"}).status


@pytest.mark.parametrize(
    "spec", [{"backend": "http", "interval": 60, **HTTP}, {"interval": 60, "http": HTTP}, {"interval": 60, **HTTP}]
)
def test_discovery_settings_in_both_spellings(spec: dict[str, Any]) -> None:
    """The HTTP fields flat, as the original has them, or under `http`."""
    source = _one("DiscoverySettings", {"namespace": "prod", "name": "inventory"}, spec)

    assert (Source, "prod/inventory", 60.0, HTTP["url"]) == (
        type(source),
        source.key,
        source.interval,
        str(source.http.url),
    )


@pytest.mark.parametrize(
    ("metadata", "spec"),
    [
        ({"namespace": "prod", "name": "orders"}, {"interval": 5, "active": False}),
        ({}, {"ns_id": "prod", "cluster_id": "orders", "interval": 5, "active": False}),
    ],
)
def test_cluster_spec_in_both_spellings(metadata: dict[str, str], spec: dict[str, Any]) -> None:
    """Names in `metadata` or everything flat in `spec`."""
    wanted = ClusterSpec(namespace="prod", cluster_id="orders", interval=5.0, active=False)

    assert wanted == _one("ClusterSpec", metadata, spec)


@pytest.mark.parametrize("kind", ["NodeAction", "NAction", "AgentAction", "nodeaction", "NACTION"])
def test_node_action_under_all_its_names(kind: str) -> None:
    """The original's aliases, in any case."""
    action = _one(kind, TARGET, {"action": "agent.replicante.io/test.success", "args": {"n": 1}})

    assert isinstance(action, Action)
    assert (str(ID), "prod/orders/n1", {"n": 1}) == (action.action_id, str(action.node), action.args)


def test_node_action_flat() -> None:
    """The rewrite's spelling, with an id of the person's own."""
    spec = {"ns_id": "prod", "cluster_id": "orders", "node_id": "n1", "action": "x.y/z", "action_id": str(UUID(int=7))}

    assert str(UUID(int=7)) == _one("NAction", {}, spec).action_id


@pytest.mark.parametrize(
    ("approval", "state", "approved_by"),
    [
        (None, ActionState.PENDING_APPROVE, None),
        ("required", ActionState.PENDING_APPROVE, None),
        ("granted", ActionState.PENDING_SCHEDULE, "ann"),
    ],
)
def test_approval(approval: str | None, state: ActionState, approved_by: str | None) -> None:
    """Without a word an action waits for approval; granted in the manifest counts as the applier's."""
    metadata = {**TARGET, **({} if approval is None else {"approval": approval})}
    action = _one("NodeAction", metadata, {"action": "x.y/z"})

    assert (state, approved_by, 1, "ann") == (action.state, action.approved_by, action.version, action.created_by)
    assert [(None, state)] == [(step.before, step.after) for step in action.history]


def test_actions_keep_the_order_of_their_documents() -> None:
    """Those of one file are created in the order in which they stand there."""
    ids = iter([UUID(int=9), UUID(int=3)])
    documents = [_manifest("NodeAction", TARGET, {"action": "x.y/z"})] * 2
    actions = parse(documents, Asked(who="ann", now=NOW, new_id=lambda: next(ids)))

    assert [later(0.001), later(0.002)] == [action.created_at for action in actions]


def test_every_fault_of_every_document_is_named() -> None:
    """Unknown kind, missing, wrong type, unknown field, not a mapping: each with its document, path and reason."""
    faults = _faults(
        _manifest("Namespace", NAMESPACE),
        _manifest("Cluster"),
        _manifest("NodeAction", {"namespace": "prod"}, {"args": 1, "colour": "red"}),
        _manifest("ClusterSpec", {"namespace": "prod", "name": "orders"}, {"interval": "often"}),
        "just text",
        {"apiVersion": "v9", "kind": "Namespace"},
        {"kind": "Namespace"},
    )

    assert [
        "document 2",
        "document 3: metadata.cluster",
        "document 3: metadata.node",
        "document 3: spec.action",
        "document 3: spec.colour",
        "document 4: spec.interval",
        "document 5",
        "document 6",
        "document 7: apiVersion",
    ] == [where for where, _ in faults]
    assert "unknown field" == dict(faults)["document 3: spec.colour"]
    assert (
        "known kinds are Namespace, Platform, ClusterSpec, DiscoverySettings, NodeAction" in dict(faults)["document 2"]
    )
    assert "not str" in dict(faults)["document 5"]


@pytest.mark.parametrize(
    ("kind", "spec", "place"),
    [
        ("ClusterSpec", {"ns_id": "UPPER", "cluster_id": "orders"}, "spec.ns_id"),
        ("ClusterSpec", {"ns_id": "prod", "cluster_id": ""}, "spec.cluster_id"),
        ("NAction", {"ns_id": "prod", "cluster_id": "orders", "node_id": "..", "action": "x"}, "spec.node_id"),
        ("Namespace", {"id": "UPPER"}, "spec.id"),
        ("DiscoverySettings", {"ns_id": "prod", "interval": 60, "http": HTTP}, "metadata.name"),
        ("DiscoverySettings", {"ns_id": "prod", "name": "a", "interval": 60, "http": {"url": "ftp"}}, "spec.http.url"),
        ("DiscoverySettings", {"ns_id": "prod", "name": "a", "interval": 60, "url": "ftp"}, "spec.url"),
    ],
)
def test_a_fault_is_where_the_person_wrote_it(kind: str, spec: dict[str, Any], place: str) -> None:
    """In the spelling of the document, not in ours."""
    assert [f"document 1: {place}"] == _places(_manifest(kind, {}, spec))


def test_one_bad_document_spoils_all() -> None:
    """All or nothing: a good document beside a bad one gives no record."""
    assert ["document 2"] == _places(_manifest("Namespace", NAMESPACE), None)


def test_an_object_given_twice_is_a_fault() -> None:
    """Two documents for one object leave open which is meant."""
    assert [("Namespace prod", "is given more than once")] == _faults(*[_manifest("Namespace", NAMESPACE)] * 2)


def test_nothing_is_a_fault() -> None:
    """An empty input is said to be one."""
    assert [("input", "there is no document in it")] == _faults()


def test_too_many_documents_are_refused_as_a_whole() -> None:
    """A limit, said with the number."""
    with pytest.raises(InvalidInputError, match=f"{DOCUMENTS_MAX + 1} documents are more than the {DOCUMENTS_MAX}"):
        parse([_manifest("Namespace", NAMESPACE)] * (DOCUMENTS_MAX + 1), ASKED)


def test_secrets_are_in_no_fault() -> None:
    """A fault does not repeat what was given: it may be a key."""
    tls = {"client_key": "-----BEGIN hunter2"}
    with pytest.raises(InvalidInputError) as caught:
        parse([_manifest("Namespace", NAMESPACE, {"tls": tls})], ASKED)

    assert "hunter2" not in str(caught.value)
    assert "client_key needs client_cert" in str(caught.value)


@pytest.mark.parametrize("args", [{"deep": "x" * 70_000}, "\N{PILE OF POO}" * 20_000])
def test_arguments_too_big_for_an_agent_are_refused(args: object) -> None:
    """They are measured as the bytes that travel."""
    faults = _faults(_manifest("NodeAction", TARGET, {"action": "x.y/z", "args": args}))

    assert [("document 1", "args are larger than 65536 bytes")] == faults


@pytest.mark.parametrize("value", [float("nan"), float("inf"), ["\ud800"], {"\udfff": 1}])
@pytest.mark.parametrize("field", ["args", "body"])
def test_what_cannot_travel_is_refused(field: str, value: object) -> None:
    """What JSON has no form for becomes no record, wherever it stands."""
    faults = _faults(_manifest("NodeAction", TARGET, {"action": "x.y/z", field: {"a": value}}))
    (place,) = [place for place, reason in faults if "JSON has no form for" in reason]

    assert place in {"document 1", f"document 1: spec.{field}.a"}


def _nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_deep_nesting_is_refused() -> None:
    """Arguments may be as deep as the models say, and no deeper."""
    assert _nested(16) == _one("NodeAction", TARGET, {"action": "x.y/z", "args": _nested(16)}).args
    for depth in (17, 100_000):
        (fault,) = _faults(_manifest("NodeAction", TARGET, {"action": "x.y/z", "args": _nested(depth)}))
        assert "nested deeper than 18 levels" in fault[1]


def test_a_bomb_of_aliases_is_refused_quickly() -> None:
    """A few lines of YAML that mean a billion values are counted as what they mean."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    text = f"apiVersion: {API_VERSION}\nkind: Namespace\nspec:\n  " + "\n  ".join(lines)

    with pytest.raises(
        InvalidInputError, match=r"document 1 cannot be read.* more than 2000000 values, aliases unfolded"
    ):
        read_documents(text)


def test_too_many_values_in_one_document_are_refused() -> None:
    """However it was made; values that are repeated count each time."""
    value: list[object] = ["x"] * 1_000
    (fault,) = _faults(_manifest("NodeAction", TARGET, {"action": "x.y/z", "args": [value] * 101}))

    assert ("document 1", "there are more than 100000 values in it") == fault


def test_a_document_that_contains_itself_is_refused() -> None:
    """YAML can say so; it is nested without end."""
    text = f"apiVersion: {API_VERSION}\nkind: Namespace\nspec: &s\n  name: prod\n  more: *s"

    with pytest.raises(InvalidInputError, match=r"an alias refers to .* what it is in at line 5, column 9"):
        read_documents(text)


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\t- x", "!!python/object:os.system {}", "[" * 5_000, "\x00"])
def test_what_is_not_yaml_is_said_to_be_none(text: str) -> None:
    """Nothing is applied, no object is built, and the place in the text is told."""
    with pytest.raises(InvalidInputError, match="nothing was applied"):
        read_documents(text)


def test_documents_are_yaml_or_json_and_empty_ones_are_left_out() -> None:
    """Many in one text, separated by `---`."""
    assert [{"a": 1}, {"b": 2}] == read_documents('---\na: 1\n---\n---\n{"b": 2}\n')


def test_what_json_has_no_form_for_hides_no_other_fault() -> None:
    """It is named with its place, beside everything else that is wrong."""
    spec = {"settings": {"agent_timeout": -1, "probe_interval": float("inf")}, "status": "Frozen"}
    with pytest.raises(InvalidInputError) as caught:
        parse([{"apiVersion": API_VERSION, "kind": "Namespace", "metadata": {"name": "a"}, "spec": spec}], ASKED)
    places = {fault.where for fault in caught.value.faults}

    assert {
        "document 1: spec.settings.probe_interval",
        "document 1: spec.settings.agent_timeout",
        "document 1: spec.status",
    } == places
