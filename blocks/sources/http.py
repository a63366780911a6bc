"""Discovery sources over HTTP. The only user of httpx.

Guarantees: an answer is complete or a `SourceError` of one sentence; every page has its deadline, all pages together one
more; sizes and counts are capped; redirects, cookies, proxies and credentials of the environment are not used; the values
of headers never appear in errors.
Failure modes: a source that cannot be reached, answers with an error, is no discovery endpoint, or never comes to an end.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import httpx
import orjson

from blocks.errors import SourceError
from blocks.models.base import clean_text
from blocks.models.source import HttpDiscovery, HttpMethod, Source
from blocks.sources.protocol import Found
from blocks.sources.records import Collector, Page, excerpt, read_page
from blocks.sources.settings import SourcesSettings
from blocks.tls.contexts import TlsContexts, TlsError
from blocks.tls.diagnosis import hangup_reason
from blocks.tls.reasons import tls_reason

log = logging.getLogger(__name__)

SECRET_CHARS_MIN = 4
HTTPS_PORT = 443
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_OUR_HEADERS = frozenset({"connection", "content-length", "content-type", "transfer-encoding", "accept-encoding"})
_OWN = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "replicante-core"}


class HttpSources:
    """All discovery sources; `async with` it, or `connect` and `close`. Connections live as long as one question."""

    def __init__(self, settings: SourcesSettings, contexts: TlsContexts | None = None) -> None:
        self._settings = settings
        self._own_contexts = TlsContexts() if contexts is None else None
        self._contexts = contexts or self._own_contexts or TlsContexts()

    async def connect(self) -> None:
        """Nothing: sources are connected to when they are asked."""

    async def close(self) -> None:
        """Stop loading certificates."""
        if self._own_contexts is not None:
            await self._own_contexts.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def ask(self, source: Source) -> Found:
        """Ask a source for everything it knows, page by page.

        Raises:
            SourceError: no complete answer; nothing may be concluded from the part that came.
        """
        try:
            async with asyncio.timeout(self._settings.total_s):
                return await self._all(source.http)
        except TimeoutError as error:
            reason = f"not all pages came within {self._settings.total_s:g} s"
            raise _named(source, reason) from error
        except SourceError as error:
            raise _named(source, str(error)) from error.__cause__

    async def _all(self, http: HttpDiscovery) -> Found:
        collector = Collector(self._settings)
        seen: set[str] = set()
        cursor: str | None = None
        async with self._client(http) as client:
            for _ in range(self._settings.pages_max):
                page = await self._page(client, http, cursor)
                collector.add(page)
                cursor = page.cursor
                if cursor is None:
                    return collector.found()
                if http.method is HttpMethod.GET:
                    message = "it answers with a cursor, and GET has no paging: use POST"
                    raise SourceError(message)
                if cursor in seen:
                    message = "it repeats a cursor: its pages never come to an end"
                    raise SourceError(message)
                seen.add(cursor)
        message = f"it has more than {self._settings.pages_max} pages"
        raise SourceError(message)

    async def _page(self, client: httpx.AsyncClient, http: HttpDiscovery, cursor: str | None) -> Page:
        content = None
        headers = {name: value.get_secret_value() for name, value in http.headers.items()}
        if http.method is HttpMethod.POST:
            content = orjson.dumps({**http.body, "cursor": cursor})
            headers["Content-Type"] = "application/json"
        async with (
            self._explained(http),
            asyncio.timeout(http.timeout / 1_000),
            client.stream(http.method.value, str(http.url), content=content, headers=headers) as response,
        ):
            body = await self._body(response)
        if not response.is_success:
            raise SourceError(_refusal(response, _shown(body, http)))
        try:
            return read_page(body)
        except SourceError as error:
            message = f"{error}: {_shown(body, http)}"
            raise SourceError(message) from error.__cause__

    async def _body(self, response: httpx.Response) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            message = "it compresses its answer although it was asked not to"
            raise SourceError(message)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._settings.body_bytes_max:
                message = f"a page is larger than {self._settings.body_bytes_max} bytes"
                raise SourceError(message)
        return bytes(body)

    @asynccontextmanager
    async def _client(self, http: HttpDiscovery) -> AsyncIterator[httpx.AsyncClient]:
        _check(http)
        async with self._explained(http), asyncio.timeout(http.timeout / 1_000):
            context = await self._contexts.get(http.tls) if http.url.scheme == "https" else False
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(verify=context, trust_env=False),
            headers=_OWN,
            timeout=http.timeout / 1_000,
            follow_redirects=False,
            trust_env=False,
        ) as client:
            yield client

    @asynccontextmanager
    async def _explained(self, http: HttpDiscovery) -> AsyncIterator[None]:
        """Turn errors of httpx, of TLS and of time into a `SourceError`."""
        try:
            yield
        except SourceError:
            raise
        except Exception as error:
            reason = _reason(error, http)
            if http.url.scheme == "https" and isinstance(error, _HUNG_UP) and tls_reason(error) is None:
                reason = await self._hangup_reason(http) or reason
            raise SourceError(reason) from error

    async def _hangup_reason(self, http: HttpDiscovery) -> str | None:
        host = (http.url.host or "").strip("[]")
        context = await self._contexts.get(http.tls)
        return await hangup_reason(host, http.url.port or HTTPS_PORT, context, http.timeout / 1_000)


_HUNG_UP = (httpx.NetworkError, httpx.RemoteProtocolError)


def _check(http: HttpDiscovery) -> None:
    if http.url.username is not None or http.url.password is not None:
        message = "its URL must not carry credentials: put them into a header"
        raise SourceError(message)
    for name, value in http.headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OUR_HEADERS:
            message = f"the header {clean_text(name, 80)!r} is not one that may be set"
            raise SourceError(message)
        if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
            message = f"the value of the header {name!r} is not legal in HTTP"
            raise SourceError(message)


def _named(source: Source, reason: str) -> SourceError:
    url = source.http.url
    port = f":{url.port}" if url.port else ""
    where = f"{url.scheme}://{url.host}{port}{url.path or ''}"
    return SourceError(f"the source {source.ref} at {where} gave no complete answer: {reason}")


def _refusal(response: httpx.Response, body: str) -> str:
    if response.is_redirect:
        return f"HTTP {response.status_code}: it redirects, and redirects are not followed"
    return f"HTTP {response.status_code}: {body}"


def _shown(body: bytes, http: HttpDiscovery) -> str:
    """The beginning of a body without our secrets, which some servers repeat in their error pages."""
    for value in http.headers.values():
        secret = value.get_secret_value()
        for part in (secret, *secret.split()):
            if len(part) >= SECRET_CHARS_MIN:
                body = body.replace(part.encode(), b"***")
    return excerpt(body)


def _reason(error: Exception, http: HttpDiscovery) -> str:
    tls = tls_reason(error)
    if tls is not None:
        return tls
    if isinstance(error, httpx.ConnectError):
        return _os_reason(error)
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text.format(error=error, timeout_ms=http.timeout)
    log.error("asking a source failed in a way that nobody thought of", exc_info=error)
    return f"unexpected {type(error).__name__}"


_CLOSED = "the connection was closed without a complete answer"
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (TlsError, "TLS: {error}"),
    (TimeoutError, "no complete page within {timeout_ms} ms"),
    (httpx.TimeoutException, "no complete page within {timeout_ms} ms"),
    (httpx.InvalidURL, "its URL is not usable"),
    (httpx.LocalProtocolError, "the request is not legal in HTTP"),
    (httpx.RemoteProtocolError, "it does not speak HTTP, or cut its answer off"),
    (httpx.NetworkError, _CLOSED),
    (OSError, _CLOSED),
)
"""By exception; the first that fits counts."""


def _os_reason(error: BaseException) -> str:
    """What the system said: the innermost cause."""
    cause: BaseException | None = error
    for _ in range(10):
        inner = None if cause is None else cause.__cause__ or cause.__context__
        if inner is None:
            break
        cause = inner
    match cause:
        case ConnectionRefusedError():
            return "connection refused"
        case socket.gaierror():
            return f"the host name cannot be resolved ({cause.strerror})"
        case OSError():
            return clean_text(cause.strerror or cause, 120).lower()
    return "it cannot be connected to"
