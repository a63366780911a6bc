"""One process: a socket, uvicorn on uvloop, a clean end on SIGTERM.

The socket is bound before anything else, so that a taken port is a sentence and a non-zero exit, not a traceback.
TLS is 1.3 only, as protocol B has it; with a client CA a client certificate is required.
"""

import asyncio
import errno
import logging
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from infra.agents.kit.errors import StartError

log = logging.getLogger(__name__)

BACKLOG = 512
CONNECTIONS_MAX = 1000
KEEP_ALIVE = 90
STOP_GRACE = 2


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files of the server; `client_ca` makes client certificates mandatory."""

    cert: Path
    key: Path
    client_ca: Path | None = None


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Who connects from now on is answered once we serve.

    Raises:
        StartError: The address is taken, not ours, or not an address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        server.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        message = f"cannot listen on {host}:{port}: " + ("the port is taken" if taken else str(error))
        raise StartError(message) from error
    return server


async def serve(app: Starlette, server_socket: socket.socket, context: ssl.SSLContext | None) -> None:
    """Answer until SIGTERM or SIGINT, over TLS if there is a context; answers under way get two seconds."""
    config = uvicorn.Config(
        app,
        ssl_context_factory=None if context is None else lambda *_: context,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=STOP_GRACE,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.serve(sockets=[server_socket])


def tls_context(tls: Tls | None) -> ssl.SSLContext | None:
    """Return the server's TLS settings; none for plain HTTP.

    Raises:
        StartError: A file is missing or is not what it should be.
    """
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(tls.cert, tls.key)
        if tls.client_ca is not None:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        message = f"cannot use the TLS files ({tls.cert}, {tls.key}, {tls.client_ca}): {error}"
        raise StartError(message) from error
    return context


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, which would end the process by the signal."""

    def stop(self) -> None:
        """Begin to end."""
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield
