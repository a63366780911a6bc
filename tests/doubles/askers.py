"""The ways in which an HTTP endpoint is asked: each must survive whatever the other side does, and say why it failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from blocks.errors import PlatformError, PlatformRefusedError, SourceError
from blocks.models.platform import ClusterDefinition, NodeGroup
from blocks.models.source import Source
from blocks.sources.live import LiveSources
from blocks.sources.platforms import HttpPlatforms
from blocks.sources.settings import SourcesSettings

DEFINITION = ClusterDefinition(
    cluster_id="orders",
    store="mongo",
    store_version="7.0.5",
    nodes={"data": NodeGroup(desired_count=3, node_class="mongo")},
)
GONE = "it is gone"
"""What is said of a node that was removed."""
_NONE = {" gave no complete answer: ", " gave no usable answer: ", " for cluster 'orders': "}


def source_of(kind: str, url: str, **fields: Any) -> Source:
    """A source of a kind, at an address."""
    where = {"url": f"{url}/discover"} if kind == "http" else {"base_url": url}
    return Source.model_validate({"namespace": "prod", "name": "dc1", kind: {**where, **fields}})


@dataclass(frozen=True)
class Asker:
    """One way."""

    kind: str
    method: str
    path: str
    ask: Callable[[SourcesSettings, Source], Awaitable[object]]

    def __str__(self) -> str:
        return f"{self.kind}-{self.method}{self.path}".replace("/", "-")

    async def failure(self, url: str, settings: SourcesSettings, **fields: Any) -> str:
        """Why an endpoint gives no answer."""
        with pytest.raises((SourceError, PlatformError, PlatformRefusedError)) as error:
            await self.ask(settings, source_of(self.kind, url, **fields))
        text = str(error.value)
        assert text.startswith(
            f"the {'source' if isinstance(error.value, SourceError) else 'platform'} prod/dc1 at http"
        )
        (reason,) = [text.partition(part)[2] for part in _NONE if part in text]
        return reason.removesuffix("; it may be done all the same")


async def _discover(settings: SourcesSettings, source: Source) -> object:
    async with LiveSources(settings) as sources:
        return await sources.ask(source)


async def _provision(settings: SourcesSettings, source: Source) -> object:
    async with HttpPlatforms(settings) as platforms:
        return await platforms.provision(source, DEFINITION, "data", 1)


async def _deprovision(settings: SourcesSettings, source: Source) -> object:
    async with HttpPlatforms(settings) as platforms:
        await platforms.deprovision(source, "orders", "n")
    return GONE


HTTP = Asker("http", "POST", "/discover", _discover)
PLATFORM = Asker("platform", "GET", "/discover", _discover)
PROVISION = Asker("platform", "POST", "/provision", _provision)
DEPROVISION = Asker("platform", "POST", "/deprovision", _deprovision)
ASKERS = (HTTP, PLATFORM, PROVISION)
"""Those that send one request, and read what comes."""
