"""Register what the product needs in its servers: blocks in Prefect, topics in Kafka, indexes in MongoDB.

`python -m deployments.register` may be run again at any time, by several at once. The `Fleet` block takes what
`REPLICORE_*` variables say; fields that they do not name keep what the block has.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from blocks.coordinator.protocol import ClaimKind
from blocks.errors import InvalidInputError, ReplicoreError
from blocks.fleet import DEFAULT_FLEET, Fleet, NoFleetError, connect, load_fleet
from blocks.settings import Settings
from deployments.cli.world import Parts
from deployments.prefect_api import wait_for_prefect

DEADLINE_S = 60.0
DUTY = "prepare"
"""Held by whoever prepares the servers."""

_logger = logging.getLogger("replicore.register")


async def register(name: str = DEFAULT_FLEET, *, deadline_s: float = DEADLINE_S) -> None:
    """Register everything.

    Raises:
        DependencyUnavailableError: a server did not answer; what was registered before stays.
        InvalidInputError: a setting does not fit.
    """
    environment = Fleet().with_environment()
    async with connect(environment) as connections:
        await asyncio.gather(prepare(connections), _register_blocks(name, deadline_s))


async def prepare(parts: Parts) -> None:
    """Prepare the servers, one process at a time: what an upgrade has to write anew is written by one.

    Raises:
        BusyError: another process has been at it for a minute.
        DependencyUnavailableError: a server did not answer.
    """
    store, queue, bus = await parts.store(), await parts.work_queue(), await parts.event_bus()
    coordinator = await parts.coordinator()
    claim = await coordinator.take(ClaimKind.DUTY, DUTY, "prepares database and topics", wait_s=DEADLINE_S)
    try:
        await store.ready()
        await store.prepare()
        await queue.ready()
        await queue.prepare()
        await bus.prepare()
    finally:
        await coordinator.give_back([claim])


async def _register_blocks(name: str, deadline_s: float) -> None:
    await wait_for_prefect(deadline_s)
    for block in (*Settings.__subclasses__(),):
        await block.aregister_type_and_schema()
    try:
        known = await load_fleet(name, "Is the server running?")
    except NoFleetError:
        known = Fleet()
    wanted = known.with_environment()
    await wanted.asave(name, overwrite=True)


def main() -> int:
    """The command."""
    try:
        asyncio.run(register())
    except ReplicoreError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command speaks to its user
        return 2 if isinstance(error, InvalidInputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
