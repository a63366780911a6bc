"""Whether events say what the catalogue says that they do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import orjson
from pydantic import BaseModel, ValidationError

from blocks.models.base import Json
from blocks.models.event import Event, EventType
from blocks.models.event_catalogue import CATALOGUE, Stream
from blocks.models.event_data import Data


def faults(events: Iterable[Event]) -> list[str]:
    """A sentence for each thing in the data of events that the catalogue does not name, or names otherwise."""
    return sorted({fault for event in events for fault in _faults(event)})


def _faults(event: Event) -> Iterator[str]:
    entry = CATALOGUE[EventType(event.type)]
    try:
        read = entry.data.model_validate_json(_json(event))
    except ValidationError as error:
        yield from (f"{event.type}: {fault['loc']}: {fault['msg']}" for fault in error.errors())
        return
    yield from (f"{event.type}: {name} is not in the catalogue" for name in _unnamed(event.data, read))
    if (entry.stream is Stream.SYSTEM) != (event.stream == "replicore"):
        yield f"{event.type}: it is in the stream {event.stream}"


def _json(event: Event) -> bytes:
    """Its data as it travels."""
    return orjson.dumps(event.data)


def _unnamed(given: Mapping[str, Json], model: BaseModel, where: str = "") -> Iterator[str]:
    """Fields that are given and have no name in the model, also in our own models within it."""
    fields = type(model).model_fields
    for name, value in given.items():
        if name not in fields:
            yield f"{where}{name}"
            continue
        inner = getattr(model, name)
        if isinstance(inner, Data) and isinstance(value, dict):
            yield from _unnamed(value, inner, f"{where}{name}.")
