"""Take inline secrets out of documents, so that they are kept in Prefect Secret blocks and appear nowhere else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import SecretStr

from tasks.decide.kinds.base import Kind, Path, peek
from tasks.decide.kinds.http import TLS_PARTS, inline
from tasks.decide.kinds.told import PRIVATE, PUBLIC
from tasks.decide.manifest_kinds import named
from tasks.decide.manifest_spelling import alternatives
from tasks.decide.manifests import EVERYWHERE, Scope

NAME_CHARS_MAX = 100
_HASH_CHARS = 8


def sheltered(
    documents: Iterable[object], scope: Scope = EVERYWHERE, names: Mapping[str, str] = MappingProxyType({})
) -> tuple[list[object], dict[str, SecretStr]]:
    """Replace each inline secret by `{secret: NAME}`; what is no manifest is given back as it is.

    Args:
        documents: as they are parsed; they are not changed.
        scope: as they are parsed with: the same file applied to two namespaces has two sets of secrets.
        names: what is written instead of the names that places have.

    Returns:
        The documents, and the secrets by name. The name of a place: `replicore-`, kind, namespace, name and field, in
        letters, digits and dashes, with a hash of them. The same place always has the same name.
    """
    found: dict[str, SecretStr] = {}
    return [_sheltered(document, scope, names, found) for document in documents], found


def value_name(place: str, value: str) -> str:
    """The name under which one value of a place is kept.

    Args:
        place: the name of the place.
        value: tells it from the others of that place: letters, digits and dashes, and nothing that follows from the secret.
    """
    return f"{place}-{value}"


def kept_there(place: str, names: Iterable[str]) -> list[str]:
    """Those of some names under which a value of that place may be kept."""
    return sorted(name for name in names if name == place or name.startswith(f"{place}-"))


def _sheltered(document: object, scope: Scope, given: Mapping[str, str], found: dict[str, SecretStr]) -> object:
    kind = named(document.get("kind")) if isinstance(document, Mapping) else None
    if kind is None:
        return document
    names = tuple(_names(document, kind, scope))
    for path, field, text in list(_secrets(document, kind)):
        place = _place_name((kind.name, *names, *field))
        name = given.get(place, place)
        found[name] = SecretStr(text)
        document = _with(document, path, {"secret": name})
    return document


def _names(document: object, kind: Kind, scope: Scope) -> Iterator[str]:
    for field, given in (("namespace", scope.namespace), ("name", None)):
        places = alternatives(("metadata", field), kind.spellings)
        written = next((text for place in places if isinstance(text := peek(document, place), str)), None)
        filled = scope.fill_namespace if field == "namespace" else None
        yield given or written or filled or ""


def _secrets(document: object, kind: Kind) -> Iterator[tuple[Path, Path, str]]:
    """Where an inline secret is written, which field that is, and the secret."""
    for place in alternatives(kind.headers, kind.spellings) if kind.headers else ():
        headers = peek(document, place)
        for header, value in headers.items() if isinstance(headers, Mapping) else ():
            text = inline(value)
            if isinstance(header, str) and text is not None:
                yield (*place, header), ("headers", header), text
    for part in TLS_PARTS if kind.tls else ():
        for place in alternatives((*kind.tls, part), kind.spellings) if kind.tls else ():
            text = inline(peek(document, place))
            if text is not None and (part not in PUBLIC or PRIVATE in text):
                yield place, (part,), text


def _with(document: Any, path: Path, value: object) -> Any:
    """A copy of a document with another value at one place."""
    if not path:
        return value
    return {**document, path[0]: _with(document[path[0]], path[1:], value)}


def _place_name(place: tuple[str, ...]) -> str:
    digest = hashlib.sha256("\0".join(place).encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARS]
    words = re.sub(r"[^a-z0-9]+", "-", "-".join(("replicore", *place)).lower()).strip("-")
    return f"{words[: NAME_CHARS_MAX - _HASH_CHARS - 1].rstrip('-')}-{digest}"
