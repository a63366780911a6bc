"""The measurements of one fleet, one after the other; each gives its raw numbers. `size` does them all."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from blocks.fleet import Fleet as Settings
from blocks.fleet import connect
from blocks.models.ids import SourceRef
from flows.discover import discover_source
from flows.entry import utc_now
from flows.steps import Steps
from infra.bench.ceiling import Place, bare
from infra.bench.cpu import Usage, rss_mb
from infra.bench.errors import BenchError
from infra.bench.events import Follower, following
from infra.bench.figures import Json, freshness, latencies, spread
from infra.bench.rig import NAMESPACE, SOURCE, Fleet, Rig, rig, source, wait
from infra.bench.split import sampled

CYCLE_S, PROBE_S = 60.0, 5.0
"""How often clusters are cycled and nodes are probed in a fleet as promised."""
NEVER_S = 86_400.0
BUSY_S = 1.0
"""The interval of clusters that are always due."""
PROBES_PER_S = 1_000.0
"""Where probes alone are measured, so many are asked for, as far as intervals allow."""
PROBE_MIN_S = 0.5
DEAD_WITHIN_S = 40.0
ACTIONS_WITHIN_S = 60.0
FIRST_WITHIN_S = 600.0
CALM = 0.12
"""A worker that uses less of a core than this is not busy any more."""
ACTION = """\
apiVersion: replicante.io/v0
kind: NodeAction
metadata: {{namespace: {namespace}, cluster: {cluster}, node: {node}, approval: granted}}
spec: {{action: agent.replicante.io/test.success}}
"""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    repeat: int = 3
    """Windows of each measurement."""
    window_s: float = 5.0
    split_s: float = 8.0
    settle_s: float = 4.0
    kills: int = 40
    """Nodes that die, so that it can be seen how soon that is an event."""
    actions: int = 200
    sweeps: int = 3
    """Of the bare client."""
    probe_s: float = PROBE_S
    """How often nodes are probed in the fleet as promised."""


QUICK = Effort(repeat=1, window_s=1.0, split_s=1.0, settle_s=0.5, kills=3, actions=5, sweeps=1, probe_s=1.0)


def size(nodes: int, effort: Effort, say: Say) -> dict[str, Json]:
    """All measurements of a fleet of so many nodes, with everything on."""
    shape = Fleet(nodes, refusable=min(nodes, effort.kills * 2))
    began = time.monotonic()
    with rig(shape) as running, following(running.stack.environment) as bus:
        say(f"{len(places(running))} nodes: servers and agents run after {time.monotonic() - began:.0f} s")
        found: dict[str, Json] = {"nodes": len(places(running)), "clusters": shape.clusters}
        found["discovery"] = discovery(running)
        say(f"discovered: {found['discovery']['nodes_per_s']:.0f} nodes/s")
        found["start"], worker = start(running)
        say(f"a shift starts: {found['start']['first_work_s']:.1f} s to its first work")
        found["cycle"] = cycles(running, worker, effort)
        say(
            f"cycled: {found['cycle']['nodes_per_s']['median']:.0f} nodes/s, {found['cycle']['cpu_us']['median']:.0f} us each"
        )
        found["idle"] = idle(running, worker, effort)
        found["bare"] = ceilings(running, effort)
        say(f"bare client: {found['bare']['look']['cpu_us']['median']:.0f} us for the five requests of a cycle")
        found["probe"] = probes(running, worker, effort)
        say(f"probed: {found['probe']['cpu_us']['median']:.0f} us each")
        found["steady"] = steady(running, worker, effort)
        found["events"] = deaths(running, bus, effort)
        say(f"a dead node is an event: {found['events']['change_to_consumer']}")
        found["actions"] = actions(running, effort)
        say(f"actions: {found['actions']['per_s']:.0f}/s")
        found["rss_mb"] = round(rss_mb(worker), 1)
        found["seconds"] = round(time.monotonic() - began, 1)
    return found


def places(running: Rig) -> list[Place]:
    """Where all agents are."""
    return [Place(str(node["agent_address"]), str(node["protocol"])) for node in running.fleet.nodes()]


def discovery(running: Rig) -> dict[str, Json]:
    """Everything is new: one run of discovery, in this process, with real MongoDB and ZooKeeper."""
    running.timetable(cycle_s=BUSY_S, probe_s=0)
    running.apply(source(f"{running.fleet.discovery_url}/discover"))
    settings = Settings().with_environment(running.stack.environment)
    steps = Steps()

    async def run() -> int:
        async with connect(settings) as connections:
            coordinator, store = await connections.coordinator(), await connections.store()
            sources = await connections.sources()
            report = await discover_source(
                coordinator, store, sources, SourceRef(namespace=NAMESPACE, name=SOURCE), utc_now, steps
            )
            return report.nodes

    cpu, began = time.process_time(), time.monotonic()
    nodes = asyncio.run(run())
    wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
    phases = {name: round(ms / 1_000, 3) for name, ms in steps.phases_ms.items()}
    per_s = round(nodes / wall_s, 1)
    return {
        "nodes": nodes,
        "wall_s": round(wall_s, 3),
        "cpu_s": round(cpu_s, 3),
        "nodes_per_s": per_s,
        "phases_s": phases,
    }


def start(running: Rig) -> tuple[dict[str, Json], int]:
    """From the start of a worker's process to the first request to an agent; and its pid."""
    asked = _requests(running)
    running.serve()
    (worker,) = running.wait_workers(1)
    created = running.workers()[0].create_time()
    wait(lambda: _requests(running) > asked, "a worker asks an agent", FIRST_WITHIN_S)
    return {"first_work_s": round(utc_now().timestamp() - created, 2)}, worker


def cycles(running: Rig, worker: int, effort: Effort) -> dict[str, Json]:
    """All clusters are always due: how fast they are cycled, and at what cost. The first cycle of all goes before."""
    running.fleet.begin_gaps()
    first_s = running.wait_all_cycled(FIRST_WITHIN_S)
    running.timetable(cycle_s=NEVER_S, probe_s=0)
    _until_calm(running, worker)  # the events of so much news are sent
    running.timetable(cycle_s=BUSY_S, probe_s=0)
    time.sleep(effort.settle_s + BUSY_S)
    windows = [_window(running, worker, effort.window_s, Rig.cycled) for _ in range(effort.repeat)]
    split = sampled(worker, effort.split_s)
    return {
        "first_s": round(first_s, 2),
        "cpu_us": spread((cost(usage, "worker", number) for usage, number in windows), 1),
        "nodes_per_s": spread((number / usage.wall_s for usage, number in windows), 1),
        "clusters_per_s": spread((number / usage.wall_s / 3 for usage, number in windows), 1),
        "cores": _cores([usage for usage, _ in windows]),
        "split": {part: round(share, 4) for part, share in split.shares().items()},
        "threads": _threads(split.threads_s, split.wall_s),
        "top": [f"{frame} {number}" for frame, number in split.top[:12]],
        "worker_rss_mb": round(rss_mb(worker), 1),
    }


def idle(running: Rig, worker: int, effort: Effort) -> dict[str, Json]:
    """Nothing is due: what everything of ours takes."""
    running.timetable(cycle_s=NEVER_S, probe_s=0)
    _until_calm(running, worker)
    usages = [_usage(running, worker, effort.window_s) for _ in range(max(2, effort.repeat))]
    ours = [usage.share("worker") + usage.share("serve") for usage in usages]
    return {"ours": spread(ours), "worker": spread(usage.share("worker") for usage in usages), "cores": _cores(usages)}


def ceilings(running: Rig, effort: Effort) -> dict[str, Json]:
    """A bare client doing the same requests, while the product is idle."""
    found = bare(places(running), effort.sweeps)
    return {
        way: {
            "cpu_us": spread((sweep.cpu_us for sweep in sweeps), 1),
            "nodes_per_s": spread((sweep.nodes_per_s for sweep in sweeps), 1),
        }
        for way, sweeps in found.items()
    }


def probes(running: Rig, worker: int, effort: Effort) -> dict[str, Json]:
    """Probes alone: what one costs, with and without what the worker costs idle."""
    interval_s = max(PROBE_MIN_S, round(len(places(running)) / PROBES_PER_S, 1))
    quiet = _usage(running, worker, effort.window_s)
    running.timetable(cycle_s=NEVER_S, probe_s=interval_s)
    running.fleet.begin_gaps()
    wait(lambda: running.asked() > 0, "nodes are probed", FIRST_WITHIN_S)
    time.sleep(effort.settle_s + interval_s)
    windows = [_window(running, worker, effort.window_s, Rig.asked) for _ in range(effort.repeat)]
    base = quiet.share("worker")
    return {
        "interval_s": interval_s,
        "per_s": spread((number / usage.wall_s for usage, number in windows), 1),
        "cpu_us": spread((cost(usage, "worker", number, base) for usage, number in windows), 1),
        "cpu_us_gross": spread((cost(usage, "worker", number) for usage, number in windows), 1),
        "cores": _cores([usage for usage, _ in windows]),
    }


def steady(running: Rig, worker: int, effort: Effort) -> dict[str, Json]:
    """The fleet as promised: every node probed each 5 s, every cluster cycled each 60 s."""
    running.timetable(cycle_s=CYCLE_S, probe_s=effort.probe_s)
    time.sleep(effort.settle_s + 2 * effort.probe_s)
    running.fleet.begin_gaps()
    usages = [_usage(running, worker, effort.window_s + effort.probe_s) for _ in range(effort.repeat)]
    gaps = running.fleet.gaps()
    split = sampled(worker, effort.split_s)
    nodes = len(places(running))
    return {
        "cpu_per_node_us_s": spread((usage.share("worker") / nodes * 1e6 for usage in usages), 2),
        "cores": _cores(usages),
        "freshness": freshness(gaps, "asked", effort.probe_s),
        "split": {part: round(share, 4) for part, share in split.shares().items()},
        "threads": _threads(split.threads_s, split.wall_s),
    }


def killed_in_turn(running: Rig, victims: Sequence[str], over_s: float) -> dict[str, float]:
    """Kill nodes, each at its moment of a time, so that they fall on all moments between two probes; by node, when.

    Raises:
        BenchError: a moment did not come, within that time.
    """
    killed: dict[str, float] = {}
    began = time.monotonic()
    for number, victim in enumerate(victims):
        moment = began + over_s * number / len(victims)
        wait(partial(_has_come, moment), f"the moment to kill {victim}", over_s, over_s / len(victims) / 10)
        killed[victim] = time.monotonic()
        running.fleet.kill(victim)
    return killed


def _has_come(moment: float) -> bool:
    return time.monotonic() >= moment


def deaths(running: Rig, bus: Follower, effort: Effort) -> dict[str, Json]:
    """Nodes die one after the other, spread over an interval: when a consumer of the bus knows of each."""
    victims = [str(node["node"]) for node in running.fleet.nodes() if node["refusable"]][: effort.kills]
    began = time.monotonic()
    killed = killed_in_turn(running, victims, effort.probe_s)
    with suppress(BenchError):
        wait(lambda: killed.keys() <= bus.died(began).keys(), "all deaths are events", DEAD_WITHIN_S)
    told = bus.died(began)
    ages = bus.ages_s(began)
    running.fleet.heal()
    never = sorted(killed.keys() - told.keys())
    seconds = [told.get(name, at + DEAD_WITHIN_S) - at for name, at in killed.items()]
    return {
        "change_to_consumer": latencies(seconds),
        "save_to_consumer": latencies(ages),
        "seconds": [round(one, 3) for one in seconds],
        "not_told": never,
    }


def actions(running: Rig, effort: Effort) -> dict[str, Json]:
    """Approved actions on many nodes at once: how soon and how fast their agents get them."""
    nodes = running.fleet.nodes()
    some = [node for node in nodes if not node["refusable"]][: effort.actions] or nodes[: effort.actions]
    manifests = "---\n".join(ACTION.format(namespace=NAMESPACE, cluster=n["cluster"], node=n["node"]) for n in some)
    began = time.monotonic()
    took_s = running.apply(manifests)

    def sent() -> list[float]:
        first: dict[str, float] = {}
        for line in running.fleet.received(what="action", since=began):
            first.setdefault(str(line["id"]), float(str(line["at"])))
        return sorted(first.values())

    with suppress(BenchError):
        wait(lambda: len(sent()) >= len(some), f"{len(some)} actions are with their agents", ACTIONS_WITHIN_S, 0.25)
    moments = sent()
    return {
        "number": len(some),
        "sent": len(moments),
        "apply_s": round(took_s, 2),
        "after": latencies([at - began for at in moments]),
        "per_s": round(len(moments) / max(moments[-1] - moments[0], 1e-3), 1) if moments else 0.0,
    }


def cost(usage: Usage, part: str, number: int, base: float = 0.0) -> float:
    """Microseconds of CPU of a part for each of so many things, beyond a share of a core that it takes anyway."""
    return (usage.cpu_s.get(part, 0.0) - base * usage.wall_s) / max(1, number) * 1e6


def _window(running: Rig, worker: int, seconds: float, count: Callable[[Rig], int]) -> tuple[Usage, int]:
    meter, before = running.meter([worker]), count(running)
    time.sleep(seconds)
    return meter.read(), count(running) - before


def _usage(running: Rig, worker: int, seconds: float) -> Usage:
    meter = running.meter([worker])
    time.sleep(seconds)
    return meter.read()


def _requests(running: Rig) -> int:
    return int(str(running.fleet.status()["requests"]))


def _until_calm(running: Rig, worker: int) -> None:
    wait(lambda: _usage(running, worker, 1.0).share("worker") < CALM, "the worker is idle", FIRST_WITHIN_S)


def _cores(usages: list[Usage]) -> dict[str, Json]:
    names = {name for usage in usages for name in usage.cpu_s}
    return {name: spread(usage.share(name) for usage in usages) for name in sorted(names)}


def _threads(seconds: Mapping[str, float], wall_s: float) -> dict[str, float]:
    shares: dict[str, Any] = {name: round(one / wall_s, 4) for name, one in seconds.items() if one > 0}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
