"""What `discover` needs of a source: all clusters it tells of, or one clear reason why not."""

from __future__ import annotations

from typing import Protocol

from blocks.models.base import Fact
from blocks.models.source import DiscoveredCluster, Rejected, Source


class Found(Fact):
    """A complete answer of a source."""

    clusters: tuple[DiscoveredCluster, ...] = ()
    """Each cluster once, each node of a cluster once, in the order of the answer."""
    rejected: tuple[Rejected, ...] = ()
    """Records that could not be used, each with its reason; the partial ones were used but for what is named."""


class Sources(Protocol):
    """All discovery sources."""

    async def ask(self, source: Source) -> Found:
        """Ask a source for everything it knows.

        Raises:
            SourceError: no complete answer; nothing may be concluded from the part that came.
        """

    async def stamp(self, source: Source) -> str | None:
        """A short text that changes when what the source tells may have changed; cheap, and never raises.

        None means that this kind of source has none: only asking tells. A source that cannot be looked at has a stamp
        too, another one than when it can. Take it before `ask`, so that no change goes unseen.
        """
