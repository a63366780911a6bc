"""Secrets as Prefect Secret blocks.

Guarantees: every call ends at its deadline; no text of a secret is in an error or a log; Prefect never starts a server of
its own for it. Failure modes: the API is away or refuses us = `DependencyUnavailableError`; there is no such block =
`NotFoundError`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Final, cast

from prefect.blocks.system import Secret
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from pydantic import SecretStr

from blocks.errors import DependencyUnavailableError, InvalidInputError, NotFoundError, RecordError, ReplicoreError

READ_WITHIN_S: Final = 5.0
WRITE_WITHIN_S: Final = 30.0
"""For all that are kept or forgotten in one call."""

_NAME = re.compile(r"[a-z0-9-]{1,200}")
_HINT = "Check PREFECT_API_URL, and that the Prefect server runs."


class PrefectSecrets:
    """The live `Secrets`. Which API: Prefect's own settings (`PREFECT_API_URL`). There is nothing to close."""

    def __init__(self, read_within_s: float = READ_WITHIN_S, write_within_s: float = WRITE_WITHIN_S) -> None:
        self._read_within_s = read_within_s
        self._write_within_s = write_within_s

    async def read(self, name: str) -> str:
        """See `Secrets.read`."""
        if not _NAME.fullmatch(name):
            raise _missing(name)
        async with _translated(f"the Secret block {name!r} was not read", self._read_within_s):
            try:
                block = await Secret.aload(name)
            except ValueError as error:
                if isinstance(error.__cause__, ObjectNotFound):
                    raise _missing(name) from error
                raise
        # Not `get`: it would read a text that happens to be JSON, such as a token of digits, as what it stands for.
        value: object = cast("Secret[str]", block).value.get_secret_value()
        if not isinstance(value, str):
            message = f"the Prefect Secret block {name!r} does not hold text"
            raise RecordError(message)
        return value

    async def keep(self, values: Mapping[str, SecretStr]) -> None:
        """See `Secrets.keep`."""
        for name in values:
            if not _NAME.fullmatch(name):
                message = f"{name!r} cannot be the name of a Prefect Secret block: use a-z, 0-9 and '-'"
                raise InvalidInputError(message)
        async with _translated("the Secret blocks were not all kept", self._write_within_s):
            for name, value in values.items():
                block: Secret[str] = Secret.model_validate({"value": value.get_secret_value()})
                await block.asave(name, overwrite=True)

    async def forget(self, names: Collection[str]) -> None:
        """See `Secrets.forget`."""
        async with _translated("the Secret blocks were not all removed", self._write_within_s):
            for name in names:
                if _NAME.fullmatch(name):
                    await _remove(name)


async def _remove(name: str) -> None:
    try:
        await Secret.adelete(name)
    except ObjectNotFound:
        return
    except ValueError as error:
        if not isinstance(error.__cause__, ObjectNotFound):
            raise


def _missing(name: str) -> NotFoundError:
    return NotFoundError(f"the Prefect Secret block {name!r} does not exist")


@asynccontextmanager
async def _translated(what: str, within_s: float) -> AsyncIterator[None]:
    """Turn whatever Prefect raises into our errors, and end at the deadline."""
    url = get_current_settings().api.url
    if not url:  # Prefect would start a server of its own
        raise DependencyUnavailableError("Prefect", "no address", f"{what}: PREFECT_API_URL is not set", _HINT)
    try:
        async with asyncio.timeout(within_s):
            yield
    except ReplicoreError:
        raise
    except TimeoutError as error:
        reason = f"{what} within {within_s:g} s"
        raise DependencyUnavailableError("Prefect", str(url), reason, _HINT) from error
    except Exception as error:
        reason = f"{what} ({type(error).__name__})"
        raise DependencyUnavailableError("Prefect", str(url), reason, _HINT) from error
