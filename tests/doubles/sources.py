"""Discovery sources in memory: what a test says they tell."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from blocks.errors import SourceError
from blocks.models.source import DiscoveredCluster, Rejected, Source
from blocks.sources.protocol import Found


class MemorySources:
    """All sources, by key; one that was told nothing cannot be reached."""

    def __init__(self) -> None:
        """Know no source."""
        self._answers: dict[str, Found | str] = {}
        self._stamps: dict[str, str] = {}
        self.asked: list[str] = []
        self.stamps_asked: list[str] = []

    def tell(self, source: Source, clusters: Sequence[DiscoveredCluster], rejected: Sequence[Rejected] = ()) -> None:
        """From now on the source tells of these."""
        self._answers[source.key] = Found(clusters=tuple(clusters), rejected=tuple(rejected))

    def fail(self, source: Source, reason: str) -> None:
        """From now on the source gives no answer."""
        self._answers[source.key] = reason

    def stamped(self, source: Source, stamp: str) -> None:
        """From now on the source has this stamp."""
        self._stamps[source.key] = stamp

    async def connect(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def ask(self, source: Source) -> Found:
        """What the source tells.

        Raises:
            SourceError: it was told to fail, or nothing.
        """
        self.asked.append(source.key)
        answer = self._answers.get(source.key, "connection refused")
        if isinstance(answer, str):
            message = f"the source {source.ref} at {source.where} gave no complete answer: {answer}"
            raise SourceError(message)
        return answer

    async def stamp(self, source: Source) -> str | None:
        """What was said with `stamped`; None for sources of which nothing was said."""
        self.stamps_asked.append(source.key)
        return self._stamps.get(source.key)
