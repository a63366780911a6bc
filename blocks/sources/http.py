"""Discovery over HTTP: JSON with `clusters` and a `cursor`, asked for page by page until there is no cursor.

Guarantees: each page has the source's own deadline; a page with nothing but a cursor goes on; pages that repeat or never end
are an error. Failure modes: a source that cannot be reached, answers with an error, or is no discovery endpoint.
"""

from __future__ import annotations

import asyncio

from blocks.errors import SourceError
from blocks.models.source import HttpDiscovery, HttpMethod, Source
from blocks.sources.exchange import Answer, Endpoint, Exchange, ExchangeError, Session
from blocks.sources.pages import Page, read_page
from blocks.sources.protocol import Found
from blocks.sources.records import Collector
from blocks.sources.settings import SourcesSettings

LARGE_BYTES = 64 * 1024


class HttpBackend:
    """The sources with `Source.http`."""

    def __init__(self, settings: SourcesSettings, exchange: Exchange) -> None:
        self._settings = settings
        self._exchange = exchange

    async def ask(self, source: Source) -> Found:
        """See `Backend.ask`."""
        if source.http is None:
            message = "it is not asked over HTTP"
            raise SourceError(message)
        http = source.http
        endpoint = Endpoint(http.url, http.headers, http.timeout, http.tls)
        try:
            async with self._exchange.session(endpoint) as session:
                return await self._all(session, http)
        except ExchangeError as error:
            raise SourceError(str(error)) from error.__cause__

    async def stamp(self, source: Source) -> None:
        """None: only asking tells."""

    async def _all(self, session: Session, http: HttpDiscovery) -> Found:
        collector = Collector(self._settings, session.without_secrets)
        seen: set[str] = set()
        cursor: str | None = None
        for _ in range(self._settings.pages_max):
            content = {**http.body, "cursor": cursor} if http.method is HttpMethod.POST else None
            cursor = await collected(collector, await session.send(http.method.value, content))
            if cursor is None:
                return await asyncio.to_thread(collector.found)
            if http.method is HttpMethod.GET:
                message = "it answers with a cursor, and GET has no paging: use POST"
                raise SourceError(message)
            if cursor in seen:
                message = "it repeats a cursor: its pages never come to an end"
                raise SourceError(message)
            seen.add(cursor)
        message = f"it has more than {self._settings.pages_max} pages"
        raise SourceError(message)


async def collected(collector: Collector, answer: Answer) -> str | None:
    """Take the page that an answer is; a large one off the event loop. Gives its cursor.

    Raises:
        SourceError: it is an error, or no page, or there is more than the settings allow.
    """
    collector.read(len(answer.body))
    if len(answer.body) <= LARGE_BYTES:
        return _collect(collector, answer)
    return await asyncio.to_thread(_collect, collector, answer)


def _collect(collector: Collector, answer: Answer) -> str | None:
    page = _page_in(answer)
    collector.add(page)
    return page.cursor


def _page_in(answer: Answer) -> Page:
    if not answer.ok:
        raise SourceError(answer.refusal(), kind=f"HTTP {answer.status}")
    try:
        return read_page(answer.body)
    except SourceError as error:
        message = f"{error}: {answer.shown()}"
        raise SourceError(message, kind=error.kind) from error.__cause__
