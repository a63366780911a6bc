"""What actions need of a platform: nodes that are made, and nodes that are removed."""

from __future__ import annotations

from typing import Protocol

from blocks.models.platform import ClusterDefinition, Provisioned
from blocks.models.source import Source


class Platforms(Protocol):
    """The platforms among the sources (those with `Source.platform`)."""

    async def provision(
        self, source: Source, definition: ClusterDefinition, group: str, count: int, deadline_s: float | None = None
    ) -> Provisioned:
        """Ask for up to `count` more nodes of a node group; they appear in what the platform tells, some time later.

        Not idempotent: asking twice makes twice as many. `deadline_s` shortens the platform's own timeout.

        Raises:
            InvalidInputError: the source is no platform, or `count` is not from 1 to 65535.
            PlatformRefusedError: the platform understood and will not; nothing was made.
            PlatformError: no usable answer; `maybe_done` says whether nodes may be made all the same.
        """

    async def deprovision(self, source: Source, cluster_id: str, node_id: str, deadline_s: float | None = None) -> None:
        """Remove a node for good. One that is already gone is removed: asking again is harmless.

        Raises:
            InvalidInputError: the source is no platform.
            PlatformRefusedError: the platform understood and will not; the node is as it was.
            PlatformError: no usable answer; `maybe_done` says whether the node may be removed all the same.
        """
