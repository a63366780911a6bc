"""An HTTPS server on blocking sockets. Unlike asyncio's, it says in a TLS alert why it breaks off a handshake, as agents
that are not written in Python do.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from doubles.scripted_agent import Answerer, Received


@contextmanager
def strict_server(context: ssl.SSLContext, answer: Answerer) -> Iterator[str]:
    """Serve with `answer` until the block ends; gives the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def setup(self) -> None:
            self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            reply = answer(Received(self.command, self.path, dict(self.headers), self.rfile.read(length), 0))
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_POST = do_GET  # noqa: N815 - the name that the standard library looks for

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Nothing: a client that goes away is what tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}"
        finally:
            with suppress(OSError):
                server.shutdown()
            thread.join(5)
