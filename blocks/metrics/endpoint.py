"""The endpoint of a serving process: `GET /metrics`, in the formats that Prometheus asks for.

Shifts are child processes: each counts in files of its own (blocks/metrics/files.py), and the endpoint adds them up. What is
read from the store is told by whoever reads it (`tell`). Guarantees: at most so many requests at once, each with a
deadline; a scrape never waits for a worker. Failure modes: a port that is taken is said at the start.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, Metric, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from blocks.errors import InvalidInputError
from blocks.metrics.families import READ, Samples
from blocks.metrics.files import Processes, prepared
from blocks.metrics.settings import CLIENT_FOLDER, FOLDER, MetricsSettings

PATH = "/metrics"
REQUESTS_MAX = 8
"""Scrapes at once; more are turned away."""
REQUEST_S = 5.0
POLL_S = 0.1
"""How often the thread that listens looks whether it shall end."""


class Figures(Collector):
    """What was last read from the store."""

    def __init__(self) -> None:
        """Know nothing."""
        self._samples: Samples = {}

    def tell(self, samples: Samples) -> None:
        """From now on these, and nothing else."""
        self._samples = samples

    def collect(self) -> Iterable[Metric]:
        """Those that are known."""
        samples = self._samples
        for family in READ:
            if family.name in samples:
                made = GaugeMetricFamily(family.full_name, family.help, labels=tuple(family.labels))
                for labels, value in samples[family.name].items():
                    made.add_metric(labels, value)
                yield made


class Endpoint:
    """Serves the metrics of one process and its children, in threads of its own. `with Endpoint(...) as endpoint`."""

    def __init__(
        self, settings: MetricsSettings, environ: MutableMapping[str, str], folder: Path | None = None
    ) -> None:
        """Do nothing yet.

        Args:
            settings: where to listen; port 0 takes any that is free.
            environ: the variables of processes that are started from here: told where to count.
            folder: where they count; None: one for this user, address and port among the temporary files.
        """
        self._settings = settings
        self._environ = environ
        self._folder = folder
        self._figures = Figures()
        self._server: _Server | None = None
        self._processes: Processes | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_port) if self._server is not None else self._settings.port

    def tell(self, samples: Samples) -> None:
        """Serve these figures from now on."""
        self._figures.tell(samples)

    def fold(self) -> None:
        """Keep what processes have counted that are gone, in little room."""
        if self._processes is not None:
            self._processes.fold()

    def __enter__(self) -> Self:
        """Listen.

        Raises:
            InvalidInputError: it cannot listen there, or has no folder.
        """
        host, port = self._settings.host, self._settings.port
        registry = CollectorRegistry()
        try:
            self._server = _Server(host, port, _app(registry))
        except (OSError, OverflowError) as error:
            message = f"metrics cannot be served on {host} port {port}: {getattr(error, 'strerror', None) or error}"
            raise InvalidInputError(message) from error
        try:
            name = f"replicore-metrics-{os.getuid()}-{host.replace('/', '_')}-{self.port}"
            folder = prepared(self._folder or Path(tempfile.gettempdir()) / name)
        except InvalidInputError:
            self._server.server_close()
            raise
        self._processes = Processes(folder)
        registry.register(self._processes)
        registry.register(self._figures)
        self._environ[FOLDER] = self._environ[CLIENT_FOLDER] = str(folder)
        threading.Thread(target=self._server.serve_forever, args=[POLL_S], name="metrics", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for variable in (FOLDER, CLIENT_FOLDER):
            self._environ.pop(variable, None)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class _Handler(WSGIRequestHandler):
    """One request, which must come and go in time; not a line in the log for each."""

    timeout = REQUEST_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread per request, so that a slow client delays no other; not too many."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, app: Any) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = threading.BoundedSemaphore(REQUESTS_MAX)
        super().__init__((host, port), _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        """Bind, without asking anybody for the name of the host, which may take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve in a thread, when there is room for one more."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve, in time: a client that sends a byte now and then would else stay for ever. Then there is room again."""
        deadline = threading.Timer(REQUEST_S, _cut, [request])
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


def _cut(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


def _app(registry: CollectorRegistry) -> Any:
    metrics = make_wsgi_app(registry)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == PATH:
            return metrics(environ, start_response)  # type: ignore[no-any-return]  # the library has no types here
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"only {PATH} is here\n".encode()]

    return app
