"""Events as CloudEvents 1.0 in Kafka's binary mode, by the `cloudevents` library.

Attributes are headers `ce_id`, `ce_source`, `ce_type`, `ce_subject`, `ce_time` ..., the data is the value (JSON), the key is
the stream. Extensions: `sequence` with `sequencetype` Integer (the official sequence extension), `stream`, and
`dataomitted`, the size in bytes of data that cannot travel.
"""

from __future__ import annotations

import json
from typing import Any

import orjson
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.exceptions import BaseCloudEventException
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import ValidationError

from blocks.kafka.records import Incoming, Outgoing
from blocks.models.base import Json
from blocks.models.event import SOURCE, Event

_JSON = "application/json"
_REQUIRED = {"ce_specversion", "ce_id", "ce_type", "ce_time", "ce_stream", "ce_sequence"}


class NotOurEventError(Exception):
    """A record that is not one of our events."""


class _Orjson(JSONFormat):
    """The library's JSON format, quick and exact: what is not JSON is an error, not a text."""

    def write_data(self, data: dict[str, Any] | str | bytes | None, datacontenttype: str | None) -> bytes:
        _ = datacontenttype
        return orjson.dumps(data)

    def read_data(self, body: bytes, datacontenttype: str | None) -> dict[str, Any] | str | bytes | None:
        if datacontenttype is None or datacontenttype.partition(";")[0].strip() != _JSON:
            message = f"its content type is {datacontenttype}"
            raise ValueError(message)
        return orjson.loads(body)  # type: ignore[no-any-return]  # what is no object is refused below


def travelling(data: dict[str, Json], data_bytes_max: int) -> tuple[dict[str, Json], int | None]:
    """The data as it travels, and the size in bytes of what had to be left out: data of more than `data_bytes_max` bytes,
    and data that the library does not write (integers beyond 64 bits, half characters, too deep). The history has it.
    """
    try:
        size = len(orjson.dumps(data))
    except TypeError:
        size = _size(data)
    else:
        if size <= data_bytes_max:
            return data, None
    return {"omitted_bytes": size}, size


def _size(data: dict[str, Json]) -> int:
    """About how large data is that `orjson` does not write."""
    try:
        return len(json.dumps(data, ensure_ascii=False, separators=(",", ":")))
    except (ValueError, RecursionError):
        return 0


def write(event: Event, topic: str, data_bytes_max: int) -> Outgoing:
    """An event as a record, with its data as `travelling` says.

    Raises:
        ValueError: what is not data cannot be written, such as a stream's name with half a character in it.
    """
    data, omitted = travelling(event.data, data_bytes_max)
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.event_id,
        "source": SOURCE,
        "type": event.type,
        "time": event.time,
        "datacontenttype": _JSON,
        "sequence": str(event.sequence),
        "sequencetype": "Integer",
        "stream": event.stream,
    }
    if event.subject:
        attributes["subject"] = event.subject
    if omitted is not None:
        attributes["dataomitted"] = str(omitted)
    try:
        message = to_binary(CloudEvent(attributes, data), _Orjson(), lambda _: event.stream)
    except BaseCloudEventException as error:
        reason = f"the event {event.event_id} is no CloudEvent ({type(error).__name__})"
        raise ValueError(reason) from error
    return Outgoing(
        topic=topic,
        value=message.value,
        key=event.stream.encode(),
        headers=message.headers,
        timestamp_ms=round(event.time.timestamp() * 1_000),
    )


def read(record: Incoming) -> Event:
    """A record as an event.

    Raises:
        NotOurEventError: it is none of ours, or not well formed.
    """
    if record.headers.get("ce_source") != SOURCE.encode():
        message = f"its source is not {SOURCE}"
        raise NotOurEventError(message)
    if missing := _REQUIRED - record.headers.keys():  # the library would make them up
        message = f"it has no {', '.join(sorted(missing))}"
        raise NotOurEventError(message)
    try:
        found = from_binary(KafkaMessage(record.headers, None, record.value), _Orjson(), CloudEvent)
        return Event(
            event_id=found.get_id(),
            type=found.get_type(),
            stream=found.get_extension("stream"),
            subject=found.get_subject() or "",
            sequence=found.get_extension("sequence"),
            time=found.get_time(),  # type: ignore[arg-type]  # Event refuses None
            data=found.get_data(),  # type: ignore[arg-type]  # and what is no object
            published=True,
        )
    except (ValidationError, BaseCloudEventException, ValueError) as error:
        message = f"it is malformed ({type(error).__name__})"
        raise NotOurEventError(message) from error
