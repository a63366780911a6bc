"""From records back to manifests, which can be applied again."""

from __future__ import annotations

from blocks.errors import Fault, InvalidInputError
from blocks.models.base import Fact, Json
from blocks.models.source import Source
from tasks.decide.kinds.base import API_VERSION, Wanted
from tasks.decide.kinds.told import hidden
from tasks.decide.manifest_kinds import kind_for


def manifest_of(record: Wanted) -> dict[str, Json]:
    """The manifest that asks for this record: in canonical spelling, with what differs from the defaults.

    Applied again it changes nothing; of an action it has the id, so that it is recognised. A synthetic `ClusterSpec` becomes
    one that a person declared.

    Raises:
        InvalidInputError: it holds secrets itself, which are never shown; each is named.
    """
    kind = kind_for(record)
    secrets = list(hidden(_speaking(record), ".".join(kind.tls[:-1]))) if kind.tls is not None else []
    if secrets:
        message = (
            f"{kind.name} {record.key} cannot be exported: it holds a secret itself; "
            "apply its manifest again, which keeps secrets apart, or name a file or a secret there"
        )
        raise InvalidInputError(message, tuple(Fault(path, "holds a secret") for path in secrets))
    metadata, spec = kind.to_parts(record)
    document: dict[str, Json] = {"apiVersion": API_VERSION, "kind": kind.name, "metadata": metadata}
    return {**document, "spec": spec} if spec else document


def _speaking(record: Wanted) -> Fact | None:
    """The part of a record that says how a server is spoken to."""
    return (record.http or record.platform) if isinstance(record, Source) else record
