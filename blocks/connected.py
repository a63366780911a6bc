"""What every live client has in common: connect, close, and `async with` for both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Connected(ABC):
    """Something that is connected for a while."""

    @abstractmethod
    async def connect(self) -> None:
        """Make it usable."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything it holds; harmless when done again."""

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
