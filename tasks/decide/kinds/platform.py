"""Manifest kind `Platform`: a source that also makes and removes machines."""

from __future__ import annotations

from blocks.models.base import Seconds
from blocks.models.source import PlatformApi, Source
from tasks.decide.kinds.base import LABELLED, NAMED, NAMESPACED, Asked, Document, Kind, Part, Spelling, Strict, renamed
from tasks.decide.kinds.discovery_settings import SourceMetadata
from tasks.decide.kinds.http import header_check, pem_check
from tasks.decide.kinds.told import part, told

HTTP = ("spec", "transport", "http")
TLS = (*HTTP, "tls")


class PlatformDiscovery(Strict):
    """How often the platform is asked what there is."""

    interval: Seconds | None = None
    """Seconds between two questions; without it, the namespace's default."""


class PlatformTransport(Strict):
    """How the platform is reached."""

    http: PlatformApi


class PlatformSpec(Strict):
    """Where the platform is, and how often it is asked."""

    active: bool = True
    """Whether it is asked, and whether nodes are made and removed with it."""
    discovery: PlatformDiscovery = PlatformDiscovery()
    transport: PlatformTransport


class PlatformManifest(Document):
    """A platform: it tells which clusters exist, and makes and removes their nodes."""

    metadata: SourceMetadata
    spec: PlatformSpec


def _record(manifest: PlatformManifest, _: Asked, __: int) -> Source:
    metadata, spec = manifest.metadata, manifest.spec
    return Source(
        namespace=metadata.namespace,
        name=metadata.name,
        labels=metadata.labels,
        enabled=spec.active,
        interval=spec.discovery.interval,
        platform=spec.transport.http,
    )


def _parts(record: Source) -> tuple[Part, Part]:
    spec = part(active=None if record.enabled else False, discovery=part(interval=record.interval))
    spec["transport"] = {"http": told(record.platform)}
    return part(namespace=record.namespace, name=record.name, labels=record.labels), spec


PLATFORM = Kind(
    name="Platform",
    record=Source,
    model=PlatformManifest,
    to_record=_record,
    to_parts=_parts,
    holds=lambda record: isinstance(record, Source) and record.platform is not None,
    spellings=(
        *NAMESPACED,
        *NAMED,
        *LABELLED,
        *renamed(HTTP, ("spec", "url"), ("spec", "http"), ("spec", "transport", "url")),
        Spelling((*HTTP, "tls_ca_bundle"), (*TLS, "ca_bundle")),
        Spelling((*HTTP, "tls_insecure_skip_verify"), (*TLS, "insecure_skip_verify")),
    ),
    needed=((("metadata", "name"),), ((*HTTP, "base_url"),)),
    checks=(pem_check(TLS), header_check((*HTTP, "headers"))),
    tls=TLS,
    headers=(*HTTP, "headers"),
)
