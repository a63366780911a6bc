"""A worker without Prefect: shift after shift until SIGTERM. Its clock can be made to jump: `python -m infra.chaos.worker`.

It is the product's own shift on the product's own adapters. Only what a chaos run needs is different: the clock is the machine's
plus what a file says (read again at SIGUSR1), and `--sabotage` puts a wrapper around adapters that breaks a rule on purpose.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import uvloop

from blocks.errors import ReplicoreError
from blocks.fleet import Connections, connect
from flows.entry import utc_now
from flows.operate import shift_of
from infra.chaos.saboteur import SWITCHES, sabotaged

READY_FILE = "REPLICORE_READY_FILE"
_AGAIN_S = 0.5

_logger = logging.getLogger("replicore.chaos.worker")


@dataclass(slots=True)
class Clock:
    """The machine's clock, wrong by what a file says in seconds."""

    path: Path | None
    offset: timedelta = timedelta()

    def __call__(self) -> datetime:
        """What this worker thinks the time is."""
        return utc_now() + self.offset

    def read(self) -> None:
        """Take what the file says now; nothing means right."""
        with contextlib.suppress(OSError, ValueError):
            if self.path is not None:
                self.offset = timedelta(seconds=float(self.path.read_text(encoding="ascii") or 0))


async def work(clock: Clock, switch: str | None) -> None:
    """Work until SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, clock.read)
    clock.read()
    if path := os.environ.get(READY_FILE):
        Path(path).write_text(f"{os.getpid()}\n", encoding="ascii")  # noqa: ASYNC240 - once, at the start
    while not stop.is_set():
        try:
            async with connect() as connections:
                await _shift(connections, clock, stop, switch)
        except ReplicoreError as error:
            _logger.warning("a shift ended: %s", error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN_S):
                await stop.wait()


async def _shift(connections: Connections, clock: Clock, stop: asyncio.Event, switch: str | None) -> None:
    shift = await shift_of(connections, connections.settings.workers, stop, clock=clock)
    report = await (shift if switch is None else sabotaged(shift, switch)).work()
    _logger.info("%s", report.model_dump_json())


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clock", type=Path, help="a file with the seconds by which this worker's clock is wrong")
    parser.add_argument("--sabotage", choices=sorted(SWITCHES), help="the rule that this worker breaks on purpose")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(Clock(arguments.clock), arguments.sabotage))
    return 0


if __name__ == "__main__":
    sys.exit(main())
