"""Discovery by platforms: `GET discover` below the platform's base URL, all in one answer."""

from __future__ import annotations

import asyncio

from blocks.errors import SourceError
from blocks.models.source import PlatformApi, Source
from blocks.sources.exchange import Endpoint, Exchange, ExchangeError, Session
from blocks.sources.http import collected
from blocks.sources.protocol import Found
from blocks.sources.records import Collector
from blocks.sources.settings import SourcesSettings


class PlatformBackend:
    """The sources with `Source.platform`."""

    def __init__(self, settings: SourcesSettings, exchange: Exchange) -> None:
        self._settings = settings
        self._exchange = exchange

    async def ask(self, source: Source) -> Found:
        """See `Backend.ask`."""
        if source.platform is None:
            message = "it is no platform"
            raise SourceError(message)
        try:
            async with self._exchange.session(endpoint_of(source.platform)) as session:
                return await discovered(session, self._settings)
        except ExchangeError as error:
            raise SourceError(str(error)) from error.__cause__

    async def stamp(self, source: Source) -> None:
        """None: only asking tells."""


def endpoint_of(platform: PlatformApi, timeout_ms: int | None = None) -> Endpoint:
    """Where a platform is asked."""
    return Endpoint(platform.base_url, platform.headers, timeout_ms or platform.timeout, platform.tls)


async def discovered(session: Session, settings: SourcesSettings) -> Found:
    """All that a platform knows.

    Raises:
        SourceError: it answers with an error, or with what is no answer.
        ExchangeError: it does not answer.
    """
    collector = Collector(settings, session.without_secrets)
    cursor = await collected(collector, await session.send("GET", below="discover"))
    if cursor is not None:
        message = "it answers with a cursor, and platforms have no paging: declare it as an HTTP source"
        raise SourceError(message)
    return await asyncio.to_thread(collector.found)
