"""Facts to MongoDB documents and back: the only place that stores secrets in clear, because they are needed.

A document is the record field by field, plus `_id` (its key), `schema`, and what is only there to be found by
(`cluster_key`, `due_at`). Fields with names or values of other people's choice - any `dict` and any JSON - are kept as
JSON text: lossless for integers of any size, for dots and `$` in names, for any depth.

`schema` is raised only by a change that an older version would misread; a field that is added is none. An older version
leaves documents of a newer schema alone, a newer one reads older ones through `UPGRADES`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, TypeVar, get_args, get_origin

from pydantic import AnyUrl, BaseModel, JsonValue, SecretStr, ValidationError

from blocks.errors import RecordError
from blocks.models.action import Action
from blocks.models.base import Fact
from blocks.models.event import Event
from blocks.models.node import Node
from blocks.models.record import Record
from blocks.models.request import Request
from blocks.models.rolling import Rolling

Document = dict[str, Any]
Upgrade = Callable[[type[Fact], Document], Document]
"""Pure: by the record's type, a document of one schema as one of the next."""

SCHEMA: Final = 1
UPGRADES: Final[Mapping[int, Upgrade]] = {}
"""By schema, how its documents become those of the next."""
NEVER: Final = datetime(9999, 12, 31, tzinfo=UTC)

Storable = Record | Event | Request
S = TypeVar("S", bound=Fact)


@dataclass(frozen=True, slots=True)
class Schemas:
    """Which schema is written, and how older ones are read."""

    version: int
    upgrades: Mapping[int, Upgrade]


CURRENT: Final = Schemas(SCHEMA, UPGRADES)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Which fields of a model are not stored as pydantic dumps them."""

    text: tuple[str, ...]
    """Kept as JSON text."""
    plain: tuple[str, ...]
    """Secrets and URLs, kept as text."""
    inner: tuple[tuple[str, _Shape], ...]
    """Models, or tuples of models, with such fields of their own."""


def to_document(record: Storable) -> Document:
    """The document of a record; secrets in clear."""
    document = record.model_dump()
    _pack(_shape(type(record)), document)
    document["_id"] = record.key
    document["schema"] = SCHEMA
    if isinstance(record, Node | Action | Rolling):
        document["cluster_key"] = record.cluster.key
    if isinstance(record, Rolling):
        document |= {"namespace": record.namespace, "cluster_id": record.cluster_id}
    if isinstance(record, Request):
        document["due_at"] = record.wanted_at or record.next_at or NEVER
    return document


def upgraded(type_: type[Fact], document: Document, schemas: Schemas = CURRENT) -> Document:
    """A document as the present schema has it; the same one where it is of that.

    Raises:
        RecordError: a newer version wrote it.
    """
    found = document.get("schema", schemas.version)
    if not isinstance(found, int) or found > schemas.version:
        message = (
            f"the stored {type_.__name__} {document.get('_id')!r} is of schema {found}, and this version knows "
            f"{schemas.version}: a newer one wrote it"
        )
        raise RecordError(message)
    for version in range(found, schemas.version):
        document = {**schemas.upgrades[version](type_, dict(document)), "schema": version + 1}
    return document


def from_document(type_: type[S], document: Document, schemas: Schemas = CURRENT) -> S:
    """The record (see `Storable`) of a document. Fields that the model does not know are ignored.

    Raises:
        RecordError: the document does not fit the model, or a newer version wrote it.
    """
    document = upgraded(type_, document, schemas)
    try:
        fields = dict(document)
        _unpack(_shape(type_), fields)
        return type_.model_validate(fields)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        reason = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    except (ValueError, TypeError, AttributeError) as error:
        reason = type(error).__name__
    message = f"the stored {type_.__name__} {document.get('_id')!r} cannot be read: {reason}"
    raise RecordError(message)  # without its cause, which would show the document


@cache
def _shape(type_: type[BaseModel]) -> _Shape:
    text, plain, inner = [], [], []
    for name, field in type_.model_fields.items():
        for part in _parts(field.annotation):
            if part is JsonValue or get_origin(part) is dict:
                text.append(name)
            elif isinstance(part, type) and issubclass(part, SecretStr | AnyUrl):
                plain.append(name)
            elif isinstance(part, type) and issubclass(part, BaseModel):
                shape = _shape(part)
                if shape.text or shape.plain or shape.inner:
                    inner.append((name, shape))
    return _Shape(tuple(text), tuple(plain), tuple(inner))


def _parts(annotation: Any) -> Iterator[Any]:
    """What an annotation is made of; a `dict` and `JsonValue` in one piece."""
    arguments = get_args(annotation)
    if annotation is JsonValue or get_origin(annotation) is dict or not arguments:
        yield annotation
        return
    for argument in arguments:
        yield from _parts(argument)


def _pack(shape: _Shape, fields: Document) -> None:
    for name in shape.text:
        fields[name] = json.dumps(fields[name], default=_reveal, separators=(",", ":"))
    for name in shape.plain:
        if fields[name] is not None:
            fields[name] = _reveal(fields[name])
    for name, inner in shape.inner:
        for value in _each(fields[name]):
            _pack(inner, value)


def _unpack(shape: _Shape, fields: Document) -> None:
    for name in shape.text:
        if name in fields:
            fields[name] = json.loads(fields[name])
    for name, inner in shape.inner:
        value = fields.get(name)
        if isinstance(value, list | tuple):
            fields[name] = [dict(item) for item in value]
        elif value is not None:
            fields[name] = dict(value)
        for item in _each(fields.get(name)):
            _unpack(inner, item)


def _each(value: Any) -> Iterator[Document]:
    if isinstance(value, list | tuple):
        yield from value
    elif value is not None:
        yield value


def _reveal(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
