"""The command line, and the composition of one agent from the kit and a store's adapter.

Only the module of the kind asked for is imported: a ZooKeeper agent carries no MongoDB client.
"""

import argparse
import asyncio
import importlib
import logging
import os
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, cast

import uvloop

from infra.agents.kit.actions import ActionStore
from infra.agents.kit.database import open_database
from infra.agents.kit.errors import StartError
from infra.agents.kit.executor import Executor
from infra.agents.kit.handlers import TEST_ACTIONS
from infra.agents.kit.models import Identity
from infra.agents.kit.options import Options, parse_address
from infra.agents.kit.process import Tls, bind, serve, tls_context
from infra.agents.kit.server import Api
from infra.agents.kit.store import Reader, Store

log = logging.getLogger("infra.agents")

AGENTS = {
    "mongodb": "infra.agents.mongodb.agent",
    "zookeeper": "infra.agents.zookeeper",
    "kafka": "infra.agents.kafka.agent",
}
STORE_VARIABLE = "REPLICORE_AGENT_STORE"


class AgentModule(Protocol):
    """A module of `AGENTS`."""

    def build(self, options: Options) -> Store:
        """Return the adapter of the store that `options` point at; opens no socket."""
        ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; return the exit status: 0 after a clean end, 1 when it cannot start, 2 for wrong usage."""
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(
        level=parsed.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
    try:
        run = _discovery(parsed) if parsed.kind == "discovery" else run_agent(_options(parsed))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run)
    except StartError as error:
        print(f"infra.agents {parsed.kind}: {error}", file=sys.stderr)  # noqa: T201 - a command line tool
        return 1
    return 0


async def run_agent(options: Options) -> None:
    """Compose one agent and serve it until the process is told to end.

    Raises:
        StartError: The address, the data folder, the TLS files or the store's address cannot be used.
    """
    module = cast("AgentModule", importlib.import_module(AGENTS[options.kind]))
    store = module.build(options)
    context = tls_context(options.tls)
    with bind(*options.listen) as server_socket:
        database = await open_database(options.data)
        try:
            await _serve_and_execute(options, store, ActionStore(database, options.cluster_id), server_socket, context)
        finally:
            await store.close()
            await database.close()


async def _serve_and_execute(
    options: Options,
    store: Store,
    actions: ActionStore,
    server_socket: socket.socket,
    context: ssl.SSLContext | None,
) -> None:
    """Answer requests and run actions side by side."""
    handlers = {**TEST_ACTIONS, **store.actions()}
    executor = Executor(actions, handlers, _now, options.execute_interval, options.step_deadline)
    identity = Identity(
        node_id=options.node_id,
        store_id=store.store_id,
        client=options.client or store.address,
        member=options.member or store.address,
    )
    api = Api(identity, Reader(store), actions, executor, _now)
    log.info("%s agent of %s in %s on %s", options.kind, options.node_id, options.cluster_id, _name(server_socket))
    executor.start()
    try:
        await serve(api.app(), server_socket, context)
    finally:
        await executor.stop()


def _discovery(parsed: argparse.Namespace) -> Coroutine[None, None, None]:
    """Return the discovery endpoint, not yet running."""
    from infra.agents.discovery import discovery_app  # noqa: PLC0415 - only what the kind needs

    app = discovery_app(parsed.file, parsed.page_size)
    context = tls_context(_tls(parsed))

    async def run() -> None:
        with bind(*parse_address(parsed.listen)) as server_socket:
            log.info("discovery of %s on %s", parsed.file, _name(server_socket))
            await serve(app, server_socket, context)

    return run()


def _name(server_socket: socket.socket) -> str:
    """Return where a socket listens."""
    host, port = server_socket.getsockname()[:2]
    return f"{host}:{port}"


def _now() -> datetime:
    """Return the agent's clock."""
    return datetime.now(UTC)  # noqa: TID251 - this is the entry point: time comes in here


def _options(parsed: argparse.Namespace) -> Options:
    """Turn the parsed command line into settings."""
    store = parsed.store or os.environ.get(STORE_VARIABLE)
    if not store:
        message = f"where is the store? give --store, or {STORE_VARIABLE} in the environment"
        raise StartError(message)
    return Options(
        kind=parsed.kind,
        listen=parse_address(parsed.listen),
        node_id=parsed.node_id,
        cluster_id=parsed.cluster_id,
        store=store,
        data=parsed.data,
        client=parsed.client,
        member=parsed.member,
        store_version=parsed.store_version,
        tls=_tls(parsed),
        execute_interval=parsed.execute_interval,
        step_deadline=parsed.step_deadline,
    )


def _tls(parsed: argparse.Namespace) -> Tls | None:
    """Return the TLS files, which come together or not at all."""
    if parsed.tls_cert is None and parsed.tls_key is None and parsed.tls_client_ca is None:
        return None
    if parsed.tls_cert is None or parsed.tls_key is None:
        message = "--tls-cert and --tls-key belong together (--tls-client-ca needs both)"
        raise StartError(message)
    return Tls(parsed.tls_cert, parsed.tls_key, parsed.tls_client_ca)


def _parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="infra.agents", description="Run one agent, or the discovery endpoint.")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind in AGENTS:
        _agent_arguments(kinds.add_parser(kind, help=f"agent of one {kind} node").add_argument)
    discovery = kinds.add_parser("discovery", help="HTTP discovery endpoint that serves a file")
    _server_arguments(discovery.add_argument)
    discovery.add_argument("--file", required=True, type=Path, help='JSON {"clusters": [...]}, read when it changes')
    discovery.add_argument("--page-size", type=int, default=100, help="clusters per answer (default %(default)s)")
    return parser


def _server_arguments(add: Callable[..., argparse.Action]) -> None:
    """Add what every server takes."""
    add("--listen", required=True, metavar="HOST:PORT", help="port 0 takes a free one; host defaults to 127.0.0.1")
    add("--tls-cert", type=Path, metavar="PEM")
    add("--tls-key", type=Path, metavar="PEM")
    add("--tls-client-ca", type=Path, metavar="PEM", help="require client certificates of this CA")
    add("--log-level", default="info", choices=["debug", "info", "warning", "error"])


def _agent_arguments(add: Callable[..., argparse.Action]) -> None:
    """Add what every agent takes."""
    _server_arguments(add)
    add("--node-id", required=True)
    add("--cluster-id", required=True)
    add("--store", metavar="ADDRESS", help=f"HOST:PORT of the store (or {STORE_VARIABLE} in the environment)")
    add("--data", required=True, type=Path, metavar="FOLDER", help="where actions and fences are kept")
    add("--client", metavar="HOST:PORT", help="address for the store's clients (default: the store's)")
    add("--member", metavar="HOST:PORT", help="address for the store's members (default: the store's)")
    add("--store-version", help="release to report when the store cannot tell")
    interval_help = "seconds between steps of actions (default %(default)s)"
    add("--execute-interval", type=float, default=1.0, metavar="S", help=interval_help)
    add("--step-deadline", type=float, default=30.0, metavar="S", help="seconds for one step (default %(default)s)")
