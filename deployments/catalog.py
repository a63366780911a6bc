"""The timetable: every deployment as data. Both ways of serving (one process, or a work pool) are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

SHIFT_EVERY = timedelta(seconds=60)
"""A new shift is started so often. One that finds no free seat and the standby place taken ends at once."""
FLOOD_MAX = 10
"""Most runs of `operate` at once: a brake after a long stop, when every late run starts. Seats are the real bound."""


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
    concurrency_limit: int | None = None

    @property
    def entrypoint(self) -> str:
        """Where the flow is, as a module path: one copy of the module, from whatever directory."""
        return f"flows.{self.flow}.{self.flow}"


CATALOG: tuple[Entry, ...] = (
    Entry("operate", "A worker's shift.", every=SHIFT_EVERY, tags=("worker",), concurrency_limit=FLOOD_MAX),
    Entry("discover", "Ask a discovery source what exists.", tags=("fleet",)),
    Entry("observe", "Look at a cluster and say how it is.", tags=("fleet",)),
    Entry("act", "Send what is approved and due on a cluster.", tags=("fleet",)),
    Entry("orchestrate", "Look at a cluster and do what is approved and due.", tags=("fleet",)),
    Entry("apply", "Apply manifests, all or nothing.", tags=("people",)),
    Entry("approve", "Approve an action.", tags=("people",)),
    Entry("reject", "Reject an action that waits for approval.", tags=("people",)),
    Entry("cancel", "Cancel an unfinished action.", tags=("people",)),
    Entry("enqueue", "Duty by hand: put due work on the queue.", tags=("duty",)),
    Entry("relay", "Duty by hand: carry events to the bus.", tags=("duty",)),
    Entry("sweep", "Duty by hand: repair what dead processes left.", tags=("duty",)),
)

NAME = "replicore"
"""Every deployment is `FLOW/replicore`."""
