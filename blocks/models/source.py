"""A discovery source: an endpoint, a platform or a file that tells which clusters exist and which nodes they have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, AnyHttpUrl, BeforeValidator, Field, model_validator

from blocks.models.base import Fact, Id, Json, Labels, Name, Seconds, Text, Utc
from blocks.models.ids import SourceRef
from blocks.models.tls import Sensitive, Tls


class HttpMethod(StrEnum):
    """How the endpoint is asked."""

    GET = "GET"
    POST = "POST"


def _without_credentials(value: AnyHttpUrl) -> AnyHttpUrl:
    if value.username or value.password:
        msg = "no user and password in the URL: it is shown in listings; use a header"
        raise ValueError(msg)
    return value


def _nothing_said(value: object) -> object:
    return {} if value is None else value


Url = Annotated[AnyHttpUrl, AfterValidator(_without_credentials)]
Headers = Annotated[dict[str, Sensitive], Field(max_length=50)]


class HttpDiscovery(Fact):
    """The HTTP discovery protocol: JSON with `clusters` and a `cursor`, repeated until the cursor is null."""

    url: Url
    method: HttpMethod = HttpMethod.POST
    body: Annotated[dict[str, Json], BeforeValidator(_nothing_said)] = Field(
        default_factory=dict, json_schema_extra={"type": ["object", "null"]}
    )
    headers: Headers = Field(default_factory=dict)
    timeout: Annotated[int, Field(ge=10, le=120_000)] = 3_000
    """Deadline of one page, in milliseconds."""
    tls: Tls | None = None


class FileDiscovery(Fact):
    """Clusters that are written down: a YAML or JSON file, or a folder of such files, on every machine that runs a worker."""

    path: Annotated[str, Field(min_length=1, max_length=4_096, pattern=r"^/[^\x00]*$")]
    """Absolute path."""


class PlatformApi(Fact):
    """Where the API of a platform is: `GET discover`, `POST provision`, `POST deprovision` below a base URL."""

    base_url: Url
    headers: Headers = Field(default_factory=dict)
    timeout: Annotated[int, Field(ge=10, le=600_000)] = 30_000
    """Deadline of one call, in milliseconds."""
    tls: Tls | None = None


class Source(Fact):
    """A discovery source as a person declared it: manifest kind `DiscoverySettings` (HTTP or file) or `Platform`.

    Both share their names: one namespace has no source and platform of the same name.
    """

    namespace: Name
    name: Name
    enabled: bool = True
    """A platform's `active`."""
    interval: Seconds | None = None
    """Seconds between two questions; None means the namespace's default."""
    http: HttpDiscovery | None = None
    file: FileDiscovery | None = None
    platform: PlatformApi | None = None
    labels: Labels = Field(default_factory=dict)
    version: int = 0

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(part is not None for part in (self.http, self.file, self.platform)) != 1:
            msg = "a source is exactly one of http, file and platform"
            raise ValueError(msg)
        return self

    @property
    def where(self) -> str:
        """Where it is, for people: a URL without its query, which may hold a secret, or a path."""
        if self.file is not None:
            return self.file.path
        url = self.http.url if self.http is not None else self.platform.base_url if self.platform is not None else None
        if url is None:
            return ""
        port = f":{url.port}" if url.port is not None else ""
        return f"{url.scheme}://{url.host}{port}{url.path or ''}"

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
    partial: bool = False
    """The record itself was used: only a part of it, such as a label, was not, or there is something odd about it."""


class SourceReport(Fact):
    """How the last run of a source went: one per source, the latest."""

    namespace: Name
    name: Name
    at: Utc
    duration_s: float
    error: Text | None = None
    """Why it failed; None after a good answer."""
    failure: Text | None = None
    """How it failed: of the error the part that stays the same as long as the trouble does."""
    good_at: Utc | None = None
    """When it last gave a good answer; None: never."""
    clusters: int = 0
    nodes: int = 0
    """How many its last good answer told of."""
    new: int = 0
    changed: int = 0
    missing: int = 0
    """How many went missing in this run."""
    absent: int = 0
    """How many of its clusters are missing now, since whenever."""
    new_clusters: tuple[Id, ...] = ()
    changed_clusters: tuple[Id, ...] = ()
    missing_clusters: tuple[Id, ...] = ()
    """Their ids, the first hundred each."""
    rejected: tuple[Rejected, ...] = ()
    """The first hundred records that could not be used, those of clusters of other sources first."""
    rejected_total: int = 0
    left_out_total: int = 0
    """How many of these are records that were used, but for a part of them."""
    conflicts: str | None = None
    """A short text that changes with which clusters of other sources it tells of; None: of none."""
    stamp: str | None = None
    """Of a file: what it was like just before it was read. Another stamp means that it is to be read again."""
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
    labels: Labels = Field(default_factory=dict)


class DiscoveredCluster(Fact):
    """One cluster as a source tells of it."""

    cluster_id: Id
    display_name: Annotated[str, Field(max_length=256)] | None = None
    labels: Labels = Field(default_factory=dict)
    nodes: Annotated[tuple[DiscoveredNode, ...], Field(max_length=10_000)] = ()
