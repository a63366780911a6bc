"""The command line: run a fleet until told to end."""

import argparse
import asyncio
import gc
import logging
import resource
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import orjson
import uvloop

from infra.agents.kit.errors import StartError
from infra.agents.kit.options import parse_address
from infra.simulator.errors import SimulatorError
from infra.simulator.layout import Layout
from infra.simulator.model import Kind, Wire
from infra.simulator.script import Script, read_script
from infra.simulator.simulator import Address, Settings, Simulator

log = logging.getLogger("infra.simulator")

Word = TypeVar("Word", bound=StrEnum)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return 0 after a clean end, 1 when it cannot start, 2 for wrong usage.

    When everything listens, one line of JSON on the standard output says where.
    """
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        settings = settings_of(parsed)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            failed = runner.run(_run(settings))
    except SimulatorError as error:
        failed = str(error)
    if failed is not None:
        print(f"infra.simulator: {failed}", file=sys.stderr)  # noqa: T201 - a command line tool
        return 1
    return 0


def now() -> datetime:
    """Return the wall clock."""
    return datetime.now(UTC)  # noqa: TID251 - the entry point: time comes in here


def settings_of(parsed: argparse.Namespace) -> Settings:
    """Turn the parsed command line into settings.

    Raises:
        SimulatorError: A value cannot be, or the script cannot be read.
    """
    layout = Layout(
        clusters=parsed.clusters,
        kinds=_words(Kind, parsed.kinds),
        protocols=_words(Wire, parsed.protocols),
        size=parsed.size,
        partitions=_numbers(parsed.partitions),
        unformed=parsed.unformed,
        refusable=parsed.refusable,
        base_address=parsed.base_address,
        seed=parsed.seed,
    )
    return Settings(
        layout=layout,
        port=parsed.port,
        control=_address(parsed.control),
        discovery=_address(parsed.discovery),
        page_size=parsed.page_size,
        script=Script() if parsed.script is None else read_script(parsed.script),
        record=parsed.record,
        execute_interval_s=parsed.execute_interval,
        offsets_every_s=parsed.offsets_every,
        keep_alive_s=parsed.keep_alive,
    )


async def _run(settings: Settings) -> str | None:
    """Run; return what went wrong meanwhile."""
    _raise_limit()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with Simulator(settings, now) as simulator:
        gc.collect()
        gc.freeze()  # the fleet stays: looking through it again and again only costs time
        places = {name: f"{host}:{port}" for name, (host, port) in simulator.addresses.items()}
        nodes = len(simulator.fleet.nodes)
        print(orjson.dumps({"nodes": nodes, **places}).decode(), flush=True)  # noqa: T201
        log.info("%d nodes in %d clusters, %s", nodes, len(simulator.fleet.clusters), places)
        await ended.wait()
    return simulator.record.failed


def _raise_limit() -> None:
    """Allow as many open connections as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _words(of: type[Word], text: str) -> tuple[Word, ...]:
    """Read a list of words."""
    try:
        return tuple(of(word.strip()) for word in text.split(","))
    except ValueError as error:
        message = f"{text!r} must be a list of {', '.join(of)}"
        raise SimulatorError(message) from error


def _numbers(text: str) -> tuple[int, ...]:
    """Read a list of numbers."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError as error:
        message = f"{text!r} must be a list of whole numbers"
        raise SimulatorError(message) from error


def _address(text: str | None) -> Address | None:
    """Read HOST:PORT."""
    if text is None:
        return None
    try:
        return parse_address(text)
    except StartError as error:
        message = f"{text!r} must be HOST:PORT"
        raise SimulatorError(message) from error


def _parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="infra.simulator",
        description="A simulated fleet of agents.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--clusters", type=int, default=3)
    add("--kinds", default="mongodb", help="of mongodb, zookeeper, kafka, in turn; twice is twice as often")
    add("--protocols", default="B", help="of A and B, in turn")
    add("--size", type=int, default=3, help="nodes per cluster")
    add("--partitions", default="100", help="of the first Kafka cluster, the second, ... and again")
    add("--unformed", type=int, default=0, help="MongoDB clusters that wait for cluster.init")
    add("--refusable", type=int, default=0, help="nodes with a listener of their own, whose port can be closed")
    add("--seed", type=int, default=0)
    add("--base-address", default="127.10.0.0", help="the first agent has the next one")
    add("--port", type=int, default=8000, help="of all agents; 0 takes a free one")
    add("--control", metavar="HOST:PORT", help="serve commands and the record")
    add("--discovery", metavar="HOST:PORT", help="serve /discover and /legacy/discover")
    add("--page-size", type=int, default=100, help="clusters per page of discovery")
    add("--script", type=Path, metavar="FILE", help="YAML or JSON: what happens when")
    add("--record", type=Path, metavar="FILE", help="write everything received and done as JSON lines")
    add("--execute-interval", type=float, default=1.0, metavar="S", help="seconds between steps of an action")
    add("--offsets-every", type=float, metavar="S", help="let offsets grow this often")
    add("--keep-alive", type=float, default=90.0, metavar="S", help="close connections idle for this long")
    return parser
