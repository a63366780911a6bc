"""What holds for the platform in memory and for one on a socket alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from blocks.errors import InvalidInputError, PlatformError, PlatformRefusedError
from blocks.fleet import Fleet, connect
from blocks.models.source import DiscoveredNode, Source
from blocks.secrets.prefect import PrefectSecrets
from blocks.sources.live import LiveSources
from blocks.sources.platforms import HttpPlatforms
from blocks.sources.platforms_protocol import Platforms
from blocks.sources.protocol import Sources
from blocks.sources.settings import SourcesSettings
from doubles.askers import DEFINITION, source_of
from doubles.platform_server import PlaygroundPlatform
from doubles.platforms import MemoryPlatforms
from doubles.scripted_agent import ScriptedAgent
from doubles.sources import MemorySources


class World(Protocol):
    """Platforms, the sources that tell of their nodes, and one of them."""

    @property
    def platforms(self) -> Platforms:
        """All platforms."""

    @property
    def sources(self) -> Sources:
        """All sources."""

    @property
    def source(self) -> Source:
        """That one."""

    def fail(self) -> None:
        """From now on the platform is broken."""


class MemoryWorld:
    """All in memory."""

    def __init__(self) -> None:
        """Know one platform."""
        self.sources = MemorySources()
        self.platforms = MemoryPlatforms(self.sources)
        self.source = source_of("platform", "http://platform.test")

    def fail(self) -> None:
        """Be broken."""
        self.platforms.fail(self.source, PlatformError("HTTP 500: broken", maybe_done=True))


class HttpWorld:
    """The real clients, and a platform on a socket below a path."""

    def __init__(self, platforms: HttpPlatforms, sources: LiveSources, url: str, server: PlaygroundPlatform) -> None:
        """Ask this server."""
        self.platforms = platforms
        self.sources = sources
        self.source = source_of("platform", f"{url}{server.prefix}/")
        self._server = server

    def fail(self) -> None:
        """Be broken."""
        self._server.broken = True


@pytest.fixture(params=["memory", "http"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A world of either sort."""
    if request.param == "memory":
        yield MemoryWorld()
        return
    playground, settings = PlaygroundPlatform("/api/v1"), SourcesSettings()
    async with (
        ScriptedAgent(answer=playground) as server,
        HttpPlatforms(settings) as platforms,
        LiveSources(settings) as sources,
    ):
        yield HttpWorld(platforms, sources, server.url, playground)


async def nodes(world: World) -> list[DiscoveredNode]:
    """What the platform tells of."""
    return [node for cluster in (await world.sources.ask(world.source)).clusters for node in cluster.nodes]


async def test_what_is_made_is_told_of(world: World) -> None:
    """Nodes that were asked for appear in the platform's answer, with class and group."""
    made = await world.platforms.provision(world.source, DEFINITION, "data", 2)

    found = await nodes(world)
    assert (2, tuple(node.node_id for node in found)) == (made.count, made.node_ids)
    assert {("mongo", "data")} == {(node.node_class, node.node_group) for node in found}


async def test_what_is_removed_is_gone(world: World) -> None:
    """A node that is removed is told of no more; removing it again is harmless; the others stay."""
    made = await world.platforms.provision(world.source, DEFINITION, "data", 2)
    first, second = made.node_ids or ()
    await world.platforms.deprovision(world.source, "orders", first)
    await world.platforms.deprovision(world.source, "orders", first)

    assert [second] == [node.node_id for node in await nodes(world)]


async def test_an_unknown_group_is_refused(world: World) -> None:
    """The groups that there are are named; nothing was made."""
    with pytest.raises(PlatformRefusedError, match="it defines the node groups data") as error:
        await world.platforms.provision(world.source, DEFINITION, "arbiters", 1)

    assert error.value.maybe_done is False


async def test_a_broken_platform_is_said(world: World) -> None:
    """What came of it is not known."""
    world.fail()

    for call in (
        world.platforms.provision(world.source, DEFINITION, "data", 1),
        world.platforms.deprovision(world.source, "orders", "n1"),
    ):
        with pytest.raises(PlatformError, match="HTTP 500: broken") as error:
            await call
        assert error.value.maybe_done


@pytest.mark.parametrize("count", [0, 65_536])
async def test_a_count_must_make_sense(world: World, count: int) -> None:
    """None, or more than the protocol can say, cannot be asked for."""
    with pytest.raises(InvalidInputError, match="from 1 to 65535"):
        await world.platforms.provision(world.source, DEFINITION, "data", count)


async def test_other_sources_are_no_platforms(world: World) -> None:
    """A source that can only be asked what there is is refused by name."""
    source = source_of("http", "http://source.test")

    for call in (
        world.platforms.provision(source, DEFINITION, "data", 1),
        world.platforms.deprovision(source, "orders", "n1"),
    ):
        with pytest.raises(InvalidInputError, match=f"the source prod/dc1 at {source.where} is no platform"):
            await call


async def test_the_composition_root_gives_the_live_parts() -> None:
    """Platforms, sources and agents of one fleet share their certificates and secrets; no server is needed to get them."""
    async with connect(Fleet()) as parts:
        platforms, sources, secrets = await parts.platforms(), await parts.sources(), await parts.secrets()
        again = await parts.platforms()

    assert (HttpPlatforms, LiveSources, PrefectSecrets) == (type(platforms), type(sources), type(secrets))
    assert platforms is again
