"""What holds for all sources alike: in memory, over HTTP, platforms and files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson
import pytest
import yaml

from blocks.errors import SourceError
from blocks.models.source import DiscoveredCluster, DiscoveredNode, Rejected, Source
from blocks.sources.live import LiveSources
from blocks.sources.protocol import Found, Sources
from blocks.sources.settings import SourcesSettings
from doubles.scripted_agent import Reply, ScriptedAgent
from doubles.sources import MemorySources

PATH = "/discover"
ORDERS = DiscoveredCluster(
    cluster_id="orders",
    display_name="Orders",
    labels={"env": "prod"},
    nodes=(
        DiscoveredNode(
            node_id="n1",
            agent_address="http://10.0.0.1:8000",
            node_class="mongo",
            node_group="a",
            labels={"zone": "eu-1"},
        ),
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


def source_of(kind: str, **fields: Any) -> Source:
    """A source of a kind."""
    return Source.model_validate({"namespace": "prod", "name": "dc1", kind: fields})


class MemoryWorld:
    """All in memory."""

    def __init__(self) -> None:
        """Know one source."""
        self.sources = MemorySources()
        self.source = source_of("http", url="http://source.test/discover")

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

    def __init__(self, sources: LiveSources, server: ScriptedAgent) -> None:
        """Ask this server."""
        self.sources = sources
        self.source = source_of("http", url=f"{server.url}{PATH}")
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


class PlatformWorld:
    """The real client, and a platform on a socket."""

    def __init__(self, sources: LiveSources, server: ScriptedAgent) -> None:
        """Ask this server, whose API is below a path."""
        self.sources = sources
        self.source = source_of("platform", base_url=f"{server.url}/api/")
        self._server = server

    def tell(self, clusters: Sequence[DiscoveredCluster]) -> None:
        """Tell of these in one answer."""
        self._answer(Reply.json({"clusters": [cluster.model_dump() for cluster in clusters]}))

    def tell_badly(self, good: DiscoveredCluster, bad: Rejected) -> None:
        """Tell of one, and of one that cannot be used."""
        self._answer(Reply.json({"clusters": [good.model_dump(), {"cluster_id": bad.cluster_id, "nodes": 7}]}))

    def fail(self) -> None:
        """Be broken."""
        self._answer(Reply(b"broken", 500))

    def _answer(self, reply: Reply) -> None:
        self._server.on("GET", "/api/discover", reply)


class FileWorld:
    """The real client, and a folder with a file for each cluster."""

    def __init__(self, sources: LiveSources, folder: Path) -> None:
        """Read this folder."""
        self.sources = sources
        self.source = source_of("file", path=str(folder))
        self._folder = folder

    def tell(self, clusters: Sequence[DiscoveredCluster]) -> None:
        """Tell of these: the first in YAML under `clusters`, the others in JSON as lists."""
        (self._folder / "0.yaml").write_text(yaml.safe_dump({"clusters": [one.model_dump() for one in clusters[:1]]}))
        for number, cluster in enumerate(clusters[1:], 1):
            (self._folder / f"{number}.json").write_bytes(orjson.dumps([cluster.model_dump()]))

    def tell_badly(self, good: DiscoveredCluster, bad: Rejected) -> None:
        """Tell of one, and of one that cannot be used."""
        self.tell([good])
        (self._folder / "1.yml").write_text(f"[{{cluster_id: {bad.cluster_id}, nodes: 7}}]")

    def fail(self) -> None:
        """Have a file that is broken."""
        (self._folder / "broken.yaml").write_text("clusters: [")


@pytest.fixture(params=["memory", "http", "platform", "file"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """A world of each sort."""
    if request.param == "memory":
        yield MemoryWorld()
        return
    async with ScriptedAgent() as server, LiveSources(SourcesSettings()) as sources:
        if request.param == "file":
            yield FileWorld(sources, tmp_path)
        else:
            yield HttpWorld(sources, server) if request.param == "http" else PlatformWorld(sources, server)


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

    where, _, reason = str(error.value).partition(" gave no complete answer: ")
    assert f"the source prod/dc1 at {world.source.where}" == where
    assert "broken" in reason


async def test_rejected_records_are_told(world: World) -> None:
    """A record that cannot be used does not cost the others, and is told of."""
    bad = Rejected(what="cluster bad", reason="nodes: it is not a list", cluster_id="bad")
    world.tell_badly(ORDERS, bad)

    found = await world.sources.ask(world.source)

    (rejected,) = found.rejected
    assert (ORDERS,) == found.clusters
    assert (bad.reason, bad.cluster_id, False) == (rejected.reason, rejected.cluster_id, rejected.partial)
    assert rejected.what.startswith("cluster bad")


async def test_a_stamp_is_for_those_that_can_be_looked_at(world: World) -> None:
    """A kind that must be asked has no stamp; the others have one that stays while nothing changes, and never fail."""
    world.tell([ORDERS])
    first = await world.sources.stamp(world.source)
    again = await world.sources.stamp(world.source)
    world.fail()
    after = await world.sources.stamp(world.source)

    assert first == again
    assert (world.source.file is None) == (first is None)
    assert (world.source.file is None) == (first == after)
