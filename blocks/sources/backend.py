"""What a kind of source must do. There is one file per kind, and a line in `live.py`."""

from __future__ import annotations

from typing import Protocol

from blocks.models.source import Source
from blocks.sources.protocol import Found


class Backend(Protocol):
    """One kind of source."""

    async def ask(self, source: Source) -> Found:
        """Ask for everything that the source knows; a deadline for the whole is the caller's.

        Raises:
            SourceError: no complete answer; the reason as one phrase, without the source's name.
        """

    async def stamp(self, source: Source) -> str | None:
        """See `Sources.stamp`."""
