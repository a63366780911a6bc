"""Manifest kind `DiscoverySettings`: a source that speaks the HTTP discovery protocol, or a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from blocks.models.base import Labels, Name, Seconds
from blocks.models.source import FileDiscovery, HttpDiscovery, Source
from tasks.decide.kinds.base import LABELLED, NAMED, NAMESPACED, Asked, Document, Kind, Part, Path, Spelling, Strict
from tasks.decide.kinds.http import ABSOLUTE_FILE, FILE, header_check, pem_check
from tasks.decide.kinds.told import part, told

HTTP = ("spec", "http")
TLS = (*HTTP, "tls")
BACKENDS = ("http", "file")


class SourceMetadata(Strict):
    """Which source it is."""

    namespace: Name
    name: Name
    labels: Labels = Field(default_factory=dict)


class DiscoverySettingsSpec(Strict):
    """Where it is, and how often it is asked."""

    enabled: bool = True
    interval: Seconds | None = None
    """Seconds between two questions; without it, the namespace's default."""
    backend: Literal["http", "file"] | None = None
    """May be left out: `http` or `file` below says it as well."""
    http: HttpDiscovery | None = None
    file: FileDiscovery | None = None


class DiscoverySettingsManifest(Document):
    """A discovery source: an endpoint or a file that tells which clusters exist and which nodes they have."""

    metadata: SourceMetadata
    spec: DiscoverySettingsSpec


def _one_backend(document: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    spec = document.get("spec")
    if not isinstance(spec, Mapping):
        return
    given = [name for name in BACKENDS if spec.get(name) is not None]
    backend = spec.get("backend")
    if not given:
        yield ("spec", "path" if backend == "file" else "url"), "Field required"
    elif len(given) > 1:
        yield ("spec", given[1]), "it asks either an endpoint (http) or a file, not both"
    elif isinstance(backend, str) and backend in BACKENDS and backend != given[0]:
        yield ("spec", "backend"), f"it is {backend}, but what is given is of {given[0]}"


def _record(manifest: DiscoverySettingsManifest, _: Asked, __: int) -> Source:
    metadata, spec = manifest.metadata, manifest.spec
    return Source(
        namespace=metadata.namespace,
        name=metadata.name,
        labels=metadata.labels,
        enabled=spec.enabled,
        interval=spec.interval,
        http=spec.http,
        file=spec.file,
    )


def _parts(record: Source) -> tuple[Part, Part]:
    spec = part(enabled=None if record.enabled else False, interval=record.interval)
    backend = "http" if record.http is not None else "file"
    spec[backend] = told(getattr(record, backend))
    return part(namespace=record.namespace, name=record.name, labels=record.labels), spec


DISCOVERY_SETTINGS = Kind(
    name="DiscoverySettings",
    record=Source,
    model=DiscoverySettingsManifest,
    to_record=_record,
    to_parts=_parts,
    holds=lambda record: isinstance(record, Source) and record.platform is None,
    words=("discoverysetting", "discovery", "source"),
    spellings=(
        *NAMESPACED,
        *NAMED,
        *LABELLED,
        *(Spelling(("spec", name), (*HTTP, name)) for name in HttpDiscovery.model_fields),
        *(Spelling(("spec", name), ("spec", "file", name)) for name in FileDiscovery.model_fields),
        Spelling((*TLS, "ca_cert"), (*TLS, "ca_bundle"), FILE),
        Spelling((*TLS, "client_cert"), (*TLS, "client_cert"), ABSOLUTE_FILE),
    ),
    needed=((("metadata", "name"),), ((*HTTP, "url"), ("spec", "file", "path"))),
    checks=(_one_backend, pem_check(TLS), header_check((*HTTP, "headers"))),
    tls=TLS,
    headers=(*HTTP, "headers"),
)
