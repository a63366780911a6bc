"""Plots of a report as SVG files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pygal

from infra.bench.report import limits
from infra.bench.split import PARTS_ALL


def draw(made: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw what grows with the fleet, and what CPU goes to; the files that were written."""
    sizes = made["sizes"]
    names = [f"{one['nodes']} nodes" for one in sizes]
    cost = pygal.Bar(title="CPU per node, microseconds", **_LOOKS)
    cost.x_labels = names
    cost.add("bare probe", [limits(one)[0]["median"] for one in sizes])
    cost.add("probe", [one["probe"]["cpu_us"]["median"] for one in sizes])
    cost.add("bare cycle", [limits(one)[1]["median"] for one in sizes])
    cost.add("full cycle", [one["cycle"]["cpu_us"]["median"] for one in sizes])
    split = pygal.StackedBar(title="Full cycle: the worker's CPU by part, microseconds per node", **_LOOKS)
    split.x_labels = names
    for part in PARTS_ALL:
        split.add(part, [one["cycle"]["split"][part] * one["cycle"]["cpu_us"]["median"] for one in sizes])
    steady = pygal.StackedBar(title="As promised (probe 5 s, cycle 60 s): cores", **_LOOKS)
    steady.x_labels = names
    for process in sizes[-1]["steady"]["cores"]:
        steady.add(process, [one["steady"]["cores"][process]["median"] for one in sizes])
    latency = pygal.Bar(title="From a node's death to a consumer's event, seconds", **_LOOKS)
    latency.x_labels = names
    for name in ("p50_s", "p99_s", "max_s"):
        latency.add(name, [one["events"]["change_to_consumer"][name] for one in sizes])
    written = []
    for name, chart in (("cost", cost), ("split", split), ("steady", steady), ("latency", latency)):
        path = folder / f"{name}.svg"
        chart.render_to_file(str(path))
        written.append(path)
    return written


_LOOKS: Mapping[str, Any] = {"legend_at_bottom": True, "js": (), "width": 900, "height": 480, "print_values": True}
"""`js`: none, so that a plot needs nothing from the network."""
