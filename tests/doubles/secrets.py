"""Secrets in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from pydantic import SecretStr

from blocks.errors import DependencyUnavailableError, NotFoundError


class MemorySecrets:
    """All secrets, by name."""

    def __init__(self, **texts: str) -> None:
        """Keep these."""
        self.texts = texts
        self.asked: list[str] = []
        self.away = False
        """Whether nobody answers."""
        self.hanging: asyncio.Event | None = None
        """While it is not set, a reader waits."""

    async def read(self, name: str) -> str:
        """See `Secrets.read`."""
        self.asked.append(name)
        if self.hanging is not None:
            await self.hanging.wait()
        self._answer()
        if name not in self.texts:
            message = f"the Prefect Secret block {name!r} does not exist"
            raise NotFoundError(message)
        return self.texts[name]

    async def keep(self, values: Mapping[str, SecretStr]) -> None:
        """See `Secrets.keep`."""
        self._answer()
        self.texts.update({name: value.get_secret_value() for name, value in values.items()})

    async def forget(self, names: Collection[str]) -> None:
        """See `Secrets.forget`."""
        self._answer()
        for name in names:
            self.texts.pop(name, None)

    def _answer(self) -> None:
        if self.away:
            raise DependencyUnavailableError("Prefect", "memory", "it was told to be away", "Bring it back.")
