"""Texts that are kept under a name, away from manifests, stores and logs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from pydantic import SecretStr


class Secrets(Protocol):
    """All secrets."""

    async def read(self, name: str) -> str:
        """The text of a secret.

        Raises:
            NotFoundError: there is none of that name.
            RecordError: what is kept under that name is no text.
            DependencyUnavailableError: whoever keeps them does not answer.
        """

    async def keep(self, values: Mapping[str, SecretStr]) -> None:
        """Keep these by name; what was kept under such a name is overwritten. After an error some may be kept.

        Raises:
            InvalidInputError: a name cannot be one; nothing is kept then.
            DependencyUnavailableError: whoever keeps them does not answer.
        """

    async def forget(self, names: Collection[str]) -> None:
        """Forget these; those that are not there are forgotten already.

        Raises:
            DependencyUnavailableError: whoever keeps them does not answer.
        """
