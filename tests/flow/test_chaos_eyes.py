"""The eyes of chaos runs: what they call ill, and what of it passes whenever a worker hands over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from blocks.coordinator.protocol import ClaimKind
from blocks.models.request import Priority
from doubles.world import World
from flows.cycle import Mode, cycle
from infra.chaos.eyes import DUTIES, Eyes
from infra.chaos.recorder import Recorder


async def looked(world: World, tmp_path: Path, clusters: int) -> dict[str, Any]:
    """What eyes write down of one look."""
    recorder = Recorder(tmp_path / "h")
    await Eyes(await world.worker("eyes"), world.store, recorder, world.clock, 1, clusters).look()
    recorder.close()
    pulse: dict[str, Any] = orjson.loads((tmp_path / "h").read_bytes())
    return pulse


async def working(world: World) -> None:
    """A worker with all duties."""
    worker = await world.worker("worker-1")
    await worker.take(ClaimKind.WORKER, "worker-1", "works")
    for duty in sorted(DUTIES):
        await worker.take(ClaimKind.DUTY, duty, "works")


async def test_a_cluster_that_is_not_healthy_is_ill(world: World, tmp_path: Path) -> None:
    """It is named, with its problems, and it is nothing that passes with a handing over."""
    ref = await world.declare()
    await working(world)
    world.agents.nodes.pop(max(world.agents.nodes))
    await cycle(await world.turn("worker-1"), [ref], Mode.ORCHESTRATE)
    pulse = await looked(world, tmp_path, 1)

    assert [] == pulse["passing"]
    assert ["prod/orders DEGRADED (MAJORITY_AT_RISK, NODE_UNREACHABLE)"] == [
        one for one in pulse["ill"] if "wait" not in one
    ]


async def test_nobody_at_work_is_what_passes_with_a_handing_over(world: World, tmp_path: Path) -> None:
    """Seats and duties may be between two workers."""
    pulse = await looked(world, tmp_path, 0)
    free = [f"duty {name} has no worker" for name in sorted(DUTIES)]

    assert ([*free, "0 of 1 workers"], pulse["ill"]) == (pulse["passing"], pulse["passing"])


async def test_what_is_late_may_pass(world: World, tmp_path: Path) -> None:
    """A slow machine is late for a moment: a cluster that was not seen is ill, but not as one that is not healthy."""
    await working(world)
    pulse = await looked(world, tmp_path, 1)

    assert ["1 clusters not seen for 12 s"] == pulse["ill"] == pulse["passing"]


async def test_work_of_one_who_has_just_gone_is_not_yet_of_the_dead(world: World, tmp_path: Path) -> None:
    """Work is looked at before workers: who left in between may have given it back. Whoever is missed twice is dead."""
    worker, recorder = await world.worker("worker-1"), Recorder(tmp_path / "h")
    here = await worker.take(ClaimKind.WORKER, "worker-1", "works")
    await world.store.ask("orchestrate", "prod/orders", Priority.ROUTINE, world.clock())
    await world.store.queue_due(world.clock(), 10)
    [item] = await world.store.claim_any(["orchestrate"], "worker-1", world.clock(), 10)
    eyes = Eyes(await world.worker("eyes"), world.store, recorder, world.clock, 1, 0)
    await eyes.look()
    await worker.give_back([here])
    seen = []
    for _ in range(2):
        await eyes.look()
        seen.append("1 items of work are claimed by the dead" in eyes.ill)
    recorder.close()

    assert ("worker-1", [False, True]) == (item.owner, seen)
