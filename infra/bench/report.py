"""The report: measurements of all sizes, and the headline figures that come from them, each with its raw numbers."""

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from infra.bench.ceiling import KEEPALIVE_S
from infra.bench.figures import Json, ratio
from infra.bench.split import PARTS_ALL

GOALS: Mapping[str, tuple[str, float]] = {
    "probe_vs_ceiling": (">=", 0.8),
    "cycle_vs_ceiling": (">=", 0.85),
    "cycle_vs_bare_aiohttp": (">=", 1.5),
    "non_http_us_per_poll": ("<=", 80.0),
    "cpu_per_node_10000_vs_100": ("<=", 1.15),
    "prefect_cpu_share": ("<=", 0.05),
    "zookeeper_cpu_share": ("<=", 0.05),
    "dead_node_event_p99_s": ("<=", 10.0),
    "late_max_intervals": ("<=", 1.0),
    "two_workers_vs_one": (">=", 1.7),
    "idle_core_share": ("<=", 0.05),
    "first_work_s": ("<=", 5.0),
    "simulator_vs_product": (">=", 3.0),
}
"""By headline figure, what it should be."""


def machine() -> dict[str, Json]:
    """Where this was measured, and how busy it was."""
    return {
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "load": [round(one, 2) for one in os.getloadavg()],
    }


def headlines(sizes: Sequence[Mapping[str, Any]], workers: Mapping[str, Any]) -> dict[str, dict[str, Json]]:
    """The headline figures: of the largest fleet, but where sizes are compared."""
    large, small = sizes[-1], sizes[0]
    bare_probe, bare_look = limits(large)
    probe, cycle = large["probe"]["cpu_us"], large["cycle"]["cpu_us"]
    simulator = _core(large["cycle"], "simulator")
    nets = [_net(one) for one in (large, small)]
    found: dict[str, tuple[float | None, dict[str, Json]]] = {
        "probe_vs_ceiling": (ratio(bare_probe["median"], probe["median"]), {"bare": bare_probe, "product": probe}),
        "cycle_vs_ceiling": (ratio(bare_look["median"], cycle["median"]), {"bare": bare_look, "product": cycle}),
        "cycle_vs_bare_aiohttp": (ratio(bare_look["median"], cycle["median"]), {"bare": bare_look, "product": cycle}),
        "non_http_us_per_poll": (
            round(cycle["median"] - bare_look["median"], 1),
            {"bare": bare_look, "product": cycle, "split": large["cycle"]["split"]},
        ),
        "cpu_per_node_10000_vs_100": (
            ratio(nets[0], nets[1]),
            {"net_us_s": nets, "nodes": [large["nodes"], small["nodes"]], "gross": [_gross(large), _gross(small)]},
        ),
        "prefect_cpu_share": (large["steady"]["split"]["Prefect"], {"split": large["steady"]["split"]}),
        "zookeeper_cpu_share": (large["steady"]["split"]["ZooKeeper"], {"split": large["steady"]["split"]}),
        "dead_node_event_p99_s": (large["events"]["change_to_consumer"]["p99_s"], large["events"]),
        "late_max_intervals": (large["steady"]["freshness"]["late_max_intervals"], large["steady"]["freshness"]),
        "two_workers_vs_one": (workers.get("2_vs_1"), dict(workers)),
        "idle_core_share": (large["idle"]["ours"]["median"], {"by_size": [one["idle"]["ours"] for one in sizes]}),
        "first_work_s": (large["start"]["first_work_s"], {"by_size": [one["start"] for one in sizes]}),
        "simulator_vs_product": (
            ratio(_core(large["cycle"], "worker"), simulator),
            {"worker": large["cycle"]["cores"]["worker"], "simulator": large["cycle"]["cores"]["simulator"]},
        ),
    }
    return {
        name: {"value": value, "goal": " ".join(map(str, GOALS[name])), "reached": _reached(name, value), "raw": raw}
        for name, (value, raw) in found.items()
    }


def limits(one: Mapping[str, Any]) -> tuple[dict[str, Json], dict[str, Json]]:
    """What the bare client spends on a probe and on a cycle: with new connections where the product comes again so late that
    none is kept.
    """
    probes_s = float(one["probe"]["interval_s"])
    cycles_s = one["nodes"] / max(1.0, float(one["cycle"]["nodes_per_s"]["median"]))
    probe = "probe_new" if probes_s > KEEPALIVE_S else "probe"
    look = "look_new" if cycles_s > KEEPALIVE_S else "look"
    bare = one["bare"]
    return {"way": probe, **bare[probe]["cpu_us"]}, {"way": look, **bare[look]["cpu_us"]}


def report(sizes: Sequence[Mapping[str, Any]], workers: Mapping[str, Any], load: Json) -> dict[str, Json]:
    """Everything: the headline figures at the top, by name, then how they came about."""
    found = headlines(sizes, workers)
    plain = {name: one["value"] for name, one in found.items()}
    return {
        **plain,
        "goals": found,
        "sizes": list(sizes),
        "workers": dict(workers),
        "machine": machine(),
        "before": load,
    }


def show(made: Mapping[str, Any], console: Console) -> None:
    """Print the report for people."""
    goals = Table("figure", "value", "goal", "reached", title="Headline figures (the largest fleet)")
    for name, one in made["goals"].items():
        goals.add_row(name, str(one["value"]), one["goal"], {True: "yes", False: "no"}.get(one["reached"], "-"))
    console.print(goals)
    sizes: Sequence[Mapping[str, Any]] = made["sizes"]
    rows: list[tuple[str, list[object]]] = [
        ("bare probe, us CPU", [limits(one)[0]["median"] for one in sizes]),
        ("probe, us CPU", [one["probe"]["cpu_us"]["median"] for one in sizes]),
        ("probes/s, asked for", [one["probe"]["per_s"]["median"] for one in sizes]),
        ("bare cycle (5 requests), us CPU", [limits(one)[1]["median"] for one in sizes]),
        ("bare cycle, nodes/s", [one["bare"]["look"]["nodes_per_s"]["median"] for one in sizes]),
        ("full cycle, us CPU", [one["cycle"]["cpu_us"]["median"] for one in sizes]),
        ("full cycle, nodes/s", [one["cycle"]["nodes_per_s"]["median"] for one in sizes]),
        ("full cycle, clusters/s", [one["cycle"]["clusters_per_s"]["median"] for one in sizes]),
        ("as promised: cores of the worker", [_core(one["steady"], "worker") for one in sizes]),
        ("as promised: stale p99, s", [one["steady"]["freshness"]["stale_p99_s"] for one in sizes]),
        ("dead node to event, p50 / p99 s", [_pair(one["events"]["change_to_consumer"]) for one in sizes]),
        ("saved to consumer, p50 / p99 s", [_pair(one["events"]["save_to_consumer"]) for one in sizes]),
        ("actions sent/s", [one["actions"]["per_s"] for one in sizes]),
        ("discovered nodes/s", [one["discovery"]["nodes_per_s"] for one in sizes]),
        ("worker, MiB", [one["rss_mb"] for one in sizes]),
        ("idle, cores of ours", [one["idle"]["ours"]["median"] for one in sizes]),
    ]
    table = Table("", *(f"{one['nodes']} nodes" for one in sizes), title="By size (medians)")
    for name, values in rows:
        table.add_row(name, *map(str, values))
    console.print(table)
    split = Table("part", *(f"{one['nodes']} nodes" for one in sizes), title="The worker's CPU in full cycles, by part")
    for part in PARTS_ALL:
        split.add_row(part, *(f"{one['cycle']['split'][part]:.1%}" for one in sizes))
    console.print(split)


def _core(phase: Mapping[str, Any], name: str) -> float | None:
    median: float | None = phase["cores"][name]["median"]
    return median


def _net(one: Mapping[str, Any]) -> float:
    """Of a fleet as promised: microseconds of CPU per node and second, beyond what an idle worker takes."""
    idle = float(one["idle"]["worker"]["median"]) / int(one["nodes"]) * 1e6
    return round(max(0.0, _gross(one) - idle), 2)


def _gross(one: Mapping[str, Any]) -> float:
    return float(one["steady"]["cpu_per_node_us_s"]["median"])


def _pair(told: Mapping[str, Any]) -> str:
    return f"{told['p50_s']} / {told['p99_s']}"


def _reached(name: str, value: float | None) -> bool | None:
    if value is None:
        return None
    above, limit = GOALS[name]
    return value >= limit if above == ">=" else value <= limit
