"""What holds for sources in memory and for sources over HTTP alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import pytest

from blocks.errors import SourceError
from blocks.models.source import DiscoveredCluster, DiscoveredNode, Rejected, Source
from blocks.sources.http import HttpSources
from blocks.sources.protocol import Found, Sources
from blocks.sources.settings import SourcesSettings
from doubles.scripted_agent import Reply, ScriptedAgent
from doubles.sources import MemorySources

PATH = "/discover"
ORDERS = DiscoveredCluster(
    cluster_id="orders",
    display_name="Orders",
    nodes=(
        DiscoveredNode(node_id="n1", agent_address="http://10.0.0.1:8000", node_class="mongo", node_group="a"),
        DiscoveredNode(node_id="n2", agent_address="https://10.0.0.2:8000"),
    ),
)
EMPTY = DiscoveredCluster(cluster_id="queue")


class World(Protocol):
    """Sources, and one of them that can be told what to tell."""

    @property
    def sources(self) -> Sources:
        """All sources."""

    @property
    def source(self) -> Source:
        """That one."""

    def tell(self, clusters: Sequence[DiscoveredCluster]) -> None:
        """From now on the source tells of these."""

    def tell_badly(self, good: DiscoveredCluster, bad: Rejected) -> None:
        """From now on the source tells of a good cluster, and of one whose nodes are no list."""

    def fail(self) -> None:
        """From now on the source answers that it is broken."""


def source_at(url: str) -> Source:
    """A source at an address."""
    return Source.model_validate({"namespace": "prod", "name": "dc1", "http": {"url": f"{url}{PATH}"}})


class MemoryWorld:
    """All in memory."""

    def __init__(self) -> None:
        """Know one source."""
        self.sources = MemorySources()
        self.source = source_at("http://source.test")

    def tell(self, clusters: Sequence[DiscoveredCluster]) -> None:
        """Tell of these."""
        self.sources.tell(self.source, clusters)

    def tell_badly(self, good: DiscoveredCluster, bad: Rejected) -> None:
        """Tell of one, and of one that cannot be used."""
        self.sources.tell(self.source, [good], [bad])

    def fail(self) -> None:
        """Be broken."""
        self.sources.fail(self.source, "HTTP 500: broken")


class HttpWorld:
    """The real client, and a source on a socket."""

    def __init__(self, sources: HttpSources, server: ScriptedAgent) -> None:
        """Ask this server."""
        self.sources = sources
        self.source = source_at(server.url)
        self._server = server

    def tell(self, clusters: Sequence[DiscoveredCluster]) -> None:
        """Tell of these, one on each page."""
        pages = [[cluster.model_dump()] for cluster in clusters] or [[]]
        cursors = [str(number) for number in range(1, len(pages))]
        replies = [
            Reply.json({"clusters": page, "cursor": cursor})
            for page, cursor in zip(pages, [*cursors, None], strict=True)
        ]
        self._server.on("POST", PATH, *replies)

    def tell_badly(self, good: DiscoveredCluster, bad: Rejected) -> None:
        """Tell of one, and of one that cannot be used."""
        page = {"clusters": [good.model_dump(), {"cluster_id": bad.cluster_id, "nodes": 7}], "cursor": None}
        self._server.on("POST", PATH, Reply.json(page))

    def fail(self) -> None:
        """Be broken."""
        self._server.on("POST", PATH, Reply(b"broken", 500))


@pytest.fixture(params=["memory", "http"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A world of either sort."""
    if request.param == "memory":
        yield MemoryWorld()
    else:
        async with ScriptedAgent() as server, HttpSources(SourcesSettings()) as sources:
            yield HttpWorld(sources, server)


async def test_brings_all_clusters(world: World) -> None:
    """Everything that the source tells of comes, in its order."""
    world.tell([ORDERS, EMPTY])

    assert Found(clusters=(ORDERS, EMPTY)) == await world.sources.ask(world.source)


async def test_nothing_is_an_answer(world: World) -> None:
    """A source that knows no cluster has answered."""
    world.tell([])

    assert Found() == await world.sources.ask(world.source)


async def test_a_failure_is_one_sentence(world: World) -> None:
    """The error says which source, where, and why."""
    world.fail()

    with pytest.raises(SourceError) as error:
        await world.sources.ask(world.source)

    url = str(world.source.http.url)
    assert f"the source prod/dc1 at {url} gave no complete answer: HTTP 500: broken" == str(error.value)


async def test_rejected_records_are_told(world: World) -> None:
    """A record that cannot be used does not cost the others, and is told of."""
    bad = Rejected(what="cluster bad", reason="nodes: it is not a list", cluster_id="bad")
    world.tell_badly(ORDERS, bad)

    assert Found(clusters=(ORDERS,), rejected=(bad,)) == await world.sources.ask(world.source)
