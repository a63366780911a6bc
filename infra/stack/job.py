"""The main job of the demo, done through the product itself: `python -m infra.stack.job`, the last step of ``up``.

The fleet is declared, discovered and observed; where `orders` is seen as NOT_IN_CLUSTER, the three actions that make it a
replica set are applied and approved, and their effect is waited for. Done again, it finds everything done.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import Template
from typing import Any

from infra.stack.layout import PROJECT
from infra.stack.settings import StackSettings

_ORDERS = "demo/orders"
_CLUSTERS = (_ORDERS, "demo/coordination", "demo/queue")
_MANIFESTS = PROJECT / "infra" / "demo"
_DECLARED = ("fleet.yaml", "platform.yaml")
_COMMAND_WITHIN_S = 60.0
_SEEN_WITHIN_S = 120
_HEALTHY_WITHIN_S = 240
_KEPT_HEALTHY_WITHIN_S = 60


class JobError(Exception):
    """A command of the product failed; its words are the message."""


def replictl(*arguments: str, within_s: float = _COMMAND_WITHIN_S, stdin: str | None = None) -> str:
    """Run a command of the product and return what it printed.

    Raises:
        JobError: it failed or took too long.
    """
    command = [str(Path(sys.executable).parent / "replictl"), *arguments]
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=within_s, cwd=PROJECT, check=False
        )
    except subprocess.TimeoutExpired as error:
        message = f"`replictl {' '.join(arguments)}` was not done within {within_s:.0f} s"
        raise JobError(message) from error
    if done.returncode != 0:
        message = f"`replictl {' '.join(arguments)}` failed with status {done.returncode}: {done.stderr.strip()}"
        raise JobError(message)
    return done.stdout


def rows(*arguments: str) -> list[dict[str, Any]]:
    """Run a listing and return its rows."""
    listed: list[dict[str, Any]] = json.loads(replictl(*arguments, "--output", "json"))
    return listed


def manifests(name: str, settings: StackSettings) -> str:
    """Return a file of manifests with the addresses of this stack filled in."""
    addresses = {
        "PLATFORM": f"http://{settings.loopback}:{settings.platform_port}",
        "DISCOVERY": f"http://{settings.host}:{settings.discovery_port}/discover",
        "ORDERS_2": f"{settings.host}:{settings.orders_2_port}",
        "ORDERS_3": f"{settings.host}:{settings.orders_3_port}",
    }
    return Template((_MANIFESTS / name).read_text()).substitute(addresses)


def declared(settings: StackSettings) -> str:
    """Return all that the demo declares, applied as one: the fleet, and the platform."""
    return "---\n".join(manifests(name, settings) for name in _DECLARED)


def run(settings: StackSettings) -> None:
    """Do the job. A fleet of an earlier time need not be well: whoever left it so is told, and goes on with it.

    Raises:
        JobError: a command failed, or a new fleet did not become well in time.
    """
    kept = {"orders", "coordination", "queue"} <= {row["cluster"] for row in rows("clusters")}
    if not kept:
        _declare(settings)
    _make_replica_set(settings)
    _say("waiting until every cluster is HEALTHY")
    seen = ("wait", *_CLUSTERS, "--fresh", "--timeout", str(_HEALTHY_WITHIN_S))
    replictl(*seen, within_s=_HEALTHY_WITHIN_S + 15)
    within_s = _KEPT_HEALTHY_WITHIN_S if kept else _HEALTHY_WITHIN_S
    try:
        replictl("wait", *_CLUSTERS, "--health", "HEALTHY", "--timeout", str(within_s), within_s=within_s + 15)
    except JobError as error:
        if not kept:
            raise
        _say(f"the fleet is as it was left, not all of it HEALTHY: see `replictl problems` ({error})")


def _declare(settings: StackSettings) -> None:
    _say("declaring the fleet")
    replictl("apply", "-f", "-", stdin=declared(settings))
    _say("waiting until it is discovered and seen")
    replictl("wait", *_CLUSTERS, "--observed", "--timeout", str(_SEEN_WITHIN_S), within_s=_SEEN_WITHIN_S + 15)


def _make_replica_set(settings: StackSettings) -> None:
    """Initialise `orders` by approved actions, where that has not been done; an interrupted try goes on."""
    if not any(row["status"] == "NOT_IN_CLUSTER" for row in rows("nodes", _ORDERS)):
        return
    if not rows("actions", _ORDERS, "--all"):
        _say("orders is NOT_IN_CLUSTER: applying cluster.init and two cluster.add")
        replictl("apply", "-f", "-", stdin=manifests("orders.yaml", settings))
    pending = [row for row in rows("actions", _ORDERS) if row["state"] == "PENDING_APPROVE"]
    if pending:
        _say(f"approving {len(pending)} actions")
        ids = [row["action_id"] for row in sorted(pending, key=lambda row: row["created_at"])]
        replictl("approve", *ids, "--comment", "the demo's own replica set")


def _say(sentence: str) -> None:
    sys.stdout.write(f"  {sentence}\n")
    sys.stdout.flush()


def main() -> int:
    """Do the job and show its result."""
    try:
        run(StackSettings())
        with ThreadPoolExecutor() as pool:
            shown = pool.map(lambda command: replictl(*command), (("clusters",), ("events", "--limit", "12")))
            sys.stdout.write("\n" + "\n".join(shown))
    except JobError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
