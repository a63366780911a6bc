"""Why an HTTP request got no whole answer, in one phrase."""

from __future__ import annotations

import logging
import socket

import httpx

from blocks.models.base import clean_text
from blocks.tls.contexts import TlsError
from blocks.tls.reasons import tls_reason

log = logging.getLogger(__name__)

HUNG_UP = (httpx.NetworkError, httpx.RemoteProtocolError)
_CLOSED = "the connection was closed without a complete answer"
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (TlsError, "TLS: {error}"),
    (TimeoutError, "no complete answer within {timeout_ms} ms"),
    (httpx.TimeoutException, "no complete answer within {timeout_ms} ms"),
    (httpx.InvalidURL, "its URL is not usable"),
    (httpx.UnsupportedProtocol, "its URL is not usable"),
    (httpx.LocalProtocolError, "the request is not legal in HTTP"),
    (httpx.RemoteProtocolError, "it does not speak HTTP, or cut its answer off"),
    (httpx.NetworkError, _CLOSED),
    (OSError, _CLOSED),
)
"""By exception; the first that fits counts."""
_DEEPEST = 10


def reason_of(error: Exception, timeout_ms: int) -> str:
    """What to tell a person of an error of httpx, of TLS or of time."""
    tls = tls_reason(error)
    if tls is not None:
        return tls
    if isinstance(error, httpx.ConnectError):
        return _os_reason(error)
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text.format(error=error, timeout_ms=timeout_ms)
    log.error("an HTTP request failed in a way that nobody thought of", exc_info=error)
    return f"unexpected {type(error).__name__}"


def _os_reason(error: BaseException) -> str:
    """What the system said: of the causes, the deepest that is an error of the system. Beneath it may be what was being
    handled when the request was sent, which has nothing to do with it.
    """
    said: OSError | None = None
    cause: BaseException | None = error
    for _ in range(_DEEPEST):
        if cause is None:
            break
        if isinstance(cause, OSError) and cause.strerror:
            said = cause
        cause = cause.__cause__ or cause.__context__
    match said:
        case ConnectionRefusedError():
            return "connection refused"
        case socket.gaierror():
            return f"the host name cannot be resolved ({said.strerror})"
        case OSError():
            return clean_text(said.strerror, 120).lower()
    return "it cannot be connected to"
