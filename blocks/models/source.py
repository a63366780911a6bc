"""A discovery source: an endpoint that tells which clusters exist and which nodes they have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AnyHttpUrl, Field, SecretStr, field_validator

from blocks.models.base import Fact, Id, Json, Name, Seconds, Text, Utc
from blocks.models.ids import SourceRef
from blocks.models.namespace import Tls


class HttpMethod(StrEnum):
    """How the endpoint is asked."""

    GET = "GET"
    POST = "POST"


class HttpDiscovery(Fact):
    """The HTTP discovery protocol: JSON with `clusters` and a `cursor`, repeated until the cursor is null."""

    url: AnyHttpUrl
    method: HttpMethod = HttpMethod.POST
    body: dict[str, Json] = Field(default_factory=dict)
    headers: dict[str, SecretStr] = Field(default_factory=dict, max_length=50)
    timeout: Annotated[int, Field(ge=10, le=120_000)] = 3_000
    """Deadline of one page, in milliseconds."""
    tls: Tls | None = None

    @field_validator("url")
    @classmethod
    def _no_credentials(cls, value: AnyHttpUrl) -> AnyHttpUrl:
        if value.username or value.password:
            msg = "no user and password in the URL: it is shown in listings; use a header"
            raise ValueError(msg)
        return value


class Source(Fact):
    """A discovery source as a person declared it (manifest kind `DiscoverySettings`)."""

    namespace: Name
    name: Name
    enabled: bool = True
    interval: Seconds = 300.0
    http: HttpDiscovery
    version: int = 0

    @property
    def ref(self) -> SourceRef:
        """Its name."""
        return SourceRef(namespace=self.namespace, name=self.name)

    @property
    def key(self) -> str:
        """Its key in the store."""
        return self.ref.key


class Rejected(Fact):
    """A record of a source's answer that we could not use. It is there all the same: what it is about is not missing."""

    what: Text
    reason: Text
    cluster_id: Id | None = None
    """The cluster it is, or belongs to, where that can be told."""
    node_id: Id | None = None
    """The node it is, where that can be told."""


class SourceReport(Fact):
    """How the last run of a source went: one per source, the latest."""

    namespace: Name
    name: Name
    at: Utc
    duration_s: float
    error: Text | None = None
    """Why it failed; None after a good answer."""
    clusters: int = 0
    nodes: int = 0
    new: int = 0
    changed: int = 0
    missing: int = 0
    rejected: tuple[Rejected, ...] = ()
    version: int = 0

    @property
    def key(self) -> str:
        """Its key in the store."""
        return f"{self.namespace}/{self.name}"


class DiscoveredNode(Fact):
    """One node as a source tells of it."""

    node_id: Id
    agent_address: Annotated[str, Field(min_length=1, max_length=2_048)]
    """URL of its agent, such as `http://10.0.0.7:8000`."""
    node_class: Annotated[str, Field(max_length=256)] | None = None
    node_group: Annotated[str, Field(max_length=256)] | None = None


class DiscoveredCluster(Fact):
    """One cluster as a source tells of it."""

    cluster_id: Id
    display_name: Annotated[str, Field(max_length=256)] | None = None
    nodes: Annotated[tuple[DiscoveredNode, ...], Field(max_length=10_000)] = ()
