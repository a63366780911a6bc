"""How numbers of a benchmark become figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from infra.bench.figures import freshness, latencies, percentile, ratio, spread
from infra.bench.report import GOALS, headlines, limits
from infra.bench.split import part_of, split_of

MAIN = "thread (7): MainThread"


def test_spread() -> None:
    """Least, median, greatest, and all that they come from."""
    assert {"min": 1.0, "median": 2.0, "max": 4.0, "values": [4.0, 1.0, 2.0]} == spread([4.0, 1.0, 2.0])
    assert {"min": None, "median": None, "max": None, "values": []} == spread([])


def test_percentiles() -> None:
    """The value that so many do not exceed; nothing of nothing."""
    assert 99 == percentile([float(number) for number in range(100)], 0.99)
    assert None is percentile([], 0.5)
    assert {"number": 2, "p50_s": 3.0, "p99_s": 3.0, "max_s": 3.0} == latencies([1.0, 3.0])
    assert {"number": 0, "p50_s": None, "p99_s": None, "max_s": None} == latencies([])


def test_ratio() -> None:
    """A quotient, where there is one."""
    assert 0.5 == ratio(1, 2)
    assert [None, None] == [ratio(1, 0), ratio(None, 2)]


def _gaps(counts: Mapping[str, int], longest_s: float, open_s: float = 0.0) -> dict[str, Any]:
    sort = {"counts": counts, "longest_s": longest_s, "node": "n", "open_s": open_s}
    return {"step_s": 0.05, "asked": sort}


def test_freshness_of_a_fleet_on_time() -> None:
    """Each node is asked every five seconds: what is known is up to five seconds old, and nothing is late."""
    found = freshness(_gaps({"100": 1_000}, 5.0), "asked", 5.0)

    assert 0.0 == found["late_max_intervals"]
    assert 2.5 == pytest.approx(found["stale_p50_s"], abs=0.05)
    assert 4.97 == pytest.approx(found["stale_p99_s"], abs=0.05)


def test_freshness_with_one_long_gap() -> None:
    """The longest gap says how late somebody was, also when it is not over yet."""
    over, still = freshness(_gaps({"100": 10, "300": 1}, 15.0), "asked", 5.0), _gaps({"100": 10}, 5.0, open_s=20.0)

    assert 2.0 == over["late_max_intervals"]
    assert over["stale_p99_s"] > 13
    assert 3.0 == freshness(still, "asked", 5.0)["late_max_intervals"]


@pytest.mark.parametrize(
    ("frames", "part"),
    [
        (("run (asyncio/runners.py:118)", "f (flows/cycle.py:1)", "_request (aiohttp/client.py:5)"), "HTTP"),
        (("f (aiohttp/x.py:1)", "model_validate (pydantic/main.py:1)"), "HTTP"),
        (("get (blocks/agents/transport.py:1)", "shards (blocks/agents/facts.py:1)"), "decode"),
        (("f (flows/cycle.py:1)", "merge (tasks/decide/merge.py:1)", "init (pydantic/main.py:2)"), "decide"),
        (("f (flows/cycle.py:1)", "decode_all (bson/__init__.py:1)"), "MongoDB"),
        (("operate (flows/operate.py:1)", "run (asyncio/runners.py:118)"), "loop"),
        ((), "loop"),
    ],
)
def test_part_of_a_stack(frames: tuple[str, ...], part: str) -> None:
    """The innermost frame that says a part; a main thread without any is the event loop itself."""
    assert part == part_of([MAIN, *frames])


def test_split_by_thread() -> None:
    """Each thread's CPU is split by its own samples; threads without any are known by their names."""
    stacks = f"{MAIN};f (aiohttp/a.py:1) 3\n{MAIN};f (bson/b.py:1) 1\nthread (8): zk_loop;g (kazoo/c.py:1) 99\nnoise\n"
    split = split_of(stacks, {7: 4.0, 8: 1.0, 9: 2.0}, {9: "rdk:broker1"}, 10.0)

    assert {"HTTP": 3.0, "MongoDB": 1.0, "ZooKeeper": 1.0, "Kafka": 2.0} == dict(split.cpu_s)
    assert {"MainThread": 4.0, "zk_loop": 1.0, "rdk:broker1": 2.0} == dict(split.threads_s)
    assert 3.0 / 7 == split.shares()["HTTP"]


def test_a_loop_that_waits_is_no_work() -> None:
    """More samples than the thread's CPU explains are taken from the event loop, and from nothing else."""
    stacks = f"{MAIN};run (asyncio/runners.py:118) 90\n{MAIN};f (aiohttp/a.py:1) 20\n"
    waits = split_of(stacks, {7: 0.2}, {}, 10.0)
    works = split_of(stacks, {7: 1.1}, {}, 10.0)

    assert {"HTTP": 0.2} == dict(waits.cpu_s)
    assert pytest.approx({"loop": 0.9, "HTTP": 0.2}) == dict(works.cpu_s)


def _measured(nodes: int, cores: float) -> dict[str, Any]:
    """A size as `phases.size` measures it, with round numbers."""
    one = {"median": 100.0, "min": 100.0, "max": 100.0, "values": [100.0]}
    shares = {"worker": {"median": cores}, "simulator": {"median": cores / 10}}
    split = {"Prefect": 0.02, "ZooKeeper": 0.01}
    return {
        "nodes": nodes,
        "bare": {
            way: {"cpu_us": {**one, "median": cost}}
            for way, cost in (("probe", 90.0), ("look", 280.0), ("probe_new", 100.0), ("look_new", 300.0))
        },
        "probe": {"cpu_us": {**one, "median": 200.0}, "interval_s": nodes / 1_000},
        "cycle": {
            "cpu_us": {**one, "median": 400.0},
            "nodes_per_s": {"median": 1_000.0},
            "cores": shares,
            "split": split,
        },
        "steady": {
            "cpu_per_node_us_s": {"median": cores / nodes * 1e6},
            "split": split,
            "freshness": {"late_max_intervals": 0.1},
        },
        "idle": {"ours": {"median": 0.02}, "worker": {"median": 0.01}},
        "events": {"change_to_consumer": {"p99_s": 8.0}},
        "start": {"first_work_s": 3.0},
    }


def test_the_limit_has_as_few_connections_as_the_product() -> None:
    """A fleet so large that no connection is kept between two visits is held against a client that keeps none."""
    small, large = (limits(_measured(nodes, 0.1)) for nodes in (1_000, 10_000))

    assert [("probe", 90.0), ("look", 280.0)] == [(one["way"], one["median"]) for one in small]
    assert [("probe_new", 100.0), ("look_new", 300.0)] == [(one["way"], one["median"]) for one in large]


def test_headline_figures() -> None:
    """Each is the quotient that its name says, with the numbers it comes from, and whether its goal is reached."""
    found = headlines([_measured(100, 0.02), _measured(10_000, 1.01)], {"2_vs_1": 1.9})

    assert set(GOALS) == set(found)
    assert [0.5, 0.75, 100.0] == [
        found[name]["value"] for name in ("probe_vs_ceiling", "cycle_vs_ceiling", "non_http_us_per_poll")
    ]
    assert 1.0 == found["cpu_per_node_10000_vs_100"]["value"]
    assert 10.0 == found["simulator_vs_product"]["value"]
    assert [False, True] == [found[name]["reached"] for name in ("probe_vs_ceiling", "two_workers_vs_one")]
