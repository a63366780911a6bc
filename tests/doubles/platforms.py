"""A platform in memory: nodes appear as soon as they are asked for, and are told of by the sources in memory."""

from __future__ import annotations

from blocks.errors import InvalidInputError, PlatformError, PlatformRefusedError
from blocks.models.platform import ClusterDefinition, Provisioned
from blocks.models.source import DiscoveredCluster, DiscoveredNode, Source
from doubles.sources import MemorySources


class MemoryPlatforms:
    """All platforms, by key of their source."""

    def __init__(self, sources: MemorySources | None = None) -> None:
        """Tell `sources` of every node that is made or removed."""
        self._sources = sources or MemorySources()
        self._nodes: dict[str, dict[str, dict[str, DiscoveredNode]]] = {}
        self._failures: dict[str, PlatformError | PlatformRefusedError] = {}
        self._made = 0
        self.calls: list[tuple[str, ...]] = []
        """What was asked for, in order: `("provision", source, cluster, group, count)` or `("deprovision", source, cluster, node)`."""

    def nodes(self, source: Source, cluster_id: str) -> dict[str, DiscoveredNode]:
        """The nodes of a cluster, by id; those that a test puts there are told of from the next call on."""
        return self._nodes.setdefault(source.key, {}).setdefault(cluster_id, {})

    def fail(self, source: Source, error: PlatformError | PlatformRefusedError | None) -> None:
        """From now on the platform does nothing and says this; None mends it."""
        self._failures.pop(source.key, None)
        if error is not None:
            self._failures[source.key] = error

    async def provision(
        self, source: Source, definition: ClusterDefinition, group: str, count: int, deadline_s: float | None = None
    ) -> Provisioned:
        """See `Platforms.provision`."""
        _check(source)
        if not 1 <= count <= 65_535:
            message = f"from 1 to 65535 nodes can be asked for at once, not {count}"
            raise InvalidInputError(message)
        self._begin(source, "provision", definition.cluster_id, group, str(count))
        if group not in definition.nodes:
            message = f"the platform {source.ref} refused: it defines the node groups {', '.join(definition.nodes)}"
            raise PlatformRefusedError(message)
        ids = []
        for _ in range(count):
            self._made += 1
            node = DiscoveredNode(
                node_id=f"made-{self._made}",
                agent_address=f"http://10.1.0.{self._made}:8000",
                node_class=definition.nodes[group].node_class,
                node_group=group,
            )
            self.nodes(source, definition.cluster_id)[node.node_id] = node
            ids.append(node.node_id)
        self._tell(source)
        return Provisioned(count=count, node_ids=tuple(ids))

    async def deprovision(self, source: Source, cluster_id: str, node_id: str, deadline_s: float | None = None) -> None:
        """See `Platforms.deprovision`."""
        _check(source)
        self._begin(source, "deprovision", cluster_id, node_id)
        self.nodes(source, cluster_id).pop(node_id, None)
        self._tell(source)

    def _begin(self, source: Source, *what: str) -> None:
        self.calls.append((what[0], source.key, *what[1:]))
        failure = self._failures.get(source.key)
        if failure is not None:
            raise failure

    def _tell(self, source: Source) -> None:
        clusters = self._nodes.get(source.key, {})
        self._sources.tell(
            source,
            [
                DiscoveredCluster(cluster_id=name, nodes=tuple(nodes.values()))
                for name, nodes in clusters.items()
                if nodes
            ],
        )


def _check(source: Source) -> None:
    if source.platform is None:
        message = f"the source {source.ref} at {source.where} is no platform"
        raise InvalidInputError(message)
