"""What `sweep` needs of Prefect: which runs of a flow it takes for running, and to mark those that are not."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from blocks.models.base import Fact, Utc


class Run(Fact):
    """A flow run as Prefect knows it."""

    run_id: str
    name: str
    started_at: Utc | None = None


class Runs(Protocol):
    """Flow runs."""

    async def running(self, flow_name: str) -> list[Run]:
        """Runs of a flow that Prefect takes for running or being cancelled, at most a hundred.

        Raises:
            DependencyUnavailableError: the API does not answer.
        """

    async def cancel_late(self, flow_name: str, before: datetime, message: str) -> int:
        """Cancel scheduled runs of a flow that should have started before a moment and have not, at most two hundred.
        Returns how many.

        Raises:
            DependencyUnavailableError: the API does not answer.
        """

    async def crash(self, run_id: str, message: str) -> bool:
        """Mark a run Crashed; False when the API refused that (it is logged, and tried again next time).

        Raises:
            DependencyUnavailableError: the API does not answer.
        """
