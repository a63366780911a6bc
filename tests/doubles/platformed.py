"""A cluster whose nodes come from a platform, for tests."""

from __future__ import annotations

from blocks.models.cluster import ClusterSpec
from blocks.models.declaration import Declaration
from blocks.models.ids import ClusterRef
from blocks.models.platform import ClusterDefinition, PlatformRef
from blocks.models.source import Source
from doubles.agents import MemoryNode
from doubles.views import address, discovery
from doubles.world import World

PLATFORM = Source.model_validate({"namespace": "prod", "name": "metal", "platform": {"base_url": "http://metal.test/"}})
DEFINITION = ClusterDefinition(cluster_id="orders", store="mongo", store_version="8.0")


async def declared_with_platform(world: World) -> ClusterRef:
    """A healthy cluster that its platform could extend."""
    ref = await world.declare()
    spec = ClusterSpec(
        namespace=ref.namespace,
        cluster_id=ref.cluster_id,
        platform=PlatformRef(name="metal"),
        declaration=Declaration(definition=DEFINITION),
        version=2,
    )
    await world.save(PLATFORM.evolve(version=1), spec)
    return ref


async def now_tells(world: World, ref: ClusterRef, *node_ids: str) -> None:
    """Discovery tells of these nodes."""
    known = await world.discovery(ref)
    for node_id in node_ids:
        world.agents.add(MemoryNode(node_id=node_id, cluster_id="orders"), address(node_id))
    await world.save(discovery(node_ids).evolve(version=known.version + 1))
