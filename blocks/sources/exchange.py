"""One HTTP request and its answer, with limits: what discovery over HTTP and platforms have in common. The only user of httpx.

Guarantees: an answer is whole or an `ExchangeError` of one phrase, within the endpoint's deadline; sizes are capped;
redirects, cookies, proxies and credentials of the environment are not used, nor is compression; sensitive headers are
resolved when they are sent, and never appear in what is shown of an answer.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
import orjson
from pydantic import AnyHttpUrl

from blocks.errors import TransientError
from blocks.models.base import clean_text
from blocks.models.tls import Sensitive, Tls
from blocks.secrets.resolver import UnresolvedError
from blocks.sources.names import Names, ResolvingTransport
from blocks.sources.reasons import HUNG_UP, reason_of
from blocks.tls.contexts import TlsContexts
from blocks.tls.diagnosis import hangup_reason
from blocks.tls.reasons import tls_reason

SECRET_CHARS_MIN = 4
HEADER_BYTES_MAX = 16 * 1024
EXCERPT_CHARS = 120
HTTPS_PORT = 443
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_OUR_HEADERS = frozenset({"connection", "content-length", "content-type", "transfer-encoding", "accept-encoding"})
_OWN = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "replicante-core"}
_SENDING = "send_request_headers.started"


class ExchangeError(TransientError):
    """No whole answer."""

    def __init__(self, reason: str, *, sent: bool, status: int | None = None) -> None:
        """Take a short phrase, whether the request may have reached the other side, and the status of an answer that was given
        and is no use: asking again would bring the same.
        """
        super().__init__(reason)
        self.sent = sent
        self.status = status


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask, and how."""

    url: AnyHttpUrl
    headers: Mapping[str, Sensitive]
    timeout_ms: int
    """Deadline of one request; of the first, all that must be got ready for it is part."""
    tls: Tls | None

    @property
    def secure(self) -> bool:
        """Whether it is HTTPS."""
        return self.url.scheme == "https"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes
    secrets: tuple[str, ...] = field(repr=False)
    """What must not be shown of it: some servers repeat our headers in their error pages."""

    @property
    def ok(self) -> bool:
        """Whether it is a success."""
        return 200 <= self.status < 300  # noqa: PLR2004 - what HTTP calls success

    def shown(self) -> str:
        """The beginning of the body, for a person to recognise it."""
        return excerpt(self.without_secrets(self.body.decode("utf-8", "replace")))

    def without_secrets(self, text: str) -> str:
        """A text from the answer without what must not be shown."""
        return _without(self.secrets, text)

    def refusal(self) -> str:
        """Of one that is no success: why, in one phrase."""
        if 300 <= self.status < 400:  # noqa: PLR2004 - what HTTP calls a redirect
            return f"HTTP {self.status}: it redirects, and redirects are not followed"
        return f"HTTP {self.status}: {self.shown()}"


def _without(secrets: tuple[str, ...], text: str) -> str:
    for secret in secrets:
        for written in (secret, json.dumps(secret)[1:-1]):
            text = text.replace(written, "***")
    return text


def excerpt(text: str) -> str:
    """The beginning of a text in one line."""
    short = " ".join(text[: EXCERPT_CHARS * 4].split())
    return clean_text(short, EXCERPT_CHARS) if short else "an empty body"


class Exchange:
    """Asks endpoints. Connections live as long as one session."""

    def __init__(self, contexts: TlsContexts, body_bytes_max: int, names: Names | None = None) -> None:
        self._names = names or Names()
        self._contexts = contexts
        self._body_bytes_max = body_bytes_max

    @asynccontextmanager
    async def session(self, endpoint: Endpoint) -> AsyncIterator[Session]:
        """Requests to one endpoint, over one connection where that can be.

        Raises:
            ExchangeError: what is needed to ask cannot be had, or the endpoint is not one that may be asked.
        """
        deadline = asyncio.get_running_loop().time() + endpoint.timeout_ms / 1_000
        async with explained(endpoint, self._contexts), asyncio.timeout_at(deadline):
            headers = await self._headers(endpoint)
            context = await self._contexts.get(endpoint.tls) if endpoint.secure else False
        async with httpx.AsyncClient(
            transport=ResolvingTransport(httpx.AsyncHTTPTransport(verify=context, trust_env=False), self._names),
            headers=_OWN,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            timeout=endpoint.timeout_ms / 1_000,
            follow_redirects=False,
            trust_env=False,
        ) as client:
            yield Session(client, endpoint, headers, self._contexts, self._body_bytes_max, deadline)

    async def _headers(self, endpoint: Endpoint) -> dict[str, str]:
        if endpoint.url.username is not None or endpoint.url.password is not None:
            message = "its URL must not carry credentials: put them into a header"
            raise ExchangeError(message, sent=False)
        return {name: await self._header(name, value) for name, value in endpoint.headers.items()}

    async def _header(self, name: str, value: Sensitive) -> str:
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OUR_HEADERS:
            message = f"the header {clean_text(name, 80)!r} is not one that may be set"
            raise ExchangeError(message, sent=False)
        try:
            text = await self._contexts.texts.text(value, HEADER_BYTES_MAX)
        except UnresolvedError as error:
            message = f"the header {name!r} cannot be had: {error}"
            raise ExchangeError(message, sent=False) from error
        if value.text is None:
            text = text.strip()  # files end with a newline
        if not _HEADER_VALUE.fullmatch(text):
            message = f"the value of the header {name!r} is not legal in HTTP"
            raise ExchangeError(message, sent=False)
        return text


class Session:
    """Requests to one endpoint, one after the other."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        endpoint: Endpoint,
        headers: dict[str, str],
        contexts: TlsContexts,
        body_bytes_max: int,
        first_deadline: float,
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._headers = headers
        self._contexts = contexts
        self._body_bytes_max = body_bytes_max
        self._first_deadline: float | None = first_deadline
        self._sent = False
        parts = {part for value in headers.values() for part in (value, *value.split())}
        self._secrets = tuple(sorted((part for part in parts if len(part) >= SECRET_CHARS_MIN), key=len, reverse=True))

    async def send(
        self,
        method: str,
        content: object = None,
        *,
        below: str = "",
        read_success: bool = True,
        more: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request with JSON, or without a body when that is None, and read the answer.

        Args:
            method: GET or POST.
            content: what to send.
            below: a path below that of the endpoint's URL, such as `discover`.
            read_success: whether the body of a success matters; otherwise it is not waited for.
            more: headers of this request alone.

        Raises:
            ExchangeError: no whole answer.
        """
        body, headers = _encoded(content), {**self._headers, **(more or {})}
        if body is not None:
            headers["Content-Type"] = "application/json"
        now = asyncio.get_running_loop().time()
        deadline = self._first_deadline or now + self._endpoint.timeout_ms / 1_000
        self._first_deadline = None
        self._sent = False
        url = _below(self._endpoint.url, below)
        async with (
            explained(self._endpoint, self._contexts, self),
            asyncio.timeout_at(deadline),
            self._client.stream(
                method, url, content=body, headers=headers, extensions={"trace": self._trace}
            ) as response,
        ):
            whole = b"" if response.is_success and not read_success else await self._body(response)
            return Answer(response.status_code, whole, self._secrets)

    def without_secrets(self, text: str) -> str:
        """A text that the other side has told without the secrets that were sent to it."""
        return _without(self._secrets, text)

    @property
    def sent(self) -> bool:
        """Whether the last request may have reached the other side."""
        return self._sent

    async def _trace(self, event: str, _: object) -> None:
        if event.endswith(_SENDING):
            self._sent = True

    async def _body(self, response: httpx.Response) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            message = "it compresses its answer although it was asked not to"
            raise ExchangeError(message, sent=True, status=response.status_code)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._body_bytes_max:
                message = f"the answer is larger than {self._body_bytes_max} bytes"
                raise ExchangeError(message, sent=True, status=response.status_code)
        return bytes(body)


@asynccontextmanager
async def explained(endpoint: Endpoint, contexts: TlsContexts, session: Session | None = None) -> AsyncIterator[None]:
    """Turn errors of httpx, of TLS and of time into an `ExchangeError`."""
    try:
        yield
    except ExchangeError:
        raise
    except Exception as error:
        sent = session is not None and session.sent
        reason = reason_of(error, endpoint.timeout_ms)
        if endpoint.secure and isinstance(error, HUNG_UP) and tls_reason(error) is None:
            reason = await _hangup_reason(endpoint, contexts) or reason
        raise ExchangeError(reason, sent=sent) from error


async def _hangup_reason(endpoint: Endpoint, contexts: TlsContexts) -> str | None:
    host = (endpoint.url.host or "").strip("[]")
    context = await contexts.get(endpoint.tls)
    return await hangup_reason(host, endpoint.url.port or HTTPS_PORT, context, endpoint.timeout_ms / 1_000)


def _encoded(content: object) -> bytes | None:
    if content is None:
        return None
    try:
        return orjson.dumps(content)
    except TypeError as error:
        message = "what should be sent cannot be written as JSON"
        raise ExchangeError(message, sent=False) from error


def _below(url: AnyHttpUrl, path: str) -> str:
    if not path:
        return str(url)
    port = f":{url.port}" if url.port is not None else ""
    query = f"?{url.query}" if url.query else ""
    return f"{url.scheme}://{url.host}{port}{(url.path or '').rstrip('/')}/{path}{query}"
