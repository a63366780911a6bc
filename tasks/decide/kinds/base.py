"""What a manifest kind is. A new one is one file beside this with a `Kind`, and one line in `tasks/decide/manifest_kinds.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from blocks.models.action import Action
from blocks.models.base import Json
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace
from blocks.models.source import Source

API_VERSION = "replicante.io/v0"

Wanted = Namespace | Source | ClusterSpec | Action
"""What a manifest asks for."""

Path = tuple[str, ...]
"""Where in a document a field is, such as `("spec", "interval")`."""

Check = Callable[[Mapping[str, Any]], Iterable[tuple[Path, str]]]
"""From a document in canonical spelling, valid or not, to what is wrong across its fields: where, and why."""

Part = dict[str, Json]


class Strict(BaseModel):
    """A part of a manifest: a field that it does not have is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Document(Strict):
    """A manifest in canonical spelling; each kind adds `metadata` and `spec`."""

    api_version: Literal["replicante.io/v0"] = Field(alias="apiVersion")
    kind: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, when, and where new ids come from."""

    who: str
    now: datetime
    new_id: Callable[[], UUID]


@dataclass(frozen=True, slots=True)
class Via:
    """Another form of a value."""

    convert: Callable[[Json], Json]
    """To our form; what it does not know it gives back, for validation to refuse."""
    schema: Mapping[str, Json]
    """JSON Schema of the other form."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """Another place, or form, in which a field may be written."""

    written: Path
    meant: Path
    """Where it belongs; a mapping takes all that is in it along."""
    via: Via | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of manifest."""

    name: str
    record: type[Wanted]
    model: type[Document]
    to_record: Callable[[Any, Asked, int], Wanted]
    """From a valid document (of `model`), who asks, and its number among all, to what it asks for."""
    to_parts: Callable[[Any], tuple[Part, Part]]
    """From such a record back to `metadata` and `spec`."""
    holds: Callable[[Wanted], bool] = lambda _: True
    """Whether a record of type `record` is of this kind."""
    aliases: tuple[str, ...] = ()
    """Other names of the kind in a manifest."""
    words: tuple[str, ...] = ()
    """Short names that people type; each also with an `s`."""
    spellings: tuple[Spelling, ...] = ()
    """Tried in this order: a later one finds what an earlier one has put in its place."""
    needed: tuple[tuple[Path, ...], ...] = ()
    """Of each group one must be written, and cannot come from the command line; for the JSON Schema."""
    checks: tuple[Check, ...] = ()
    tls: Path | None = None
    """Where its TLS settings are."""
    headers: Path | None = None
    """Where its HTTP headers are."""


def peek(document: object, path: Path) -> Any:
    """What is at a place in a document, valid or not; None where there is nothing."""
    for part in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(part)
    return document


def renamed(meant: Path, *written: Path) -> tuple[Spelling, ...]:
    """Several other places of one field."""
    return tuple(Spelling(one, meant) for one in written)


NAMESPACED = renamed(("metadata", "namespace"), ("metadata", "ns_id"), ("spec", "namespace"), ("spec", "ns_id"))
NAMED = renamed(("metadata", "name"), ("spec", "name"))
LABELLED = renamed(("metadata", "labels"), ("spec", "labels"))
