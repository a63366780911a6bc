from __future__ import annotations

from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from blocks.models.cluster import ClusterState
from blocks.models.event import Event, EventDraft, EventType
from blocks.models.ids import ClusterRef
from blocks.models.look import Look
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.node import Offset
from blocks.models.record import Change, Record, RecordKey
from blocks.models.request import Request, WorkKind
from blocks.models.tls import Sensitive, Tls
from doubles.actions import make_action
from doubles.store_samples import one_of_each, source
from doubles.views import NOW, discovery, failed_look, good_look, intent, make_node


def _facts() -> list[BaseModel]:
    """A value of every kind that travels or is kept, and that holds no secret."""
    event = Event(event_id="1", type="x", stream="s", subject="s", sequence=1, time=NOW, data={"a": [None, 1.5]})
    draft = EventDraft(type=EventType.NODE_ADDED, stream="s", subject="s", data={})
    work = Request(kind=WorkKind.DISCOVER, subject="prod/inventory", next_at=NOW)
    return [make_action(intent=intent()), make_node("n1"), discovery(), event, draft, work, good_look("n1")]


@pytest.mark.parametrize("fact", _facts(), ids=lambda fact: type(fact).__name__)
def test_a_fact_survives_json(fact: BaseModel) -> None:
    """Written as JSON and read back it is the same."""
    assert fact == type(fact).model_validate_json(fact.model_dump_json())


@pytest.mark.parametrize("record", one_of_each(), ids=lambda record: type(record).__name__)
def test_every_record_has_a_key_and_a_version(record: Record) -> None:
    """What the store keeps can be found by key and changed by version."""
    assert record.key
    assert record.version >= 0
    assert type(record) in get_args(Record)


def test_samples_are_complete() -> None:
    """There is a sample of every type of record."""
    assert set(get_args(Record)) == {type(record) for record in one_of_each()}


def test_secrets_are_neither_shown_nor_told() -> None:
    """Header values and PEM text are in no repr and in no JSON."""
    tls = Tls(client_cert=Sensitive.model_validate("CERTIFICATE hunter2"))
    for value in (source(), Namespace(name="prod", tls=tls)):
        assert "open sesame" not in repr(value) + value.model_dump_json()
        assert "hunter2" not in repr(value) + value.model_dump_json()


@pytest.mark.parametrize("value", [{}, {"file": "/a", "secret": "b"}, {"text": "x", "file": "/a"}])
def test_pem_comes_from_one_place(value: object) -> None:
    """Text, a file or a secret: exactly one."""
    with pytest.raises(ValidationError, match="exactly one of"):
        Sensitive.model_validate(value)


@pytest.mark.parametrize(
    ("status", "looks", "acts"),
    [
        ("Active", True, True),
        ("Observed", True, False),
        ("Inactive", False, False),
        ("Deleting", False, False),
        ("Deleted", False, False),
    ],
)
def test_what_a_namespace_allows(status: str, looks: bool, acts: bool) -> None:
    """Observed is looked at and never acted on; the others are left alone."""
    namespace = Namespace(name="prod", status=NamespaceStatus(status))

    assert (looks, acts) == (namespace.may_look, namespace.may_act)


@pytest.mark.parametrize(("unit", "milliseconds"), [("seconds", 3_000), ("milliseconds", 3), ("messages", None)])
def test_offsets_are_comparable_in_time_only(unit: str, milliseconds: int | None) -> None:
    """Units of time become milliseconds, others are nothing to compare."""
    assert milliseconds == Offset(unit=unit, value=3).milliseconds


def test_changes_add_up() -> None:
    """Two changes are one with all of both; nothing and nothing is nothing."""
    state, node = ClusterState(namespace="prod", cluster_id="orders"), make_node("n1")
    key = RecordKey(type(node), node.key)
    draft = EventDraft(type=EventType.NODE_ADDED, stream="s", subject="s", data={})
    both = Change(puts=(node,)) + Change(puts=(state,), swaps=(make_action(),), deletes=(key,), drafts=(draft,))

    assert Change(puts=(node, state), swaps=(make_action(),), deletes=(key,), drafts=(draft,)) == both
    assert (True, False) == ((Change() + Change()).empty, both.empty)


def test_an_action_knows_where_it_belongs() -> None:
    """To a node of a cluster, or to a whole cluster."""
    assert "prod/orders/n1" == str(make_action().node)
    assert (None, ClusterRef(namespace="prod", cluster_id="orders")) == (
        make_action(node_id=None).node,
        make_action(node_id=None).cluster,
    )


def test_an_actions_id_has_one_spelling() -> None:
    """However a UUID is written, it is the same action."""
    assert make_action().action_id == make_action(action_id="{00000000-0000-0000-0000-000000000001}".upper()).action_id


def test_a_look_without_answer_has_no_parts() -> None:
    """Where the node itself could not be asked, nothing else was."""
    look: Look = failed_look("n1")

    assert (None, None, None, {}) == (look.store, look.shards, look.actions, look.details)
