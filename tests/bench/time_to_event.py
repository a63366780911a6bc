"""How soon a failure is an event: kill -9 of a real mongod, and a primary's step-down; the whole product running.

    PYTHONPATH=tests .venv/bin/python tests/bench/time_to_event.py --runs 20

brings the product up as `make up` does, on ports and in a folder of its own, and takes it down in the end. Prints one JSON
object: for `killed` the seconds from kill -9 to the event of the node's status in the store, for `stepped_down` from the
command to the event that the old primary is none (`old`) and that another one is (`new`, an election later). Each run begins
at a random moment of the probes' interval. A run takes 15 s or so.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import quantiles
from typing import Any, TypeVar

import orjson
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from doubles.product import Product
from infra.stack import control
from infra.stack.fleet import ORDERS
from infra.stack.processes import Process
from infra.stack.service import Plan
from infra.stack.settings import StackSettings
from infra.stack.testing import TestStack

STREAM = "demo/orders"
STATUS, ROLE = "io.replicante.node.status-changed.v1", "io.replicante.shard.changed.v1"
EVERY_S = 0.02
WITHIN_S = 90.0
INTERVAL_S = 5.0
AWAY_S = 8
"""For so many seconds a primary that stepped down cannot become one again."""
NOBODY_ELECTABLE = 262
CALM = """\
apiVersion: replicante.io/v0
kind: ClusterSpec
metadata: {namespace: demo, cluster: orders}
spec: {interval: 60, probe_interval: 5}
"""
"""The demo looks every five seconds anyway; without that it is the watch that notices."""

Document = dict[str, Any]
T = TypeVar("T")


@contextmanager
def running(folder: Path) -> Iterator[Product]:
    """The product with its demo fleet, gone with this process."""
    settings = StackSettings.free(folder)
    ports = {name: value for name, value in settings.model_dump().items() if name.endswith("_port")}
    environment = {f"REPLICORE_STACK_{name.upper()}": str(value) for name, value in ports.items()}
    made = Product(TestStack(settings), {**environment, "REPLICORE_STACK_FOLDER": str(folder)})
    try:
        done = made.stack_command("up")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        me = Process.of(os.getpid())
        plan = replace(
            Plan.read(settings.layout.plan), parent_pid=os.getpid(), parent_identity=me.identity if me else ""
        )
        control.supervise(plan, settings.layout)
        applied = made.replictl("apply", "-f", "-", stdin=CALM)
        assert applied.returncode == 0, applied.stdout + applied.stderr
        yield made
    finally:
        control.stop(settings.layout)


class Bench:
    """The set `orders`, and what the store's events tell of it."""

    def __init__(self, product: Product, client: MongoClient[Document]) -> None:
        """Read events of the store behind `client`."""
        self.product = product
        database = client[product.environment.get("REPLICORE_MONGODB_DATABASE", "replicore")]
        self._events = database["events"]
        self._known = self._last()

    def _last(self) -> int:
        found = self._events.find_one({"stream": STREAM}, sort=[("sequence", -1)])
        return int(found["sequence"]) if found is not None else 0

    def forget(self) -> None:
        """From now on only newer events count."""
        self._known = self._last()

    def seconds_until(self, begun: float, type_: str, is_it: Callable[[Document], bool]) -> float | None:
        """From `begun` until there is such an event; None when there was none within `WITHIN_S`."""
        while time.monotonic() - begun < WITHIN_S:
            for event in self._events.find({"stream": STREAM, "sequence": {"$gt": self._known}, "type": type_}):
                if is_it(orjson.loads(event["data"])):
                    return time.monotonic() - begun
            time.sleep(EVERY_S)
        told = [
            (event["time"], event["type"], event["data"])
            for event in self._events.find({"stream": STREAM, "sequence": {"$gt": self._known}})
        ]
        sys.stderr.write(f"no {type_} within {WITHIN_S:g} s of {STREAM}; there was {told}\n")
        return None

    def member(self, name: str, command: str, value: Any = 1, **fields: Any) -> Document:
        """Run a command on one mongod."""
        port = getattr(self.product.stack.settings, name.replace("-", "_") + "_port")
        with MongoClient[Document]("127.0.0.1", port, directConnection=True, timeoutMS=8_000) as client:
            answer: Document = client.admin.command(command, value, **fields)
        return answer

    def states(self) -> dict[str, int]:
        """Each member's state as the first that answers knows it: 1 primary, 2 secondary."""
        for name in ORDERS:
            try:
                members = self.member(name, "replSetGetStatus")["members"]
            except PyMongoError:
                continue
            by_port = {int(member["name"].rpartition(":")[2]): int(member["state"]) for member in members}
            settings = self.product.stack.settings
            return {other: by_port[getattr(settings, other.replace("-", "_") + "_port")] for other in ORDERS}
        return {}

    def until_whole(self) -> str:
        """Wait until set and store agree that all are well; returns the primary."""
        deadline, states, seen = time.monotonic() + WITHIN_S, dict[str, int](), dict[str, object]()
        while time.monotonic() < deadline:
            states = self.states()
            rows = self.product.rows("nodes", STREAM)
            seen = {row["node"]: (row["status"], sorted(row["roles"])) for row in rows}
            wanted = {name: ("HEALTHY", ["primary" if state == 1 else "secondary"]) for name, state in states.items()}
            if sorted(states.values()) == [1, 2, 2] and seen == wanted:
                return next(name for name, state in states.items() if state == 1)
            time.sleep(0.5)
        message = f"the set did not become whole: its states are {states}, and known is {seen}"
        raise AssertionError(message)

    def killed(self, dice: random.Random) -> float | None:
        """One run of kill -9, of any member."""
        self.until_whole()
        time.sleep(dice.uniform(0, INTERVAL_S))
        name = dice.choice(ORDERS)
        self.forget()
        begun = time.monotonic()
        self.product.stack.kill(name)
        return self.seconds_until(
            begun, STATUS, lambda data: bool(data["node_id"] == name and data["after"] != "HEALTHY")
        )

    def stepped_down(self, dice: random.Random) -> tuple[float | None, float | None]:
        """One run of a step-down: when the old primary was none, and when there was another."""
        while True:
            name = self.until_whole()
            time.sleep(dice.uniform(0, INTERVAL_S))
            self.forget()
            begun = time.monotonic()
            try:
                self.member(name, "replSetStepDown", AWAY_S, secondaryCatchUpPeriodSecs=2)
            except OperationFailure as error:
                if error.code != NOBODY_ELECTABLE:
                    raise
            else:
                break
        old = self.seconds_until(begun, ROLE, lambda data: bool(data["node_id"] == name and data["role"] != "primary"))
        new = self.seconds_until(begun, ROLE, lambda data: bool(data["node_id"] != name and data["role"] == "primary"))
        return old, new


def told(run: T) -> T:
    """Show a run as soon as it is over."""
    sys.stderr.write(f"{run}\n")
    sys.stderr.flush()
    return run


def summed(found: list[float | None]) -> dict[str, float]:
    """p50, p99 and the worst, in seconds; and in how many runs there was no event at all, which count as long as was waited."""
    seconds = [WITHIN_S if one is None else one for one in found]
    cuts = quantiles(seconds, n=100, method="inclusive")
    return {
        "runs": len(found),
        "without": found.count(None),
        "p50_s": round(cuts[49], 2),
        "p99_s": round(cuts[98], 2),
        "max_s": round(max(seconds), 2),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)  # noqa: S311 - moments, no secrets
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as product:
        with MongoClient[Document](product.stack.mongodb_uri) as client:
            bench = Bench(product, client)
            steps = [told(bench.stepped_down(dice)) for _ in range(arguments.runs)]
            kills = [told(bench.killed(dice)) for _ in range(arguments.runs)]
        result = {
            "probe_interval_s": INTERVAL_S,
            "load": [round(one, 2) for one in os.getloadavg()],
            "killed": summed(kills),
            "stepped_down": {"old": summed([old for old, _ in steps]), "new": summed([new for _, new in steps])},
        }
        sys.stdout.write(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")


if __name__ == "__main__":
    main()
