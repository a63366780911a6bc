"""The product under faults. Last of the end-to-end tests, since they hurt the shared product (and leave it well)."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from doubles.product import Product
from doubles.waiting import until
from infra.stack import control
from infra.stack.testing import TestStack

pytestmark = pytest.mark.real

EVENT_WITHIN_S = 10
DUTIES = 3
SHIFTS = 2
SPARE_WITHIN_S = 130
"""The timetable starts a shift a minute."""
TAKE_OVER_WITHIN_S = 20
"""The session timeout of 10 s, the other's turn, and the time that asking takes."""
RECOVER_WITHIN_S = 20
"""15 s are promised; asking takes a command of two seconds on a busy machine."""


def orders(product: Product) -> dict[str, Any]:
    """The row of the cluster `orders`."""
    return next(row for row in product.rows("clusters") if row["cluster"] == "orders")


def test_killed_store_is_told_and_recovers(product: Product) -> None:
    """A kill -9 of a mongod: an event and a problem within seconds; after its restart the cluster is HEALTHY again."""
    killed = time.time()
    product.stack.kill("orders-3")
    event = until(lambda: _down(product, killed), within_s=EVENT_WITHIN_S, what="an event that orders-3 is down")
    problems = product.rows("problems")
    degraded = orders(product)["health"]
    until(lambda: orders(product)["health"] == "HEALTHY", within_s=60, what="orders HEALTHY again")

    assert "UNAVAILABLE" == event["data"]["after"]
    assert "orders-3" in {problem["node"] for problem in problems}
    assert "HEALTHY" != degraded


def _down(product: Product, since: float) -> Any:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since - 1))
    told = product.rows("events", "--cluster", "demo/orders", "--since", stamp)
    return next(
        (
            event
            for event in told
            if event["type"].endswith("node.status-changed.v1") and event["subject"].endswith("/orders-3")
        ),
        None,
    )


def _status(product: Product) -> Any:
    """How the product says it is, well or not."""
    return json.loads(product.replictl("status", "--output", "json").stdout)


def _with_a_colleague(product: Product) -> Any:
    """The worker that has the duty `enqueue`, once every duty is held and somebody else works or stands by."""
    status = _status(product)
    holders = {duty["duty"]: duty["owner"] for duty in status["duties"]}
    if len(holders) < DUTIES or len(status["workers"]) + len(status["standby"]) < SHIFTS:
        return None
    return next((worker for worker in status["workers"] if worker["owner"] == holders["enqueue"]), None)


def test_killed_worker_is_replaced(product: Product) -> None:
    """A kill -9 of the process of a shift: its duties and its work go on in another soon after its session ends."""
    victim = until(lambda: _with_a_colleague(product), within_s=SPARE_WITHIN_S, what="two shifts, and every duty held")
    os.kill(victim["pid"], signal.SIGKILL)

    def taken_over() -> bool:
        duties = _status(product)["duties"]
        return {"enqueue", "relay", "sweep"} == {duty["duty"] for duty in duties} and victim["owner"] not in {
            duty["owner"] for duty in duties
        }

    until(taken_over, within_s=TAKE_OVER_WITHIN_S, what="all duties held by others")
    seen = orders(product)["observed_at"]
    until(lambda: orders(product)["observed_at"] > seen, within_s=TAKE_OVER_WITHIN_S, what="orders looked at again")


def test_what_a_killed_worker_watched_is_watched_by_another(product: Product) -> None:
    """The worker that watches a node and the node's store are killed together: another worker tells of the store, soon after
    the first one's session has ended.
    """
    victim = until(lambda: _with_a_colleague(product), within_s=SPARE_WITHIN_S, what="two shifts, and every duty held")
    killed = time.time()
    os.kill(victim["pid"], signal.SIGKILL)
    product.stack.stop("orders-3")
    event = until(
        lambda: _down(product, killed),
        within_s=TAKE_OVER_WITHIN_S + EVENT_WITHIN_S,
        what="an event that orders-3 is down",
    )
    product.stack.start("orders-3")
    until(lambda: orders(product)["health"] == "HEALTHY", within_s=60, what="orders HEALTHY again")

    assert "UNAVAILABLE" == event["data"]["after"]


@pytest.mark.parametrize(
    ("name", "mode"),
    [("kafka", "NO_QUEUE"), ("zookeeper", "NO_COORDINATOR"), ("mongodb", "NO_STORE"), ("prefect", "NO_PREFECT")],
)
def test_dependency_away_and_back(product: Product, name: str, mode: str) -> None:
    """A server that is away is named by `replictl status`; when it is back, all recovers without a person, in seconds."""
    product.stack.stop(name)
    done = product.replictl("status", "--output", "json")
    status = json.loads(done.stdout)
    product.stack.start(name)
    back = datetime.now(UTC).isoformat()
    until(lambda: orders(product)["observed_at"] > back, within_s=RECOVER_WITHIN_S, what="orders looked at again")
    until(lambda: product.replictl("status").returncode == 0, within_s=RECOVER_WITHIN_S, what="status all well")

    assert (1, False) == (done.returncode, status["components"][name]["ok"])
    assert mode in status["degraded"]


def test_planned_stop_hands_over(product: Product) -> None:
    """SIGTERM of the serving process: shifts end by themselves, and nothing stays held."""
    product.stack.stop("serve")
    locks = product.rows("locks")
    status = product.replictl("status", "--output", "json")
    product.stack.start("serve")
    until(lambda: product.replictl("status").returncode == 0, within_s=90, what="status all well")

    assert [] == locks
    assert '"workers": []' in status.stdout


def test_up_again_is_quick_and_harmless(product: Product) -> None:
    """`up` on a running product changes nothing and succeeds."""
    actions = len(product.rows("actions", "--all"))
    again = product.stack_command("up")

    assert 0 == again.returncode, again.stderr
    assert actions == len(product.rows("actions", "--all"))


def test_down_leaves_nothing(product: Product) -> None:
    """`down` stops everything that `up` started."""
    layout = product.stack.settings.layout
    done = product.stack_command("down")

    assert 0 == done.returncode, done.stderr
    assert not control.is_running(layout)
    assert isinstance(product.stack, TestStack)
