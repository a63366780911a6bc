"""Two workers against one, where a worker's own limit decides and not this machine's cores.

Each answer of an agent takes a while, and each worker may wait for few nodes at once: so one worker cycles only so many nodes
a second, with little CPU. What two of them do in the same time shows whether anything that they share (locks, partitions of the
queue, claims, the store) holds them up.
"""

import time
from typing import Any

from infra.bench.figures import Json, ratio, spread
from infra.bench.phases import BUSY_S, Effort, Say, cost, places
from infra.bench.rig import Fleet, Rig, rig, source, wait

NODES = 600
DELAY_S = 0.02
CONCURRENCY = 10
BATCH = 10
LIMITS = {
    "REPLICORE_WORKERS_SEATS": "4",
    "REPLICORE_WORKERS_BATCH_MAX": str(BATCH),
    "REPLICORE_AGENTS_CONCURRENCY": str(CONCURRENCY),
}
SEEN_WITHIN_S = 120.0


def compared(effort: Effort, say: Say, *, nodes: int = NODES, most: int = 2) -> dict[str, Json]:
    """Cycle the same fleet with one worker, then with two (then with `most`)."""
    found: dict[str, Any] = {"nodes": nodes, "delay_s": DELAY_S, "concurrency": CONCURRENCY}
    with rig(Fleet(nodes, kinds="mongodb")) as running:
        running.timetable(cycle_s=BUSY_S, probe_s=0)
        running.apply(source(f"{running.fleet.discovery_url}/discover"))
        running.fleet.do("slow", nodes="all", delay_s=DELAY_S)
        for number in [count for count in (1, 2, 4) if count <= most]:
            running.serve(number - len(running.serving), **LIMITS)
            workers = running.wait_workers(number)
            running.fleet.begin_gaps()
            wait(
                lambda: running.cycled() >= 2 * len(places(running)),
                "all nodes were cycled twice",
                SEEN_WITHIN_S,
                0.25,
            )
            found[str(number)] = _measured(running, workers, effort)
            say(f"{number} workers: {found[str(number)]['nodes_per_s']['median']:.0f} nodes/s")
    for many in ("2", "4"):
        if many in found:
            found[f"{many}_vs_1"] = ratio(found[many]["nodes_per_s"]["median"], found["1"]["nodes_per_s"]["median"])
    return found


def _measured(running: Rig, workers: list[int], effort: Effort) -> dict[str, Json]:
    rates, costs = [], []
    for _ in range(effort.repeat):
        meter, before = running.meter(workers), running.cycled()
        time.sleep(effort.window_s)
        usage, number = meter.read(), running.cycled() - before
        rates.append(number / usage.wall_s)
        costs.append(cost(usage, "worker", number))
    return {"nodes_per_s": spread(rates, 1), "cpu_us": spread(costs, 1)}
