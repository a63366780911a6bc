"""Events as Kafka records and back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.event_bus.cloudevent import NotOurEventError, read, write
from blocks.kafka.records import Incoming, Outgoing, Partition
from blocks.models.event import Event

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
EVENTS = st.builds(
    Event,
    event_id=TEXT,
    type=TEXT,
    stream=TEXT,
    subject=TEXT | st.just(""),
    sequence=st.integers(1, 2**62),
    time=st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # strategy
    data=st.dictionaries(TEXT, JSON, max_size=4),
    published=st.sampled_from([True]),
)
EVENT = Event(
    event_id="1",
    type="t",
    stream="prod/a",
    subject="s",
    sequence=3,
    time=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=5),
    data={"a": 1},
    published=True,
)


def arrived(sent: Outgoing) -> Incoming:
    """A record on its other end."""
    return Incoming(Partition(sent.topic, 0), 0, sent.value, sent.key, sent.headers)


@given(EVENTS)
def test_every_event_survives_the_way_there_and_back(event: Event) -> None:
    """Reading what was written gives the same event."""
    assert event == read(arrived(write(event, "topic", 1_000_000)))


def test_the_key_is_the_stream_and_the_timestamp_the_time() -> None:
    """The stream decides about the partition, the time about where `since` begins."""
    record = write(EVENT, "topic", 1_000)

    assert (record.key, record.timestamp_ms) == (b"prod/a", 1_767_225_600_005)


def test_data_at_the_limit_travels_and_data_beyond_does_not() -> None:
    """The limit counts the bytes of the JSON."""
    size = len(b'{"a":1}')

    assert {"a": 1} == read(arrived(write(EVENT, "topic", size))).data
    beyond = write(EVENT, "topic", size - 1)
    assert {"omitted_bytes": size} == read(arrived(beyond)).data
    assert beyond.headers["ce_dataomitted"] == b"7"


@pytest.mark.parametrize(
    "changes",
    [
        {"ce_source": b"/other"},
        {"ce_source": None},
        {"ce_specversion": b"0.3"},
        {"ce_sequence": None},
        {"ce_sequence": b"first"},
        {"ce_stream": None},
        {"ce_id": b""},
        {"ce_id": None},
        {"ce_time": None},
        {"ce_type": None},
        {"ce_specversion": None},
        {"ce_time": b"yesterday"},
        {"ce_type": b"\xff"},
        {"content-type": b"text/plain"},
        {"ce_Odd-Name": b"x"},
    ],
    ids=str,
)
def test_malformed_headers_are_refused(changes: dict[str, Any]) -> None:
    """A header that is missing or makes no sense makes the record none of our events."""
    record = arrived(write(EVENT, "topic", 1_000))
    headers = {name: value for name, value in {**record.headers, **changes}.items() if value is not None}

    with pytest.raises(NotOurEventError):
        read(replace(record, headers=headers))


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"null", b'"text"', b"\xff"])
def test_malformed_values_are_refused(value: bytes) -> None:
    """A value that is no JSON object makes the record none of our events."""
    record = arrived(write(EVENT, "topic", 1_000))

    with pytest.raises(NotOurEventError):
        read(replace(record, value=value))
