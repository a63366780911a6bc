"""Which kept secrets a declared object names, and which of them are its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from pydantic import BaseModel

from blocks.models.namespace import Namespace
from blocks.models.source import Source
from blocks.models.tls import Sensitive

_OURS = re.compile(r"replicore-[a-z0-9-]+-[0-9a-f]{8}(-[0-9a-f]{12})?")
"""Secrets that are named so were made by `apply` (see `sheltering`), and are of no use to anybody else."""


def secret_names(value: object) -> Iterator[str]:
    """Names of the kept secrets that a record names, anywhere in it."""
    match value:
        case Sensitive():
            if value.secret is not None:
                yield value.secret
        case BaseModel():
            for _, item in value:
                yield from secret_names(item)
        case Mapping():
            for item in value.values():
                yield from secret_names(item)


def made_by_us(records: Iterable[object]) -> frozenset[str]:
    """Those that records name and that `apply` has made."""
    return frozenset(name for record in records for name in secret_names(record) if _OURS.fullmatch(name))


def own_secrets(going: Namespace | Source, others: Iterable[Namespace | Source]) -> tuple[str, ...]:
    """Names of the secrets that only what is going names, and that were made for it."""
    kept = {name for other in others for name in secret_names(other)}
    return tuple(sorted(made_by_us([going]) - kept))
