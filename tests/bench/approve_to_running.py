"""How soon an approved action runs: from the call of the flow `approve` to the events of its states; the whole product running.

    PYTHONPATH=tests .venv/bin/python tests/bench/approve_to_running.py --runs 50

brings the product up as `make up` does, on ports and in a folder of its own, and takes it down in the end. Each run orders an
action for a node of the demo's replica set, waits for a random moment of the cycle, and approves it by the flow, in this process,
as the Prefect UI, `replictl` and programs do. Prints one JSON object: seconds until its agent has it (`sent`), until it runs
(`running`), and how long the flow itself took (`flow`).
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import Any
from uuid import uuid4

import orjson
from pymongo import MongoClient
from time_to_event import INTERVAL_S, running

from doubles.product import Product
from infra.stack.fleet import ORDERS

WITHIN_S = 60.0
EVERY_S = 0.01
ACTION = """\
apiVersion: replicante.io/v0
kind: NodeAction
metadata: {namespace: demo, cluster: orders, node: %s, approval: required}
spec: {action: agent.replicante.io/test.loop, args: {target: 3}, action_id: %s}
"""


def one(product: Product, client: MongoClient[dict[str, Any]], dice: random.Random) -> dict[str, float]:
    """One run."""
    from flows.approve import approve  # noqa: PLC0415 - Prefect must know its server first

    action_id = uuid4()
    applied = product.replictl("apply", "-f", "-", stdin=ACTION % (dice.choice(ORDERS), action_id))
    assert applied.returncode == 0, applied.stdout + applied.stderr
    time.sleep(dice.uniform(0, INTERVAL_S))
    actions = client[product.environment.get("REPLICORE_MONGODB_DATABASE", "replicore")]["actions"]
    begun = time.monotonic()
    approve(action_id, comment="bench", by="bench")
    found = {"flow": time.monotonic() - begun}
    wanted = {"sent": {"NEW", "RUNNING", "DONE"}, "running": {"RUNNING", "DONE"}}
    while wanted and time.monotonic() - begun < WITHIN_S:
        document = actions.find_one({"_id": str(action_id)}, {"state": 1})
        for name in [name for name, states in wanted.items() if document and document["state"] in states]:
            found[name] = time.monotonic() - begun
            del wanted[name]
        time.sleep(EVERY_S)
    sys.stderr.write(f"{found}\n")
    return found | dict.fromkeys(wanted, WITHIN_S)


def summed(seconds: list[float]) -> dict[str, float]:
    """p50, p99 and the worst; a run without an end counts as `WITHIN_S`."""
    cuts = quantiles(seconds, n=100, method="inclusive")
    return {"p50_s": round(cuts[49], 2), "p99_s": round(cuts[98], 2), "max_s": round(max(seconds), 2)}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)  # noqa: S311 - moments, no secrets
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as product:
        os.environ.update(product.environment)
        with MongoClient[dict[str, Any]](product.stack.mongodb_uri) as client:
            runs = [one(product, client, dice) for _ in range(arguments.runs)]
        result = {name: summed([run[name] for run in runs]) for name in ("flow", "sent", "running")}
        told = {"runs": len(runs), "load": [round(load, 2) for load in os.getloadavg()], **result}
        sys.stdout.write(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode() + "\n")


if __name__ == "__main__":
    main()
