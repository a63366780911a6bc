"""One run from beginning to end: a world, workers, people and a nemesis; then calm, and everything is written down."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from contextlib import AsyncExitStack

from infra.chaos.nemesis import Nemesis
from infra.chaos.plan import Rhythm, schedule
from infra.chaos.scene import CALM_WITHIN_S, Scene, utc_now, watched
from infra.chaos.settings import Part, Settings
from infra.chaos.world import World, dismiss, hire, serving, worker, world

PROOF_S = 20.0
"""So long a rule is broken on purpose."""
PROOF_ORDERS_EVERY_S = 0.4
_PROOF_SETTLE_S = 6.0


def say(text: str) -> None:
    """Tell people what is going on."""
    sys.stderr.write(f"{utc_now():%H:%M:%S} {text}\n")
    sys.stderr.flush()


async def run(settings: Settings) -> None:
    """A whole run; what happened is in `settings.home`.

    Raises:
        NotReadyError: all was not well even before the first fault.
    """
    shutil.rmtree(settings.home, ignore_errors=True)
    begun = time.monotonic()
    async with world(settings) as made:
        say(f"servers are up after {time.monotonic() - begun:.0f} s")
        main, *proofs = settings.parts
        async with watched(made, main) as one:
            await _chaos(one, settings)
        if proofs:
            await _prove(made, proofs)


async def _chaos(one: Scene, settings: Settings) -> None:
    faults = schedule(settings.seed, Rhythm(settings.minutes, kinds=settings.kinds))
    workers = [worker(one.world, f"worker-{number + 1}", one.part) for number in range(settings.workers)]
    servers = [serving(one.world, f"serve-{number + 1}", one.part) for number in range(settings.serving)]
    await hire(one.world, *workers, *servers)
    await one.declare()
    say(f"all is well; {len(faults)} faults in {settings.minutes:g} min")
    one.recorder.note("begin", seed=settings.seed, minutes=settings.minutes, utc=utc_now().isoformat())
    begun = time.monotonic()
    async with one.people(settings.orders_every_s):
        await Nemesis(one.world, one.part, one.eyes, one.recorder, say).carry_out(faults)
        await asyncio.sleep(max(0.0, begun + settings.minutes * 60.0 - time.monotonic()))
    one.recorder.note("calm")
    say("people and faults have stopped")
    await one.settle()
    one.recorder.note("end")
    if settings.proofs:
        await one.published(30.0)
        await dismiss(one.world, *(service.name for service in (*servers, *workers)))


async def _prove(made: World, parts: list[Part]) -> None:
    """Break each rule on purpose, all at the same time, each in a part of its own."""
    say(f"breaking on purpose: {', '.join(part.name for part in parts)}")
    async with AsyncExitStack() as stack:
        scenes = [await stack.enter_async_context(watched(made, part)) for part in parts]
        dishonest = [worker(made, f"saboteur-{part.name}", part, part.name) for part in parts]
        await hire(made, *dishonest)
        async with asyncio.TaskGroup() as group:
            for one in scenes:
                group.create_task(_proof(one))
        await dismiss(made, *(service.name for service in dishonest))


async def _proof(one: Scene) -> None:
    await one.apply(time.monotonic() + CALM_WITHIN_S)
    one.recorder.note("begin", seed=0, minutes=0.0, utc=utc_now().isoformat())
    async with one.people(PROOF_ORDERS_EVERY_S):
        await asyncio.sleep(PROOF_S)
    await one.settle(_PROOF_SETTLE_S)
