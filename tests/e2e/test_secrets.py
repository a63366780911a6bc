"""A secret that was given in clear is in nothing that a run writes or shows."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient

from doubles.leaks import holding_collections, holding_files
from doubles.product import Product

pytestmark = pytest.mark.real

SOURCE = """
apiVersion: replicante.io/v0
kind: DiscoverySettings
metadata: {namespace: demo, name: talkative}
spec: {interval: 3600, url: "http://127.0.0.1:%d/clusters", headers: {Authorization: "Bearer %s"}}
"""
SHOWN = (
    ("sources",), ("get", "sources", "-o", "yaml"), ("describe", "source", "demo/talkative"), ("export",), ("audit", "-o", "json"),
    ("events", "--limit", "1000", "-o", "json"), ("status", "-o", "json"),
)  # fmt: skip


class _Talkative(BaseHTTPRequestHandler):
    """Shows in its error page what it was sent, as some servers do."""

    heard: list[str]

    def do_POST(self) -> None:
        """Refuse, and repeat the headers."""
        self.heard.append(self.headers["Authorization"])
        body = f"forbidden: {dict(self.headers)}".encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        """Say nothing."""


@pytest.fixture
def talkative() -> Iterator[ThreadingHTTPServer]:
    """A source that repeats what it was told."""
    handler = type("Handler", (_Talkative,), {"heard": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def test_a_secret_is_nowhere(product: Product, talkative: ThreadingHTTPServer) -> None:
    """Applied in clear, used, and repeated by the other side: not in the store, the bus, Prefect, logs, or any answer."""
    secret = f"hunter-{uuid4().hex}"
    applied = product.replictl("apply", "-f", "-", stdin=SOURCE % (talkative.server_address[1], secret))
    asked = product.replictl("discover", "demo/talkative")
    shown = [product.replictl(*words) for words in SHOWN]
    with MongoClient[dict[str, Any]](product.stack.mongodb_uri) as client:
        stored = holding_collections(client, secret)
    removed = product.replictl("delete", "source", "demo/talkative", "--yes")

    assert (0, 1, 0) == (applied.returncode, asked.returncode, removed.returncode)
    assert f"Bearer {secret}" in talkative.RequestHandlerClass.heard  # type: ignore[attr-defined]
    assert "HTTP 403" in asked.stderr
    outputs = [applied, asked, *shown, removed]
    assert [] == [done.args for done in outputs if secret in done.stdout + done.stderr]
    assert [] == stored
    assert [] == holding_files(product.stack.settings.layout.root, secret)
