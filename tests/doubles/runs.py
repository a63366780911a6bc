"""Flow runs in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from blocks.runs.protocol import Run


@dataclass(slots=True)
class MemoryRuns:
    """The in-memory `Runs`: what a test puts in, and what was marked Crashed."""

    by_flow: dict[str, list[Run]] = field(default_factory=dict)
    crashed: dict[str, str] = field(default_factory=dict)

    async def running(self, flow_name: str) -> list[Run]:
        """Runs of the flow that were not marked Crashed."""
        return [run for run in self.by_flow.get(flow_name, []) if run.run_id not in self.crashed]

    async def cancel_late(self, flow_name: str, before: datetime, message: str) -> int:
        """Nothing is scheduled here."""
        return 0

    async def crash(self, run_id: str, message: str) -> bool:
        """Remember the mark."""
        self.crashed[run_id] = message
        return True
