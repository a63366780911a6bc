"""The timetable: every deployment as data. Both ways of serving (one process, or a work pool) are made from it.

`python -m deployments.catalog` prints it as `deployments/prefect.yaml` must be; a test holds the two together.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import yaml

SHIFT_EVERY = timedelta(seconds=60)
"""A new shift is started so often. One that finds no free seat and the standby place taken ends at once."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One deployment."""

    flow: str
    """Name of the flow, of its module in `flows` and of its function there."""
    description: str
    every: timedelta | None = None
    """How often it is started by itself; None means only by people and programs."""
    tags: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def entrypoint(self) -> str:
        """Where the flow is, as a module path: one copy of the module, from whatever directory."""
        return f"flows.{self.flow}.{self.flow}"


CATALOG: tuple[Entry, ...] = (
    Entry("operate", "A worker's shift.", every=SHIFT_EVERY, tags=("worker",)),
    Entry("discover", "Ask a discovery source what exists.", tags=("fleet",)),
    Entry("observe", "Look at a cluster and say how it is.", tags=("fleet",)),
    Entry("act", "Send what is approved and due on a cluster.", tags=("fleet",)),
    Entry("orchestrate", "Look at a cluster and do what is approved and due.", tags=("fleet",)),
    Entry("apply", "Apply manifests, all or nothing.", tags=("people",)),
    Entry("approve", "Approve an action or a rolling action.", tags=("people",)),
    Entry("reject", "Reject an action or a rolling action that waits for approval.", tags=("people",)),
    Entry("cancel", "Cancel an unfinished action or rolling action.", tags=("people",)),
    Entry("retry", "Order once more what failed.", tags=("people",)),
    Entry("choose", "A form with choices: which actions to approve, reject, cancel or retry.", tags=("people",)),
    Entry("acknowledge", "Say that a problem of a cluster has been seen.", tags=("people",)),
    Entry("roll", "Plan and order one kind of action on many nodes of a cluster, batch by batch.", tags=("people",)),
    Entry("choose_roll", "A form with choices: a rolling action, its cluster, kind and nodes.", tags=("people",)),
    Entry("delete", "Delete a cluster, a source, a platform or a namespace.", tags=("people",)),
    Entry(
        "pause",
        "Have the timetable leave a cluster or source alone for a while; or halt a rolling action.",
        tags=("people",),
    ),
    Entry("resume", "Go on with a paused cluster, source or rolling action.", tags=("people",)),
    Entry("freeze", "Let no action begin any more, on a cluster, in a namespace or anywhere.", tags=("people",)),
    Entry("window", "Declare a maintenance window or a blackout.", tags=("people",)),
    Entry("lift", "Lift a freeze, or remove a window.", tags=("people",)),
    Entry("enqueue", "Duty by hand: put due work on the queue.", tags=("duty",)),
    Entry("relay", "Duty by hand: carry events to the bus.", tags=("duty",)),
    Entry("sweep", "Duty by hand: repair what dead processes left.", tags=("duty",)),
)

NAME = "replicore"
"""A deployment that the serving process serves is `FLOW/replicore`."""
POOL_NAME = "pool"
"""A deployment for the work pool is `FLOW/pool`, so that both ways may be used side by side."""

WORK_POOL = "replicore"
"""The process work pool that `prefect.yaml` deploys to."""

HEADER = """\
# Made by `python -m deployments.catalog`; change deployments/catalog.py instead.
# prefect work-pool create --type process replicore
# prefect deploy --prefect-file deployments/prefect.yaml --all
# prefect worker start --pool replicore
"""


def as_prefect_yaml() -> str:
    """The catalog as a `prefect.yaml` for a process work pool, on machines where the project is installed."""
    document = {
        "name": "replicore",
        "prefect-version": "3.9.1",
        "deployments": [_described(entry) for entry in CATALOG],
    }
    return HEADER + yaml.safe_dump(document, sort_keys=False, width=120)


def _described(entry: Entry) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": POOL_NAME,
        "description": entry.description,
        "entrypoint": entry.entrypoint,
        "tags": list(entry.tags),
        "parameters": entry.parameters,
        "work_pool": {"name": WORK_POOL},
        # Nothing is pulled: the project is installed where the worker runs.
        "pull": [],
    }
    if entry.every is not None:
        described["schedules"] = [{"interval": entry.every.total_seconds()}]
    return described


if __name__ == "__main__":
    sys.stdout.write(as_prefect_yaml())
