"""A worker without Prefect: shift after shift until SIGTERM. Its clock can be made to jump: `python -m infra.chaos.worker`.

It is the product's own shift on the product's own adapters. Only what a chaos run needs is different: the clock is the machine's
plus what a file says (read again at SIGUSR1), and `--sabotage` puts wrappers around adapters that break rules on purpose, each in
a shift of its own for the part of that name.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import uvloop

from blocks.errors import ReplicoreError
from blocks.fleet import DEFAULT_FLEET, Fleet, connect
from flows.entry import utc_now
from flows.operate import shift_of
from infra.chaos.deeds import Deeds, Mark
from infra.chaos.saboteur import SWITCHES, sabotaged
from infra.chaos.settings import DEEDS, PROOF_CLUSTERS, Part

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


async def work(clock: Clock, switches: Sequence[str] = (), home: Path | None = None) -> None:
    """Work until SIGTERM: honestly, or one shift for each switch; `home` has a folder for what each of those did."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, clock.read)
    clock.read()
    if path := os.environ.get(READY_FILE):
        Path(path).write_text(f"{os.getpid()}\n", encoding="ascii")  # noqa: ASYNC240 - once, at the start
    async with asyncio.TaskGroup() as group:
        if home is None:
            group.create_task(_shifts(clock, stop))
        else:
            for switch in switches:
                group.create_task(_dishonest(clock, stop, switch, Deeds(home / switch / DEEDS)))
        await stop.wait()


async def _dishonest(clock: Clock, stop: asyncio.Event, switch: str, deeds: Deeds) -> None:
    """Break a rule from when it is told to begin until it is told that it is enough."""
    own = asyncio.Event()
    await deeds.until(Mark.BEGIN, stop)
    async with asyncio.TaskGroup() as group:
        group.create_task(_shifts(clock, own, switch, deeds))
        await deeds.until(Mark.ENOUGH, stop)
        own.set()
    deeds.mark(Mark.GONE)


async def _shifts(clock: Clock, stop: asyncio.Event, switch: str | None = None, deeds: Deeds | None = None) -> None:
    """Shift after shift."""
    own = None if switch is None else {**os.environ, **Part(switch, PROOF_CLUSTERS).environment}
    while not stop.is_set():
        try:
            async with connect(DEFAULT_FLEET if own is None else Fleet().with_environment(own)) as connections:
                shift = await shift_of(connections, connections.settings.workers, stop, clock=clock)
                if switch is not None and deeds is not None:
                    shift = sabotaged(shift, switch, deeds.add)
                _logger.info("%s", (await shift.work()).model_dump_json())
        except ReplicoreError as error:
            _logger.warning("a shift ended: %s", error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN_S):
                await stop.wait()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clock", type=Path, help="a file with the seconds by which this worker's clock is wrong")
    parser.add_argument(
        "--sabotage", nargs="+", choices=sorted(SWITCHES), default=[], help="the rules to break on purpose"
    )
    parser.add_argument("--home", type=Path, help="the folder of the run, with `--sabotage`")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(Clock(arguments.clock), arguments.sabotage, arguments.home))
    return 0


if __name__ == "__main__":
    sys.exit(main())
