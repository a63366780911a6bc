"""One run from beginning to end: a world, workers, people and a nemesis; then calm, and everything is written down."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import time

from infra.chaos.deeds import Mark
from infra.chaos.nemesis import Nemesis
from infra.chaos.plan import Rhythm, schedule
from infra.chaos.rules import SENDING_S
from infra.chaos.scene import CALM_WITHIN_S, Scene, utc_now, watched
from infra.chaos.settings import AGENT_TIMEOUT_S, Part, Settings
from infra.chaos.world import World, dismiss, hire, saboteurs, serving, worker, world

PROOF_DEEDS = 2
"""So often a rule is broken on purpose."""
PROOF_WITHIN_S = 180.0
"""So long that may take."""
PROOF_ORDERS_EVERY_S = 1.0
PROOFS_AT_ONCE = 3
"""All at once would take so much of a small machine that much is begun, too late, and for nothing."""
_GONE_WITHIN_S = 40.0
_PUBLISHED_WITHIN_S = 30.0
_PROOF_ENDS_S = AGENT_TIMEOUT_S + 1.0
_POLL_S = 0.2


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
    faults = schedule(settings.seed, Rhythm(settings.minutes, recover_s=settings.calm_s, kinds=settings.kinds))
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
    await one.published(_PUBLISHED_WITHIN_S)
    one.recorder.note("end")
    one.watching.cancel()
    await dismiss(one.world, *(service.name for service in (*servers, *workers)))


async def _prove(made: World, parts: list[Part]) -> None:
    """Break each rule on purpose, some at the same time, each in a part of its own."""
    say(f"breaking on purpose: {', '.join(part.name for part in parts)}")
    dishonest, turns = saboteurs(made, "saboteurs", parts), asyncio.Semaphore(PROOFS_AT_ONCE)
    await hire(made, dishonest)
    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(_turn(made, part, turns))
    await dismiss(made, dishonest.name)


async def _turn(made: World, part: Part, turns: asyncio.Semaphore) -> None:
    """One rule is broken; what its saboteur leaves is written down when it has gone."""
    async with turns, watched(made, part) as one:
        one.deeds.mark(Mark.BEGIN)
        await _proof(one)
        one.deeds.mark(Mark.ENOUGH)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GONE_WITHIN_S):
                await one.deeds.until(Mark.GONE)


async def _proof(one: Scene) -> None:
    """Let people work until the rule of this part was broken often enough; what is then under way may end."""
    ends = time.monotonic() + CALM_WITHIN_S
    await one.apply(ends)
    await one.discovered(ends)
    one.recorder.note("begin", seed=0, minutes=0.0, utc=utc_now().isoformat())
    async with one.people(PROOF_ORDERS_EVERY_S, closing=False) as load:
        if one.part.name == "gates":
            async with load.frozen("chaos-proof") as since:
                await _broken(one, since + SENDING_S + AGENT_TIMEOUT_S)  # a deed is told when its request is over
        else:
            await _broken(one, 0.0)
    await one.ended(_PROOF_ENDS_S)
    await one.published(_PUBLISHED_WITHIN_S)


async def _broken(one: Scene, since: float) -> None:
    """Wait until the rule was broken often enough after a moment: only a broken rule can be caught."""
    ends = time.monotonic() + PROOF_WITHIN_S
    while (count := one.deeds.since(since)) < PROOF_DEEDS and time.monotonic() < ends:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)
    say(f"{one.part.name}: its rule was broken {count} times")
