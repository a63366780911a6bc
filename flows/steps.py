"""How the verbs of a sentence are run: as Prefect task runs that a person can watch, or directly on the hot path."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

from prefect.tasks import Task

from blocks.agents.protocol import Agents
from blocks.coordinator.protocol import Coordinator
from blocks.store.protocol import Store
from tasks.cluster_actions.base import ClusterAction, Outside
from tasks.cluster_actions.table import BY_NAME, CATALOGUE
from tasks.decide.cluster_kinds import Catalogue, catalogue
from tasks.progress import STEP_S

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class Steps:
    """Runs verbs and remembers how long each phase took."""

    watched: bool = False
    """As Prefect task runs (a few milliseconds each), for runs that people start."""
    phases_ms: dict[str, float] = field(default_factory=dict)

    def fork(self) -> Steps:
        """Steps of one cluster of a batch: what was done for all counts for it too."""
        return Steps(watched=self.watched, phases_ms=dict(self.phases_ms))

    async def __call__(self, phase: str, verb: Task[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a verb as a part of a phase."""
        begun = time.monotonic()
        try:
            if self.watched:
                return await verb(*args, **kwargs)
            return await verb.fn(*args, **kwargs)
        finally:
            self.phases_ms[phase] = self.phases_ms.get(phase, 0.0) + (time.monotonic() - begun) * 1_000


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn of the cycle works with."""

    coordinator: Coordinator
    store: Store
    agents: Agents
    clock: Callable[[], datetime]
    steps: Steps
    outside: Outside
    handlers: Mapping[str, ClusterAction] = field(default_factory=lambda: BY_NAME)
    """By kind, those of actions on clusters."""
    step_s: float = STEP_S
    """The longest call of one, in seconds."""

    @property
    def kinds(self) -> Catalogue:
        """The kinds of actions on clusters."""
        return CATALOGUE if self.handlers is BY_NAME else catalogue(one.kind for one in self.handlers.values())
