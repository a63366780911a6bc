"""All manifest kinds, and how people name them."""

from __future__ import annotations

from collections.abc import Mapping

from blocks.errors import InvalidInputError
from tasks.decide.kinds.actions import NODE_ACTION, ORCHESTRATOR_ACTION
from tasks.decide.kinds.base import Kind, Wanted
from tasks.decide.kinds.cluster_spec import CLUSTER_SPEC
from tasks.decide.kinds.discovery_settings import DISCOVERY_SETTINGS
from tasks.decide.kinds.namespace import NAMESPACE
from tasks.decide.kinds.platform import PLATFORM

KINDS: tuple[Kind, ...] = (
    NAMESPACE,
    PLATFORM,
    CLUSTER_SPEC,
    DISCOVERY_SETTINGS,
    NODE_ACTION,
    ORCHESTRATOR_ACTION,
)
"""A new kind is one file in `tasks/decide/kinds` and one line here."""


def _named(kind: Kind) -> tuple[str, ...]:
    return tuple(name.lower() for name in (kind.name, *kind.aliases))


def _typed(kind: Kind) -> tuple[str, ...]:
    words = (*_named(kind), *kind.words)
    return (*words, *(f"{word}s" for word in words))


_NAMES: Mapping[str, Kind] = {name: kind for kind in KINDS for name in _named(kind)}
_WORDS: Mapping[str, Kind] = {word: kind for kind in KINDS for word in _typed(kind)}

KNOWN = ", ".join(kind.name + (f" ({', '.join(kind.aliases)})" if kind.aliases else "") for kind in KINDS)
"""All kinds, for people."""


def named(text: object) -> Kind | None:
    """The kind that a manifest calls so, in any case; None where there is none."""
    return _NAMES.get(text.lower()) if isinstance(text, str) else None


def kind_of(text: str) -> Kind:
    """The kind that a person means: by any of its names, in any case, in the plural or short (`ns`, `clusters`, `oa`).

    Raises:
        InvalidInputError: there is no such kind; the known ones are named.
    """
    kind = _WORDS.get(text.lower().replace("-", "").replace("_", ""))
    if kind is None:
        message = f"unknown kind {text!r}; known kinds are {KNOWN}"
        raise InvalidInputError(message)
    return kind


def kind_for(record: Wanted) -> Kind:
    """The kind of manifest that asks for such a record."""
    return next(kind for kind in KINDS if isinstance(record, kind.record) and kind.holds(record))
