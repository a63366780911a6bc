"""HTTP to agents: one request, its deadline, its size cap, and every error as one sentence. The only user of aiohttp.

Guarantees: no redirects, cookies, proxies or credentials from the environment; a GET on a connection that the agent had
already closed is repeated once on a new one; a POST always has a connection of its own and is never repeated, so that a
failed one is known to have been sent or not, and carries no header but its own (agents of protocol A keep them). Names are resolved by threads of its own: a slow resolver stops nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from blocks.agents.answers import Answer
from blocks.agents.settings import AgentsSettings
from blocks.errors import AgentError
from blocks.models.base import clean_text
from blocks.models.tls import Tls
from blocks.tls.contexts import TlsContexts, TlsError
from blocks.tls.diagnosis import hangup_reason
from blocks.tls.reasons import tls_reason

log = logging.getLogger(__name__)

ROOT = "api/unstable"
RESOLVER_THREADS = 16
HTTPS_PORT = 443
_NO_URL = "the agent's address is not an http or https URL"
_WHOLE = re.compile(r"[0-9]{1,6}")
HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "replicante-core"}


@dataclass(slots=True)
class _Attempt:
    """One request, and how far it got."""

    url: str
    tls: Tls | None
    timeout_s: float
    end: float
    """On the monotonic clock."""
    context: ssl.SSLContext | None = None
    connected: bool = False


class _TooLargeError(Exception):
    """The body is larger than the cap."""


class Transport:
    """A session with kept connections for the GETs of all agents, and a session of its own for each POST."""

    def __init__(self, settings: AgentsSettings, contexts: TlsContexts) -> None:
        self._settings = settings
        self._contexts = contexts
        self._threads: ThreadPoolExecutor | None = None
        self._kept: aiohttp.ClientSession | None = None
        self._tracing = aiohttp.TraceConfig()
        self._tracing.on_connection_create_end.append(_note_connected)

    async def open(self) -> None:
        """Make the session; connections are made when needed."""
        if self._kept is not None:
            return
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="agents-resolver")
        self._kept = self._session()

    async def close(self) -> None:
        """Close all connections."""
        kept, threads = self._kept, self._threads
        self._kept = self._threads = None
        if kept is not None:
            await kept.close()
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    async def get(self, url: str, tls: Tls | None, timeout_s: float) -> Answer:
        """Ask; one answer within `timeout_s` seconds, whatever happens.

        Raises:
            AgentError: there was no complete answer, for the reason given.
        """
        return await self._request(self._connected(), "GET", url, tls, timeout_s)

    async def post(
        self, url: str, tls: Tls | None, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> Answer:
        """Send a JSON body, once.

        Raises:
            AgentError: there was no complete answer; `sent` says whether the request may have arrived all the same.
        """
        self._connected()
        headers = {"Content-Type": "application/json", **headers}
        # A connector that always closes would say so in a header; a session of one request closes without a word.
        async with self._session([self._tracing]) as session:
            return await self._request(session, "POST", url, tls, timeout_s, body, headers)

    def _connected(self) -> aiohttp.ClientSession:
        if self._kept is None:
            message = "not connected: use `async with`"
            raise RuntimeError(message)
        return self._kept

    async def _request(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        tls: Tls | None,
        timeout_s: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        attempt = _Attempt(url, tls, timeout_s, time.monotonic() + timeout_s)
        async with _explained(attempt), asyncio.timeout(timeout_s):
            if url.startswith("https:"):
                attempt.context = await self._contexts.get(tls)
            async with session.request(
                method,
                url,
                data=body,
                headers=headers,
                ssl=attempt.context or True,
                allow_redirects=False,
                trace_request_ctx=attempt,
            ) as response:
                content = await self._content(response)
                told = response.headers
                return Answer(response.status, content, told.get("Location"), _seconds(told.get("Retry-After")))

    async def _content(self, response: aiohttp.ClientResponse) -> bytes:
        limit = self._settings.body_bytes_max
        if (response.content_length or 0) > limit:
            response.close()
            raise _TooLargeError(limit)
        chunks: list[bytes] = []
        size = 0
        while chunk := await response.content.readany():
            size += len(chunk)
            if size > limit:
                response.close()
                raise _TooLargeError(limit)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _session(self, traces: list[aiohttp.TraceConfig] | None = None) -> aiohttp.ClientSession:
        settings = self._settings
        connector = aiohttp.TCPConnector(
            limit=0,
            use_dns_cache=settings.dns_cache_s > 0,
            ttl_dns_cache=settings.dns_cache_s,
            resolver=_Resolver(self._threads),
            keepalive_timeout=max(settings.keepalive_s, 0.001),
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_s),
            trust_env=False,
            trace_configs=traces,
        )


def base_url(agent_address: str) -> str:
    """Where an agent's paths begin.

    Raises:
        AgentError: it is not an `http` or `https` URL of a host, or it carries credentials.
    """
    try:
        parts = urlsplit(agent_address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise AgentError(_NO_URL) from error
    if not usable or not agent_address.isprintable() or "\\" in agent_address:
        raise AgentError(_NO_URL)
    if "@" in parts.netloc or parts.query or parts.fragment:
        message = "the agent's address must not carry credentials, a query or a fragment"
        raise AgentError(message)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/{ROOT}/"


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and _WHOLE.fullmatch(retry_after.strip()) else None


async def _note_connected(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.connected = True


@asynccontextmanager
async def _explained(attempt: _Attempt) -> AsyncIterator[None]:
    """Turn whatever happens into an `AgentError`."""
    try:
        yield
    except Exception as error:
        reason = _reason(error, attempt.timeout_s)
        if reason == _CLOSED:
            reason = await _hangup_reason(attempt)
        raise AgentError(reason, sent=attempt.connected) from error


async def _hangup_reason(attempt: _Attempt) -> str:
    """Why the other side closed the connection without a word, as far as can be found out in the time that is left."""
    if attempt.context is None:
        return f"{_CLOSED}; does it expect https?"
    where = urlsplit(attempt.url)
    left = attempt.end - time.monotonic()
    told = (
        await hangup_reason(where.hostname or "", where.port or HTTPS_PORT, attempt.context, left) if left > 0 else None
    )
    shown = attempt.tls is not None and attempt.tls.client_cert is not None
    return told or f"{_CLOSED}; does it want {'another' if shown else 'a'} client certificate?"


def _reason(error: Exception, timeout_s: float) -> str:
    tls = tls_reason(error)
    if tls is not None:
        return tls
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error.os_error, ConnectionResetError):
        text = _os_reason(error.os_error)
        return (
            f"the host name cannot be resolved ({text})" if isinstance(error, aiohttp.ClientConnectorDNSError) else text
        )
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text.format(error=error, timeout_s=timeout_s)
    log.error("asking an agent failed in a way that nobody thought of", exc_info=error)
    return f"unexpected {type(error).__name__}"


_CLOSED = "the connection was closed without an answer"
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (TlsError, "TLS: {error}"),
    (_TooLargeError, "the answer is larger than {error} bytes"),
    (aiohttp.ConnectionTimeoutError, "no connection in time: the host is gone, or a firewall drops the packets"),
    (TimeoutError, "no complete answer within {timeout_s:.3g} s"),
    (aiohttp.ClientPayloadError, "the answer was cut off or wrongly encoded"),
    (aiohttp.ClientResponseError, "the answer is not HTTP"),
    (aiohttp.ServerDisconnectedError, _CLOSED),
    (OSError, _CLOSED),
    (aiohttp.ClientError, "it cannot be asked: its address is not usable"),
    (ValueError, "it cannot be asked: its address is not usable"),
)
"""By exception; the first that fits counts."""


def _os_reason(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return clean_text(error.strerror or str(error) or type(error).__name__, 120).lower()


class _Resolver(AbstractResolver):
    """Resolves names in threads of its own."""

    def __init__(self, threads: ThreadPoolExecutor | None) -> None:
        self._threads = threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a host.

        Raises:
            OSError: there is none.
        """
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        )
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=flags)
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Nothing: the threads belong to the transport."""
