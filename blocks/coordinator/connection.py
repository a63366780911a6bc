"""The thread side: a kazoo client that keeps trying, says why it fails, and never dies silently.

kazoo's own client lacks five things, hence the subclasses: it does not tell the session timeout that the server granted; a
refused password or any surprise ends its thread with a traceback; failed TLS handshakes leak their socket; TLS contexts are
built anew with the system's authorities; stopping it waits for a server that may be gone.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import (
    AuthFailedError,
    KazooException,
    SASLException,
    SessionClosedRequireSaslError,
    SessionExpiredError,
)
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.states import KeeperState
from kazoo.retry import KazooRetry
from kazoo.security import make_acl

from blocks.coordinator.settings import ZooKeeper
from blocks.errors import Fault, InvalidInputError
from blocks.models.base import clean_text

_RETRY_S_MIN, _RETRY_S_MAX = 0.05, 1.0
_NAMED = "socket connection error: "
REFUSED = "it refused our user or password"

_silent = logging.getLogger(f"{__name__}.kazoo")
_silent.setLevel(logging.CRITICAL)  # kazoo warns of every attempt; the session says once what matters


def tls_context(settings: ZooKeeper) -> ssl.SSLContext | None:
    """The TLS context that the settings describe, None without TLS. Files are read now, so renewed ones count.

    Raises:
        InvalidInputError: a file is missing or unusable; the variable that names it is said.
    """
    if not settings.tls:
        return None
    field = "ca_file"
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        context.check_hostname = settings.verify_host_name
        if settings.cert_file is not None:
            field = "cert_file" if settings.key_file is None else "key_file"
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")  # a prompt would block
    except (OSError, ValueError) as error:
        message = "the TLS settings of ZooKeeper do not work"
        raise InvalidInputError(message, (Fault(settings.variable(field), reason_of(error)),)) from error
    return context


def reason_of(error: BaseException) -> str:
    """A few words on why a connection failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    strerror = getattr(error, "strerror", None)
    text = str(strerror or error).removeprefix(_NAMED)
    return clean_text(text or type(error).__name__, 200)


class _Handler(SequentialThreadingHandler):
    """kazoo's threads, with sockets of our making."""

    def __init__(self, settings: ZooKeeper, patience_s: float) -> None:
        super().__init__()
        self._settings = settings
        self._patience_s = patience_s

    def create_connection(self, address: tuple[str, int], hostname: str | None = None, **_: Any) -> socket.socket:
        """Connect; a host that swallows packets must leave time for the next one."""
        context = tls_context(self._settings)
        bare = socket.create_connection(address, timeout=self._patience_s)
        try:
            bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return bare if context is None else context.wrap_socket(bare, server_hostname=hostname)
        except BaseException:
            bare.close()
            raise

    def select(
        self, rlist: Sequence[Any], wlist: Sequence[Any], xlist: Sequence[Any], timeout: float | None = None
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Wait for sockets; what TLS has already decrypted is there although the kernel has nothing."""
        buffered = [sock for sock in rlist if isinstance(sock, ssl.SSLSocket) and sock.pending()]
        return (buffered, [], []) if buffered else super().select(rlist, wlist, xlist, timeout)


class _Connection(ConnectionHandler):
    """kazoo's connection loop, which tells what it learns and survives what it does not expect."""

    granted_s = 0.0
    reason = ""
    refused = False
    ended: Callable[[], None]

    def zk_loop(self) -> None:
        try:
            super().zk_loop()
        finally:
            self.ended()

    def cut(self) -> None:
        """Drop the socket under the loop, so that it does not wait for a server that is gone."""
        if (current := self._socket) is not None:
            try:
                socket.socket.shutdown(current, socket.SHUT_RDWR)  # not SSLSocket's, which is not for other threads
            except OSError:
                return

    def _expand_client_hosts(self) -> list[tuple[str, str, int]]:
        found = super()._expand_client_hosts()
        if not found:
            self.reason = "the host name is unknown"
        return found

    def _connect(self, host: str, hostip: str, port: int) -> tuple[float, float]:
        try:
            read_ms, connect_ms = super()._connect(host, hostip, port)
        except (AuthFailedError, SASLException, SessionClosedRequireSaslError) as error:
            self.reason, self.refused = REFUSED, True
            raise AuthFailedError from error
        except SessionExpiredError:
            raise
        except Exception as error:
            self.reason = reason_of(error)
            raise
        self.granted_s = read_ms * 1.5 / 1000  # kazoo returns two thirds of it
        self.reason, self.refused = "", False
        return read_ms, connect_ms

    def _connect_attempt(self, host: str, hostip: str, port: int, retry: KazooRetry) -> object:
        try:
            return super()._connect_attempt(host, hostip, port, retry)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may go better, a dead thread never
            self.reason = reason_of(error)
            self.client._session_callback(KeeperState.CONNECTING)  # noqa: SLF001 - fails what waits for an answer
            return None


class Client(KazooClient):
    """The kazoo client of one coordinator. `notify` is called on kazoo's threads and must only schedule."""

    def __init__(self, settings: ZooKeeper, notify: Callable[[], None]) -> None:
        """Take settings; connect nothing yet."""
        password = settings.sasl_password
        sasl: dict[str, str] | None = None
        if settings.sasl_user is not None and password is not None:
            sasl = {"mechanism": "DIGEST-MD5", "username": settings.sasl_user, "password": password.get_secret_value()}
        hosts = settings.ensemble.count(",") + 1
        super().__init__(
            hosts=settings.ensemble,
            timeout=settings.session_timeout_s,
            handler=_Handler(settings, max(0.5, settings.session_timeout_s / 2 / hosts)),
            default_acl=[make_acl("sasl", settings.sasl_user, all=True)] if settings.sasl_user is not None else None,
            sasl_options=sasl,
            connection_retry=KazooRetry(max_tries=-1, delay=_RETRY_S_MIN, max_delay=_RETRY_S_MAX),
            logger=_silent,
        )
        self._loop = _Connection(self, self._conn_retry.copy(), logger=_silent, sasl_options=sasl)
        self._loop.ended = notify
        self._connection = self._loop
        self.add_listener(lambda _: notify())

    @property
    def session(self) -> int | None:
        """The id of the session, None while there is no connection."""
        known = self.client_id
        return None if known is None else known[0]

    @property
    def granted_s(self) -> float:
        """The session timeout that the server granted, in seconds; 0 before the first connection."""
        return self._loop.granted_s

    @property
    def reason(self) -> str:
        """Why the last connection attempt failed; empty when it did not."""
        return self._loop.reason

    @property
    def refused(self) -> bool:
        """Whether the server refused our user; kazoo then tries no more."""
        return self._loop.refused

    @property
    def newest_zxid(self) -> int:
        """The newest transaction that a server has told of; 0 before the first answer."""
        return int(self.last_zxid)

    def forget(self) -> None:
        """Forget how far servers had come: one that was set up from nothing lets in nobody who has seen more than it has."""
        self.last_zxid = 0

    def cut(self) -> None:
        """Drop the connection at once."""
        self._loop.cut()

    def finish(self) -> None:
        """End the session and free everything; blocks until the server has answered or the connection is cut."""
        try:
            self.stop()
            self.close()
        except (KazooException, OSError) as error:
            logging.getLogger(__name__).debug("closing: %s", error)
