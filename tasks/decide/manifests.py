"""From manifests (`apiVersion: replicante.io/v0`) to the records that they ask for. Every fault is found, not only the first.

Both spellings of the original are read: names in `metadata` (0.7) and everything flat in `spec` (the rewrite). Each
document is first brought into its canonical spelling and then validated, as strictly as JSON allows; faults are told in the
spelling of the document.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from blocks.errors import Fault, InvalidInputError
from blocks.models.base import Id, Json, Name
from tasks.decide.kinds.base import API_VERSION, Asked, Kind, Wanted
from tasks.decide.manifest_kinds import KINDS, KNOWN, kind_for, kind_of, named
from tasks.decide.manifest_size import DOCUMENTS_MAX, as_json, check_size
from tasks.decide.manifest_spelling import Canonical, Loc

__all__ = [
    "API_VERSION",
    "DOCUMENTS_MAX",
    "EVERYWHERE",
    "KINDS",
    "Asked",
    "Kind",
    "Scope",
    "Wanted",
    "kind_for",
    "kind_of",
    "parse",
]


class Manifest(BaseModel):
    """One document as a person writes it, before its kind is known."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    api_version: str = Field(alias="apiVersion", description=f"always {API_VERSION}")
    kind: str = Field(min_length=1, max_length=64)
    metadata: dict[str, Json] = Field(default_factory=dict)
    spec: dict[str, Json] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where documents belong, said beside them. None leaves it to the documents."""

    namespace: str | None = None
    """In place of what documents say; not of a `Namespace`'s own name."""
    cluster: str | None = None
    """In place of what documents of clusters and actions say."""
    node: str | None = None
    """In place of what node actions say."""
    fill_namespace: str | None = None
    """For documents that name none."""


EVERYWHERE = Scope()

REASONS = {
    "extra_forbidden": "unknown field",
    "invalid-json-value": "JSON has no form for this: is it a text that wants quotes, such as a date?",
}
"""By type of fault, our words for it."""


class _FaultyError(Exception):
    """Several things are wrong with one document."""

    def __init__(self, faults: Iterable[tuple[Loc, str]]) -> None:
        super().__init__()
        self.faults = tuple(faults)


def parse(documents: Iterable[object], asked: Asked, scope: Scope = EVERYWHERE) -> tuple[Wanted, ...]:
    """Read all documents, or say everything that is wrong with them.

    Raises:
        InvalidInputError: with one fault per wrong field, each with its document, path and reason.
    """
    faults: list[Fault] = list(_out_of_scope(scope))
    wanted: list[Wanted] = []
    listed = list(documents)
    if len(listed) > DOCUMENTS_MAX:
        message = f"{len(listed)} documents are more than the {DOCUMENTS_MAX} that can be applied at once; nothing was applied"
        raise InvalidInputError(message)
    for number, document in enumerate(listed, start=1):
        try:
            wanted.append(_one(document, asked, number, scope))
        except _FaultyError as error:
            faults.extend(_placed(number, error.faults))
        except InvalidInputError as error:
            faults.append(Fault(f"document {number}", error.message))
    if not listed:
        faults.append(Fault("input", "there is no document in it"))
    faults.extend(_twice(wanted))
    if faults:
        message = f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the manifests; nothing was applied"
        raise InvalidInputError(message, tuple(faults))
    return tuple(wanted)


def _one(document: object, asked: Asked, number: int, scope: Scope) -> Wanted:
    if not isinstance(document, Mapping):
        hint = " (give each its own document, with a line `---` between them)" if isinstance(document, list) else ""
        what = f"{type(document).__name__}{hint}"
        message = f"a manifest is a mapping with apiVersion, kind, metadata and spec, not {what}"
        raise InvalidInputError(message)
    check_size(document)
    impossible = list(_impossible(document, ()))
    if impossible:
        try:
            _one(_without(document, [loc for loc, _ in impossible]), asked, number, scope)
        except _FaultyError as error:
            places = {loc for loc, _ in impossible}
            raise _FaultyError([*impossible, *(one for one in error.faults if one[0] not in places)]) from error
        except InvalidInputError as error:
            raise _FaultyError([*impossible, ((), error.message)]) from error
        raise _FaultyError(impossible)
    document = {name: value for name, value in document.items() if name != "status"}  # what `get` shows beside it
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        raise _FaultyError(_faults(error, document)) from error
    as_json(manifest.model_dump())
    if manifest.api_version != API_VERSION:
        message = f"apiVersion is {manifest.api_version!r}; this version reads {API_VERSION!r}"
        raise InvalidInputError(message)
    kind = named(manifest.kind)
    if kind is None:
        message = f"unknown kind {manifest.kind!r}; known kinds are {KNOWN}"
        raise InvalidInputError(message)
    return _read(document, kind, asked, number, scope)


def _impossible(value: object, loc: Loc) -> Iterator[tuple[Loc, str]]:
    """The places of what JSON has no form for."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _impossible(inner, (*loc, str(name)))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _impossible(inner, (*loc, place))
    elif isinstance(value, float) and not math.isfinite(value):
        yield loc, "JSON has no form for NaN, or for an infinite number"


def _without(value: Any, locs: Sequence[Loc]) -> Any:
    """A copy without these places."""
    gone = {loc[0] for loc in locs if len(loc) == 1}
    deeper: dict[object, list[Loc]] = {}
    for loc in locs:
        if len(loc) > 1:
            deeper.setdefault(loc[0], []).append(loc[1:])
    if isinstance(value, Mapping):
        kept = ((name, inner) for name, inner in value.items() if str(name) not in gone)
        return {name: _without(inner, deeper.get(str(name), [])) for name, inner in kept}
    if isinstance(value, list):
        return [_without(inner, deeper.get(place, [])) for place, inner in enumerate(value) if place not in gone]
    return value


def _read(document: Mapping[str, Json], kind: Kind, asked: Asked, number: int, scope: Scope) -> Wanted:
    canonical = Canonical(document, kind.spellings)
    _scoped(canonical, kind, scope)
    faults: list[tuple[Loc, str]] = []
    manifest: BaseModel | None = None
    try:
        manifest = kind.model.model_validate_json(as_json(canonical.value), strict=True, extra="forbid")
    except ValidationError as error:
        faults.extend(_faults(error, canonical.value))
    faults.extend(fault for check in kind.checks for fault in check(canonical.value))
    told = [(canonical.located(loc), reason) for loc, reason in faults] + canonical.clashes
    if manifest is None or told:
        raise _FaultyError(told)
    return kind.to_record(manifest, asked, number)


def _scoped(canonical: Canonical, kind: Kind, scope: Scope) -> None:
    names = kind.model.model_fields["metadata"].annotation
    fields = names.model_fields if isinstance(names, type) and issubclass(names, BaseModel) else {}
    for field, value in (("namespace", scope.namespace), ("cluster", scope.cluster), ("node", scope.node)):
        if value is not None and field in fields:
            canonical.name(field, value)
    if scope.fill_namespace is not None and "namespace" in fields and "namespace" not in canonical.value["metadata"]:
        canonical.name("namespace", scope.fill_namespace)


def _out_of_scope(scope: Scope) -> Iterator[Fault]:
    names = ("namespace", scope.namespace, Name), ("namespace", scope.fill_namespace, Name)
    for field, value, form in (*names, ("cluster", scope.cluster, Id), ("node", scope.node, Id)):
        try:
            if value is not None:
                TypeAdapter(form).validate_python(value)
        except ValidationError as error:
            yield Fault(f"the {field} {value!r} to apply to", error.errors()[0]["msg"].removeprefix("Value error, "))


def _faults(error: ValidationError, document: Mapping[str, Json]) -> Iterator[tuple[Loc, str]]:
    """Each place with all that is wrong there: a value that may have several forms fits none of them."""
    found: dict[Loc, list[str]] = {}
    for fault in error.errors(include_input=False, include_url=False):
        reason = REASONS.get(fault["type"], fault["msg"].removeprefix("Value error, "))
        found.setdefault(_walked(document, fault["loc"], missing=fault["type"] == "missing"), []).append(reason)
    for loc, reasons in found.items():
        yield loc, "; ".join(dict.fromkeys(reasons))


def _walked(document: Any, loc: Loc, *, missing: bool) -> Loc:
    """A place without the names of forms that pydantic tried there."""
    kept: list[int | str] = []
    for part in loc[:-1] if missing else loc:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            continue
        kept.append(part)
    return (*kept, loc[-1]) if missing else tuple(kept)


def _placed(number: int, faults: Iterable[tuple[Loc, str]]) -> Iterator[Fault]:
    for loc, reason in faults:
        path = ".".join(str(part) for part in loc)
        yield Fault(f"document {number}: {path}" if path else f"document {number}", reason)


def _twice(wanted: Iterable[Wanted]) -> Iterator[Fault]:
    seen: set[tuple[str, str]] = set()
    for record in wanted:
        identity = (type(record).__name__, record.key)
        if identity in seen:
            yield Fault(f"{identity[0]} {identity[1]}", "is given more than once")
        seen.add(identity)
