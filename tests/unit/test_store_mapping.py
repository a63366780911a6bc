"""Facts survive the way into a document, through BSON, and back."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import RecordError
from blocks.models.action import Action, ActionState, Intent, Transition
from blocks.models.event import Event
from blocks.models.namespace import Namespace
from blocks.models.node import Node, NodeStatus, Offset, Shard, ShardRole
from blocks.models.request import Priority, Request, WorkState
from blocks.models.source import Source
from blocks.store.mapping import Schemas, Storable, from_document, to_document
from doubles.store_samples import NOW, action, node, one_of_each, source

HOSTILE = ["", "$set", "a.b", "$", ".", "\x00", "\ud800", "__proto__", "$ref", "_id", "schema", "é\u202e"]

texts = st.text() | st.sampled_from(HOSTILE)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
moments = st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
ids = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp", "Cf"]), min_size=1, max_size=20).filter(
    lambda text: text not in {".", ".."}
)
plain_texts = st.text(st.characters(exclude_categories=["Cs"]))
names = st.from_regex(r"[a-z0-9]([-a-z0-9._]{0,20}[a-z0-9])?", fullmatch=True)
int64s = st.integers(-(2**63), 2**63 - 1)
uuids = st.uuids().map(str)

offsets = st.builds(Offset, unit=st.text(st.characters(exclude_categories=["Cs"]), max_size=10), value=int64s)
shards = st.builds(
    Shard,
    shard_id=ids,
    role=st.sampled_from(ShardRole),
    role_text=st.none() | texts,
    commit_offset=st.none() | offsets,
    lag=st.none() | offsets,
)
nodes = st.builds(
    Node,
    namespace=names,
    cluster_id=ids,
    node_id=ids,
    agent_address=plain_texts,
    status=st.sampled_from(NodeStatus),
    status_since=moments,
    addresses=st.dictionaries(texts, texts, max_size=4),
    attributes=st.dictionaries(texts, st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts),
    shards=st.lists(shards, max_size=4).map(tuple),
    shards_stale_since=st.none() | moments,
    notes=st.lists(texts, max_size=3).map(tuple),
    version=int64s,
)
intents = st.builds(Intent, attempt=int64s, generation=int64s, token=int64s, at=moments, answer_by=moments)
actions = st.builds(
    Action,
    action_id=uuids,
    namespace=names,
    cluster_id=ids,
    kind=st.just("a.io/b"),
    args=json_values,
    metadata=st.dictionaries(texts, texts, max_size=4),
    state=st.sampled_from(ActionState),
    created_at=moments,
    created_by=texts,
    intent=st.none() | intents,
    payload=json_values,
    history=st.lists(
        st.builds(Transition, at=moments, before=st.none(), after=st.sampled_from(ActionState), who=texts, why=texts),
        max_size=3,
    ).map(tuple),
)
events = st.builds(
    Event,
    event_id=uuids,
    type=plain_texts,
    stream=plain_texts,
    subject=plain_texts,
    sequence=int64s,
    time=moments,
    data=st.dictionaries(texts, json_values, max_size=4),
)
requests = st.builds(
    Request,
    kind=plain_texts,
    subject=plain_texts,
    state=st.sampled_from(WorkState),
    priority=st.sampled_from(Priority),
    interval=st.none() | st.floats(0.1, 1_000.0),
    next_at=st.none() | moments,
    wanted_at=st.none() | moments,
    error=st.none() | texts,
)


def through_bson(document: dict[str, Any]) -> dict[str, Any]:
    """What the server would give back."""
    decoded: dict[str, Any] = bson.decode(bson.encode(document), CodecOptions(tz_aware=True))
    return decoded


@given(nodes | actions | events | requests)
def test_any_record_comes_back_the_same(record: Storable) -> None:
    """Whatever texts, names, numbers and times a record holds, it comes back equal."""
    assert record == from_document(type(record), through_bson(to_document(record)))


@pytest.mark.parametrize("record", one_of_each(), ids=lambda record: type(record).__name__)
def test_each_type_comes_back_the_same(record: Storable) -> None:
    """Every type that is kept has a way there and back; its document is found by its key."""
    document = to_document(record)

    assert record == from_document(type(record), through_bson(document))
    assert (record.key, 1) == (document["_id"], document["schema"])


def test_deep_and_odd_json_comes_back_the_same() -> None:
    """JSON deeper than BSON may be, and numbers that JSON has no word for, are kept."""
    deep: Any = math.inf
    for _ in range(150):
        deep = [deep]
    stored = from_document(Action, through_bson(to_document(action().evolve(args=deep))))

    assert deep == stored.args


def test_secrets_are_stored_in_clear_and_shown_nowhere_else() -> None:
    """A header's value is in the document, because it is needed, and comes back as a secret."""
    document = to_document(source())
    back = from_document(Source, document)

    assert "open sesame" in document["http"]["headers"]
    assert "CERTIFICATE" == document["http"]["tls"]["client_cert"]["text"]
    assert "open sesame" not in repr(back)
    assert "open sesame" == back.http.headers["X.Token$"].text.get_secret_value()


def test_headers_of_older_versions_are_read() -> None:
    """A header that was stored as a bare text is the same secret."""
    document = to_document(source())
    document["http"]["headers"] = '{"X.Token$": "open sesame"}'

    assert source() == from_document(Source, document)


def test_making_a_document_leaves_the_record_alone() -> None:
    """A record is the same before and after."""
    record = source()
    to_document(record)

    assert source() == record


def test_unknown_fields_are_ignored() -> None:
    """A newer version's document is read by this one, as long as it is of the same schema."""
    document = to_document(node()) | {"later": 1}

    assert node() == from_document(Node, document)


def test_a_newer_schema_is_left_alone() -> None:
    """It is raised only where an older version would misread: then that one says so instead of guessing."""
    with pytest.raises(RecordError, match="is of schema 2, and this version knows 1: a newer one wrote it"):
        from_document(Node, to_document(node()) | {"schema": 2})


def test_older_schemas_are_read_step_by_step() -> None:
    """Each step makes a document of the next schema from the one before; the stored one stays as it is."""
    document = to_document(Namespace(name="prod")) | {"name": "old"}
    schemas = Schemas(
        3,
        {
            1: lambda _, one: one | {"name": f"{one['name']}-two"},
            2: lambda _, one: one | {"name": f"{one['name']}-three"},
        },
    )

    assert "old-two-three" == from_document(Namespace, document, schemas).name
    assert "old" == document["name"]


def test_missing_fields_take_their_defaults() -> None:
    """An older version's document, without a field that has a default, is read by this one."""
    document = to_document(node())
    del document["attributes"], document["notes"]

    assert node().evolve(attributes={}) == from_document(Node, document)


@pytest.mark.parametrize(
    "change",
    [{"name": None}, {"tls": "s3cr3t"}, {"tls": {"ca_bundle": "s3cr3t\x00", "client_key": "s3cr3t"}}, {"settings": []}],
    ids=["null", "not a model", "inner", "a list"],
)
def test_unreadable_document_is_named_without_its_contents(change: dict[str, Any]) -> None:
    """A document that does not fit says which one and where, and shows no value and no cause."""
    document = to_document(Namespace(name="prod")) | change

    with pytest.raises(RecordError, match="the stored Namespace 'prod' cannot be read") as caught:
        from_document(Namespace, document)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_broken_json_text_is_an_unreadable_document() -> None:
    """Text that is not JSON where JSON should be is named, not passed on as a decoder's error."""
    with pytest.raises(RecordError, match="the stored Action"):
        from_document(Action, to_document(action()) | {"args": "{"})


def test_work_is_found_by_its_wanted_start() -> None:
    """`due_at` is the present turn's wanted start, else the next one's, else never."""
    item = Request(kind="k", subject="s")
    due = [
        to_document(i)["due_at"].year
        for i in (item, item.evolve(next_at=NOW), item.evolve(next_at=NOW.replace(year=2031), wanted_at=NOW))
    ]

    assert [9999, 2030, 2030] == due
