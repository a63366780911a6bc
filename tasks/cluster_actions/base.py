"""What a kind of action on a cluster is made of: what it is, and a handler that brings it a step further.

A handler is called once per cycle of its cluster while its action runs, under the cluster's lock, within a deadline. It
gives back what became of it; what it raises makes the action FAILED, but `DependencyUnavailableError`, which is a failed
try. One that has an effect outside (`effect`) is called only after the intent was saved, and again with the same `key`
where it is not known what came of the last call, or where it did not come back in time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from blocks.models.action import Action
from blocks.models.namespace import Namespace
from blocks.models.source import Source
from blocks.models.view import ClusterView
from blocks.sources.platforms_protocol import Platforms
from blocks.sources.webhooks_protocol import Webhooks
from tasks.decide.cluster_kinds import ClusterKind, Mode
from tasks.decide.progress import KEEP, Keep, Step

__all__ = ["KEEP", "ClusterAction", "Handler", "Keep", "Outside", "Scene", "Step"]


class Outside(Protocol):
    """What handlers may reach; each part is connected when it is first asked for."""

    async def platforms(self) -> Platforms:
        """Where nodes come from."""

    async def webhooks(self) -> Webhooks:
        """HTTP endpoints of others."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a handler is given."""

    action: Action
    args: Any
    """As the kind's model has them."""
    view: ClusterView
    now: datetime
    key: str
    """The same for all calls of one step, also by another worker after a crash; another for the next step."""
    fence: str
    """The fencing token of the lock that is held."""
    repeated: bool
    """Whether it is not known what came of the last call of this step."""
    within_s: float
    """How long the call may take."""
    source: Callable[[str], Awaitable[Source | None]]
    """Gives a source or platform as it is declared, by its key."""
    namespace: Callable[[str], Awaitable[Namespace | None]]
    """Gives a namespace as it is declared, by its name."""
    outside: Outside


Handler = Callable[[Scene], Awaitable[Step | None]]
"""None means that nothing changed."""


@dataclass(frozen=True, slots=True)
class ClusterAction:
    """A kind and its handler."""

    kind: ClusterKind
    handler: Handler
    effect: bool = False
    """Whether a call may have an effect outside."""

    def __post_init__(self) -> None:
        """Raises ValueError for one that takes a node away beside others, or without saying so before."""
        if self.kind.takes is not None and (self.kind.mode is not Mode.EXCLUSIVE or not self.effect):
            message = f"{self.kind.name} takes a node away: it must be exclusive, and have an effect"
            raise ValueError(message)
