"""The composition of the platform: settings, lock, ledger, processes, socket."""

import asyncio
import fcntl
import logging
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from infra.agents.kit.errors import StartError
from infra.agents.kit.process import bind, serve
from infra.platform.api import platform_app
from infra.platform.ledger import Ledger
from infra.platform.machines import LocalMachines
from infra.platform.platform import Place, Platform
from infra.stack.context import Context
from infra.stack.layout import Layout
from infra.stack.ports import is_free
from infra.stack.settings import StackSettings

_log = logging.getLogger("infra.platform")


def main() -> int:
    """Serve until SIGTERM, then stop every machine; return the exit status, 1 when it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        asyncio.run(run(StackSettings()))
    except StartError as error:
        print(f"infra.platform: {error}", file=sys.stderr)  # noqa: T201 - a command line tool
        return 1
    return 0


async def run(settings: StackSettings) -> None:
    """Serve the machines in the folder of a stack.

    Raises:
        StartError: the address, the folder or the ledger cannot be used, or another platform serves the folder.
    """
    host, layout = settings.host, settings.layout
    if host != settings.loopback:
        message = f"the platform has no authentication and listens on loopback only, not on {host}"
        raise StartError(message)
    layout.create()
    with _alone(layout), bind(host, settings.platform_port) as server_socket:
        machines = LocalMachines(Context(settings))
        place = Place(host, settings.machine_ports, settings.machines_max)
        platform = Platform(Ledger(layout.root / "platform.json"), machines, place, _new_id, is_free)
        logs = asyncio.create_task(machines.keep_logs_small())
        platform.start()
        _log.info("platform on %s:%s", host, server_socket.getsockname()[1])
        try:
            await serve(platform_app(platform), server_socket, None)
        finally:
            logs.cancel()
            await platform.close()


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """Hold the lock of the folder; the kernel releases it when we die."""
    with (layout.run / "platform.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another platform serves {layout.root}"
            raise StartError(message) from error
        yield


def _new_id() -> str:
    return f"machine-{secrets.token_hex(4)}"
