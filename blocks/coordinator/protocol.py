"""What flows need of a coordinator: claims that vanish with the process that holds them.

Everything is one thing, a *claim*: locks of clusters and sources, seats of shifts, the standby place, duties, and the
presence of a worker. A claim is held by one process at a time and goes when it is given back or when its holder's
session ends. Its *token* grows with every taking of anything, and fences writes and effects (docs/safety.md).

A claim is an efficiency, the fence in the store is the safety: a paused process may believe for a moment that it holds
what it has lost. Hence `remaining_s`: how long a claim is *provably* still ours, by our own clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol

from blocks.models.base import Fact, Utc


class ClaimKind(StrEnum):
    """What is claimed; also the folder it lives in."""

    LOCK = "locks"
    SEAT = "seats"
    STANDBY = "standby"
    DUTY = "duties"
    WORKER = "workers"


class Claim(Fact):
    """Something we took."""

    kind: ClaimKind
    name: str
    generation: int
    token: int
    """Strictly greater than that of every claim taken before, of whatever kind, within one generation."""
    session: int
    """The session that holds it."""

    @property
    def fence(self) -> str:
        """The token as agents are told it, `GENERATION:TOKEN`."""
        return f"{self.generation}:{self.token}"


class Holder(Fact):
    """Who holds a claim, as everybody can see it."""

    kind: ClaimKind
    name: str
    owner: str
    """The worker's id."""
    purpose: str = ""
    flow_run: str | None = None
    host: str = ""
    pid: int = 0
    since: Utc
    token: int


class Coordinator(Protocol):
    """Claims across processes and machines. Every call has a deadline of its own (a setting)."""

    @property
    def worker(self) -> str:
        """Our own id: unique per process run."""

    @property
    def connected(self) -> bool:
        """Whether the session is up right now; False means: start no new effect."""

    async def ready(self) -> None:
        """Return when the server answers.

        Raises:
            DependencyUnavailableError: it does not, within the deadline.
        """

    async def take(self, kind: ClaimKind, name: str, purpose: str, *, wait_s: float = 0.0) -> Claim:
        """Take a claim, waiting at most `wait_s` seconds for it to become free.

        Raises:
            BusyError: somebody else holds it (also another part of this very process).
            DependencyUnavailableError: the server does not answer.
        """

    async def take_many(self, kind: ClaimKind, names: Iterable[str], purpose: str) -> dict[str, Claim]:
        """Take as many of `names` as are free, in few round trips; those that others hold are left out."""

    async def give_back(self, claims: Iterable[Claim]) -> None:
        """Give claims back, in few round trips. What is no longer ours is left alone. Never raises for a lost session."""

    def remaining_s(self, claim: Claim) -> float:
        """For how many seconds from now the claim is provably still ours; 0 when it is lost or in doubt."""

    async def confirm(self, claim: Claim) -> bool:
        """Ask the server whether the claim is still ours; False is final.

        Raises:
            DependencyUnavailableError: it does not answer, so nobody knows.
        """

    async def holders(self, kind: ClaimKind) -> list[Holder]:
        """Everything of a kind that is held now, sorted by name."""

    async def faults(self) -> list[str]:
        """What lies where claims lie and is none: claims that no session holds, and so never go; one sentence each.

        Raises:
            DependencyUnavailableError: the server does not answer.
        """

    async def wait_gone(self, kind: ClaimKind, name: str, deadline_s: float) -> bool:
        """Wait until nobody holds `name`; False when `deadline_s` seconds passed first, with or without a server. Woken at once, not by polling."""

    async def wait_change(self, kind: ClaimKind, deadline_s: float) -> bool:
        """Wait until some claim of the kind is taken or goes after our last `holders(kind)`, or from now on if that was never asked.

        So nothing is missed between looking and waiting. False when `deadline_s` seconds passed first, with or without a server.
        """

    async def newest(self) -> tuple[int, int]:
        """Generation and token that no claim taken from now on stays behind. A store that has seen a newer fence refuses
        holders: the coordinator has lost what it knew.

        Raises:
            DependencyUnavailableError: the server does not answer.
        """

    async def raise_generation(self, above: int = 0) -> int:
        """Count one more start of ZooKeeper from nothing, by order of a person; returns the new generation, which is also
        above `above`. Every claim taken from now on is newer than all before; claims that are held now stay with the old one.
        """

    async def force_release(self, kind: ClaimKind, name: str) -> bool:
        """Remove somebody else's claim, by order of a person; False when nobody held it. Its holder is fenced, not asked."""
