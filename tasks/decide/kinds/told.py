"""From facts back to what a person would write: only what differs from the defaults, and never a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from blocks.models.base import Json
from blocks.models.search import Matcher, MatchOp
from blocks.models.tls import Sensitive, Tls

PRIVATE = "PRIVATE KEY"
"""What PEM text says of itself when nobody else may see it."""

PUBLIC = ("ca_bundle", "client_cert")
"""Parts of a `Tls` that are shown, unless they hold a private key."""


WHOLE_BELOW = 2.0**53
"""Beyond, not every whole number is a float."""


def told(value: Any) -> Json:
    """A value as manifests have it. An inline secret is left out: `hidden` says where one is."""
    if isinstance(value, Enum):
        return told(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    match value:
        case BaseModel():
            return _fact(value)
        case Mapping():
            return {str(name): told(item) for name, item in value.items()}
        case list() | tuple():
            return [told(item) for item in value]
        case _:
            return str(value)


def _fact(fact: BaseModel) -> Json:
    match fact:
        case Sensitive():
            return {"file": fact.file} if fact.file is not None else {"secret": fact.secret}
        case Tls():
            return _tls(fact)
        case Matcher():
            return _matcher(fact)
        case _:
            fields = type(fact).model_fields
            numbers = {name for name, field in fields.items() if _forms(field.annotation) <= {float, type(None)}}
            return {name: _number(told(item)) if name in numbers else told(item) for name, item in _unusual(fact)}


def part(**fields: Any) -> dict[str, Json]:
    """A part of a manifest, without the fields that are None or empty."""
    shown = {name: _number(told(value)) for name, value in fields.items() if value is not None}
    return {name: value for name, value in shown.items() if value != {}}


def hidden(value: Any, where: str) -> Iterator[str]:
    """Where in a value there are inline secrets."""
    match value:
        case Tls():
            for name, item in value:
                if isinstance(item, Sensitive) and item.text is not None and not public(name, item):
                    yield f"{where}.{name}"
        case Sensitive():
            if value.text is not None:
                yield where
        case BaseModel():
            for name, item in value:
                yield from hidden(item, f"{where}.{name}")
        case Mapping():
            for name, item in value.items():
                yield from hidden(item, f"{where}.{name}")


def public(name: str, item: Sensitive) -> bool:
    """Whether a part of a `Tls` is text that everybody may see."""
    return name in PUBLIC and item.text is not None and PRIVATE not in item.text.get_secret_value()


def _tls(tls: Tls) -> dict[str, Json]:
    return {
        name: item.text.get_secret_value()
        if isinstance(item, Sensitive) and item.text is not None and public(name, item)
        else told(item)
        for name, item in _unusual(tls)
    }


def _matcher(matcher: Matcher) -> Json:
    """Short where it can be written short."""
    if matcher.op is MatchOp.EQ and matcher.values is None:
        return matcher.value
    if matcher.op is MatchOp.IN and matcher.value is None and matcher.values is not None:
        return list(matcher.values)
    return {name: told(item) for name, item in _unusual(matcher)}


def _unusual(fact: BaseModel) -> Iterator[tuple[str, Any]]:
    fields = type(fact).model_fields
    for name, value in fact:
        if fields[name].is_required() or value != fields[name].get_default(call_default_factory=True):
            yield name, value


def _forms(annotation: object) -> set[object]:
    """The types that a field may have."""
    inside = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _forms(inside[0])
    return {form for part in inside for form in _forms(part)} or {annotation}


def _number(value: Json) -> Json:
    """Whole seconds without a fraction."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < WHOLE_BELOW
    return int(value) if isinstance(value, float) and whole else value
