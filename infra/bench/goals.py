"""Promises that take a while to check: each is one command that prints a verdict and the figures it comes from."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from infra.bench.cpu import rss_mb
from infra.bench.errors import BenchError
from infra.bench.events import Follower, following
from infra.bench.figures import Json, freshness, latencies, spread
from infra.bench.phases import CYCLE_S, PROBE_S, Say, killed_in_turn, places
from infra.bench.rig import Fleet, Rig, rig, source, wait
from infra.bench.split import sampled

SAMPLE_S = 10.0
SETTLED_WITHIN_S = 600.0
"""For how long the first cycles of a large fleet may go on before the promise begins."""
LATE_MAX_INTERVALS, STALE_P99_MAX_INTERVALS = 1.0, 2.0
GROWTH_MAX = 1.1
"""Memory is flat when its last third is no greater than its second by more than this."""
SHARE_MAX = 0.05
EVENT_P99_MAX_S = 10.0
DEAD_SHARE, FLAPPING_SHARE = 0.10, 0.05
PAUSES_S = (2.0, 4.0, 8.0)
AFTER_S = 20.0
FRESH_S = 5.0
HOG = "while True: pass"


@contextmanager
def promised(nodes: int, say: Say, *, shift_s: float = 600.0) -> Iterator[tuple[Rig, Follower]]:
    """A fleet as promised: each node probed every 5 s, each cluster cycled every 60 s; all seen once."""
    shape = Fleet(nodes, refusable=max(50, nodes // 10))
    with rig(shape) as running, following(running.stack.environment) as bus:
        running.timetable(cycle_s=CYCLE_S, probe_s=PROBE_S)
        running.apply(source(f"{running.fleet.discovery_url}/discover"))
        running.fleet.begin_gaps()
        began = time.monotonic()
        running.serve(REPLICORE_WORKERS_SHIFT_S=f"{shift_s:g}")
        running.wait_workers(1)
        many = len(places(running))

        running.wait_all_cycled(SETTLED_WITHIN_S)
        wait(lambda: _outbox_is_empty(bus), "the events of so much news are sent", SETTLED_WITHIN_S, 1.0)
        say(f"{many} nodes are known after {time.monotonic() - began:.0f} s")
        time.sleep(2 * PROBE_S)
        yield running, bus


def sustained(nodes: int, minutes: float, say: Say, *, shift_s: float = 600.0) -> dict[str, Json]:
    """The promise, kept for so many minutes: nothing late by more than an interval, memory flat, Prefect and ZooKeeper cheap."""
    with promised(nodes, say, shift_s=shift_s) as (running, _):
        return _held(running, minutes * 60, say)


def sustained_with_dead(nodes: int, minutes: float, say: Say, *, deaths: int = 50) -> dict[str, Json]:
    """The promise with a tenth of the nodes dead (half refuse, half are black holes) and a twentieth flapping; and how soon
    another dead node is an event.
    """
    with promised(nodes, say) as (running, bus):
        began = time.monotonic()
        half = round(len(places(running)) * DEAD_SHARE / 2)
        refused = running.fleet.do("kill", nodes={"refusable": True, "count": half})
        lost = running.fleet.do("black_hole", nodes={"refusable": False, "faulty": False, "count": half})
        many = round(len(places(running)) * FLAPPING_SHARE)
        flapping = running.fleet.do("flap", nodes={"faulty": False, "count": many}, up_s=20.0, down_s=20.0)
        say(f"{len(refused)} nodes refuse, {len(lost)} are black holes, {len(flapping)} flap")
        dead = {*refused, *lost}
        wait(lambda: dead <= bus.died(began).keys(), "all that are dead are told as dead", 120.0, 1.0)
        found = _held(running, minutes * 60, say)
        victims = [str(node["node"]) for node in running.fleet.nodes() if node["fault"] is None][-deaths:]
        began = time.monotonic()
        killed = killed_in_turn(running, victims, 2 * PROBE_S)
        wait(lambda: killed.keys() <= bus.died(began).keys(), "all deaths are events", 60.0)
        told = bus.died(began)
        found["dead_node_event"] = latencies([told[name] - at for name, at in killed.items()])
    p99_s = found["dead_node_event"]["p99_s"]
    found["verdicts"]["a newly dead node is an event in 10 s (p99)"] = p99_s is not None and p99_s < EVENT_P99_MAX_S
    return found


def paused_worker(nodes: int, say: Say) -> dict[str, Json]:
    """A worker is stopped for seconds (SIGSTOP), and no healthy node is told as dead."""

    def pause(running: Rig, seconds: float) -> None:
        (worker, *_) = running.workers()
        worker.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        worker.send_signal(signal.SIGCONT)

    return _no_deaths(nodes, say, pause, "stopped")


def starved_worker(nodes: int, say: Say, *, hogs: int = 16) -> dict[str, Json]:
    """A worker gets no CPU for seconds, for others burn it, and no healthy node is told as dead."""

    def starve(_: Rig, seconds: float) -> None:
        burning = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(hogs)]
        try:
            time.sleep(seconds)
        finally:
            for one in burning:
                one.kill()
                one.wait()

    return _no_deaths(nodes, say, starve, "starved")


def largest(first: int, step: int, minutes: float, say: Say) -> dict[str, Json]:
    """The largest fleet for which the promise is kept here: tried in steps, until one is not kept."""
    runs: list[dict[str, Json]] = []
    best, nodes = None, first
    while not runs or runs[-1]["kept"]:
        try:
            run = sustained(nodes, minutes, say)
        except BenchError as error:
            run = {"kept": False, "nodes": nodes, "error": str(error)}
        runs.append(run)
        say(f"{nodes} nodes: {'kept' if run['kept'] else 'not kept'}")
        best = nodes if run["kept"] else best
        nodes += step
    return {"largest": best, "runs": runs, "verdicts": {f"at least {first} nodes": best is not None}}


def _held(running: Rig, seconds: float, say: Say) -> dict[str, Json]:
    """Hold the promise for a while, and look at what it costs."""
    running.fleet.begin_gaps()
    ends = time.monotonic() + seconds
    memory: list[float] = []
    usages = []
    while time.monotonic() < ends:
        workers = [process.pid for process in running.workers()]
        meter = running.meter(workers)
        time.sleep(min(SAMPLE_S, max(1.0, ends - time.monotonic())))
        usages.append(meter.read())
        memory.append(max((rss_mb(pid) for pid in workers), default=0.0))
    gaps = running.fleet.gaps()
    asked, cycled = freshness(gaps, "asked", PROBE_S), freshness(gaps, "cycled", CYCLE_S)
    split = sampled(running.workers()[0].pid, min(15.0, seconds))
    shares = split.shares()
    third = max(1, len(memory) // 3)
    growth = max(memory[-third:]) / max(memory[third : 2 * third] or memory[:third])
    verdicts = {
        "no node was late by more than an interval": asked["late_max_intervals"] <= LATE_MAX_INTERVALS,
        "no cycle was late by more than an interval": cycled["late_max_intervals"] <= LATE_MAX_INTERVALS,
        "p99 of staleness is below two intervals": (asked["stale_p99_intervals"] or 0.0) < STALE_P99_MAX_INTERVALS,
        "memory is flat": growth <= GROWTH_MAX,
        "Prefect takes no more than 5 % of the worker's CPU": shares["Prefect"] <= SHARE_MAX,
        "ZooKeeper takes no more than 5 % of the worker's CPU": shares["ZooKeeper"] <= SHARE_MAX,
    }
    names = sorted({name for usage in usages for name in usage.cpu_s})
    found = {
        "nodes": len(places(running)),
        "seconds": round(seconds, 1),
        "probes": asked,
        "cycles": cycled,
        "cores": {name: spread([usage.share(name) for usage in usages], 3) for name in names},
        "rss_mb": {"first": round(memory[0], 1), "last": round(memory[-1], 1), "max": round(max(memory), 1)},
        "growth": round(growth, 3),
        "split": {part: round(share, 4) for part, share in shares.items()},
        "verdicts": verdicts,
        "kept": all(verdicts[name] for name in list(verdicts)[:3]),
    }
    say(f"latest probe {asked['late_max_intervals']} intervals late, p99 of staleness {asked['stale_p99_s']} s")
    return found


def _outbox_is_empty(bus: Follower) -> bool:
    """Whether what arrives now is new: while a backlog is sent it is old."""
    before = len(bus.received)
    time.sleep(1.0)
    ages = [one.age_s for one in bus.received[before:]]
    return not ages or max(ages) < FRESH_S


def _no_deaths(nodes: int, say: Say, hurt: Callable[[Rig, float], None], how: str) -> dict[str, Json]:
    runs: list[dict[str, Any]] = []
    with promised(nodes, say) as (running, bus):
        for seconds in PAUSES_S:
            began = time.monotonic()
            hurt(running, seconds)
            time.sleep(AFTER_S)
            dead = bus.died(began)
            runs.append({"seconds": seconds, "told_dead": len(dead), "some": sorted(dead)[:5]})
            say(f"{how} for {seconds:g} s: {len(dead)} healthy nodes told as dead")
    verdicts = {
        f"{how} for {run['seconds']:g} s: no healthy node is told as dead": not run["told_dead"] for run in runs
    }
    return {"nodes": nodes, "runs": runs, "verdicts": verdicts}
