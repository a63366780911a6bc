"""Manifest kind `Namespace`."""

from __future__ import annotations

from pydantic import Field

from blocks.models.base import Labels, Name
from blocks.models.namespace import Namespace, NamespaceSettings, NamespaceStatus
from blocks.models.tls import Tls
from tasks.decide.kinds.base import LABELLED, NAMED, Asked, Document, Kind, Part, Spelling, Strict, renamed
from tasks.decide.kinds.http import SECRET, pem_check
from tasks.decide.kinds.told import part, told

TLS = ("spec", "tls")


class NamespaceMetadata(Strict):
    """Which namespace it is."""

    name: Name
    labels: Labels = Field(default_factory=dict)


class NamespaceSpec(Strict):
    """What may happen in a namespace, how its agents are reached, limits and defaults."""

    status: NamespaceStatus = NamespaceStatus.ACTIVE
    tls: Tls | None = None
    """How its agents are checked, and how we show ourselves to them."""
    settings: NamespaceSettings = NamespaceSettings()


class NamespaceManifest(Document):
    """A namespace: whose clusters these are, how their agents are reached, and what may be done to them."""

    metadata: NamespaceMetadata
    spec: NamespaceSpec = NamespaceSpec()


def _record(manifest: NamespaceManifest, _: Asked, __: int) -> Namespace:
    metadata, spec = manifest.metadata, manifest.spec
    return Namespace(
        name=metadata.name, labels=metadata.labels, status=spec.status, tls=spec.tls, settings=spec.settings
    )


def _parts(record: Namespace) -> tuple[Part, Part]:
    spec = part(status=record.status if record.status is not NamespaceStatus.ACTIVE else None, settings=record.settings)
    if record.tls is not None:
        spec["tls"] = told(record.tls)
    return part(name=record.name, labels=record.labels), spec


NAMESPACE = Kind(
    name="Namespace",
    record=Namespace,
    model=NamespaceManifest,
    to_record=_record,
    to_parts=_parts,
    words=("ns",),
    spellings=(
        *NAMED,
        *renamed(("metadata", "name"), ("spec", "id"), ("spec", "ns_id"), ("metadata", "id"), ("metadata", "ns_id")),
        *LABELLED,
        Spelling(("spec", "https_transport"), TLS),
        Spelling((*TLS, "client_key_id"), (*TLS, "client_cert"), SECRET),
        Spelling(
            ("spec", "settings", "orchestrate", "max_naction_schedule_attempts"),
            ("spec", "settings", "schedule_attempts_max"),
        ),
    ),
    needed=((("metadata", "name"),),),
    checks=(pem_check(TLS),),
    tls=TLS,
)
