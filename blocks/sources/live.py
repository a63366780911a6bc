"""All discovery sources, whatever their kind.

Guarantees: an answer is complete or a `SourceError` of one sentence that names the source, where it is, and the reason; the
whole answer has a deadline.
"""

from __future__ import annotations

import asyncio

from blocks.connected import Connected
from blocks.errors import SourceError
from blocks.models.base import clean_text
from blocks.models.source import Source
from blocks.sources.backend import Backend
from blocks.sources.exchange import Exchange
from blocks.sources.file import FileBackend
from blocks.sources.http import HttpBackend
from blocks.sources.platform import PlatformBackend
from blocks.sources.protocol import Found
from blocks.sources.settings import SourcesSettings
from blocks.tls.contexts import TlsContexts


class LiveSources(Connected):
    """The live `Sources`; `async with` it, or `connect` and `close`."""

    def __init__(self, settings: SourcesSettings, contexts: TlsContexts | None = None) -> None:
        self._settings = settings
        self._own_contexts = TlsContexts() if contexts is None else None
        exchange = Exchange(contexts or self._own_contexts or TlsContexts(), settings.body_bytes_max)
        self._files = FileBackend(settings)
        self._backends: dict[str, Backend] = {
            "http": HttpBackend(settings, exchange),
            "platform": PlatformBackend(settings, exchange),
            "file": self._files,
        }
        """By the field of `Source` that is set."""

    async def connect(self) -> None:
        """Nothing: sources are connected to when they are asked."""

    async def close(self) -> None:
        """Stop loading certificates."""
        if self._own_contexts is not None:
            await self._own_contexts.close()

    async def ask(self, source: Source) -> Found:
        """See `Sources.ask`."""
        total_s = self._settings.total_s
        try:
            async with asyncio.timeout(total_s):
                return await self._backend(source).ask(source)
        except TimeoutError as error:
            raise _named(source, SourceError(f"not everything came within {total_s:g} s")) from error
        except SourceError as error:
            raise _named(source, error) from error.__cause__

    async def stamp(self, source: Source) -> str | None:
        """See `Sources.stamp`."""
        return await self._backend(source).stamp(source)

    def _backend(self, source: Source) -> Backend:
        return next(backend for field, backend in self._backends.items() if getattr(source, field) is not None)


def _named(source: Source, error: SourceError) -> SourceError:
    text = f"the source {source.ref} at {source.where} gave no complete answer: {clean_text(error)}"
    return SourceError(text, kind=clean_text(error.kind))
