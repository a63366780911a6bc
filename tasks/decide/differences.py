"""What others may see of a declared object, and of how two of them differ: secrets masked, and nothing kept silent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from blocks.models.base import Fact, Json
from blocks.models.namespace import Namespace
from blocks.models.source import Source
from blocks.models.submission import Difference
from blocks.models.tls import Sensitive, Tls
from tasks.decide.diff import plain
from tasks.decide.kinds.told import public

DIFFERENCES_MAX = 100

_NOT_TOLD = ("version",)
_NOTHING = object()
"""What a path has that is not there: no value, not even None."""
_DIGEST_CHARS = 16

Path = tuple[str, ...]


def shown(record: Fact) -> Json:
    """A record as others may see it: secrets masked, of a source's body only the names, of its URL no query, of a public
    certificate a digest of its text.
    """
    value: Any = plain(record)
    if isinstance(record, Source):
        for name, url in (("http", "url"), ("platform", "base_url")):
            if name in value:
                value[name][url] = record.where
        if record.http is not None:
            value["http"]["body"] = [*sorted(record.http.body)]
    for place, tls in _tls_of(record):
        part = value[place]["tls"] if place else value["tls"]
        for name, item in tls:
            if isinstance(item, Sensitive) and item.text is not None and public(name, item):
                digest = hashlib.sha256(item.text.get_secret_value().encode("utf-8", "surrogatepass")).hexdigest()
                part[name]["text"] = f"PEM, sha256 {digest[:_DIGEST_CHARS]}"
    shown_: Json = value
    return shown_


def alike(one: object, other: object) -> bool:
    """Whether two values are equal, and of the same types: to Python 1, 1.0 and true are equal."""
    return one == other and _written(one) == _written(other)


def _written(value: object) -> str:
    return json.dumps(plain(value), sort_keys=True, default=repr)


def differences(before: Fact, after: Fact) -> tuple[tuple[Difference, ...], int]:
    """How two records of one type differ, field by field, except in their versions.

    Each difference is told: with its values where others may see those, else that there is one.

    Returns:
        The first hundred by path, and how many more there are.
    """
    old, new = dict(_flat(_bare(before))), dict(_flat(_bare(after)))
    old_shown, new_shown = dict(_flat(shown(before))), dict(_flat(shown(after)))
    visible = _differing(old_shown, new_shown)
    hidden = {path for path in _differing(old, new) if not _told_above(path, visible, old, new)} - visible
    found = [
        _difference(path, old_shown.get(path), new_shown.get(path), hidden=path in hidden)
        for path in sorted(visible | hidden)
        if path != _NOT_TOLD
    ]
    return tuple(found[:DIFFERENCES_MAX]), max(0, len(found) - DIFFERENCES_MAX)


def _difference(path: Path, before: Json, after: Json, *, hidden: bool) -> Difference:
    name = ".".join(path)
    return Difference(path=name, hidden=True) if hidden else Difference(path=name, before=before, after=after)


def _tls_of(record: Fact) -> Iterator[tuple[str, Tls]]:
    """The TLS of a record, and in which part of it that is."""
    match record:
        case Namespace():
            parts: list[tuple[str, Tls | None]] = [("", record.tls)]
        case Source():
            parts = [
                ("http", record.http.tls if record.http is not None else None),
                ("platform", record.platform.tls if record.platform is not None else None),
            ]
        case _:
            parts = []
    yield from ((place, tls) for place, tls in parts if tls is not None)


def _bare(record: Fact) -> Any:
    """All of a record, for comparing only: with its secrets."""
    value = dict(record)
    if isinstance(record, Source) and record.http is not None:  # the names within a value are not shown either
        body = {name: json.dumps(inner, sort_keys=True) for name, inner in record.http.body.items()}
        value["http"] = {**_fields(record.http), "body": body}
    return value


def _fields(fact: BaseModel) -> dict[str, Any]:
    return {name: item for name, item in fact if item is not None}


def _flat(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """What is in a value, each with its path; fields of facts that are None are none."""
    inside = _fields(value) if isinstance(value, BaseModel) else value
    if isinstance(inside, Mapping) and inside:
        for name, inner in inside.items():
            yield from _flat(inner, (*path, str(name)))
    else:
        yield path, inside


def _differing(old: Mapping[Path, Any], new: Mapping[Path, Any]) -> set[Path]:
    """The paths whose values differ; where an empty part was filled, or a full one emptied, what is in it tells that."""
    filled = {path for path, value in old.items() if value == {}} & _above(new)
    emptied = {path for path, value in new.items() if value == {}} & _above(old)
    paths = old.keys() | new.keys()
    differing = {path for path in paths if not alike(old.get(path, _NOTHING), new.get(path, _NOTHING))}
    return differing - filled - emptied


def _above(values: Iterable[Path]) -> set[Path]:
    return {path[:length] for path in values for length in range(1, len(path))}


def _told_above(path: Path, visible: Collection[Path], old: Mapping[Path, Any], new: Mapping[Path, Any]) -> bool:
    """Whether it came or went, and the names in the part where it is say so."""
    return (path in old) != (path in new) and any(path[:length] in visible for length in range(1, len(path)))
