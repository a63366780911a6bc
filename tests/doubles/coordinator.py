"""A coordinator in memory: one `MemoryZooKeeper` is the server, each `MemoryCoordinator` on it is a process.

What a test can do to it: `expire` a session, `suspend` and `resume` a connection, `pause` and `wake` a process, take the whole
server `down`, move the clock with `advance`, raise the `generation`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from blocks.coordinator.protocol import Claim, ClaimKind, Holder
from blocks.errors import BusyError, DependencyUnavailableError

_WORDS = {
    ClaimKind.LOCK: "lock",
    ClaimKind.SEAT: "seat",
    ClaimKind.STANDBY: "standby place",
    ClaimKind.DUTY: "duty",
    ClaimKind.WORKER: "presence",
}
_PROOF = 2 / 3


@dataclass
class _Node:
    holder: Holder
    session: int


@dataclass
class MemoryZooKeeper:
    """The server that several coordinators share."""

    session_timeout_s: float = 10.0
    generation: int = 1
    started: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    now_s: float = 0.0
    down: bool = False
    _nodes: dict[tuple[ClaimKind, str], _Node] = field(default_factory=dict)
    _changes: dict[ClaimKind, int] = field(default_factory=dict)
    _zxid: int = 0
    _sessions: int = 0
    _coordinators: list[MemoryCoordinator] = field(default_factory=list)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def now(self) -> datetime:
        """The server's time."""
        return self.started + timedelta(seconds=self.now_s)

    def advance(self, seconds: float) -> None:
        """Let time pass: living processes prove their sessions, silent ones lose them after a session timeout."""
        self.now_s += seconds
        for coordinator in list(self._coordinators):
            if coordinator.is_heard:
                coordinator._heard()
            elif not self.down and self.now_s - coordinator._last_ok >= self.session_timeout_s:
                self._end(coordinator._session)
        self._wake()

    def expire(self, coordinator: MemoryCoordinator) -> None:
        """End a session: what it held is free. Its process gets a new one, as soon as it is heard again."""
        self._end(coordinator._session)
        if coordinator.is_heard:
            coordinator._heard()

    def next_zxid(self, kind: ClaimKind) -> int:
        """The number of the next change."""
        self._zxid += 1
        self._changes[kind] = self._zxid
        self._wake()
        return self._zxid

    def remove(self, kind: ClaimKind, name: str) -> None:
        """Delete a claim."""
        del self._nodes[kind, name]
        self.next_zxid(kind)

    def _end(self, session: int) -> None:
        for (kind, name), node in list(self._nodes.items()):
            if node.session == session:
                self.remove(kind, name)
        for coordinator in self._coordinators:
            if coordinator._session == session:
                coordinator._is_expired = True
        self._wake()

    def _new_session(self) -> int:
        self._sessions += 1
        return self._sessions

    def _wake(self) -> None:
        self._woken.set()
        self._woken = asyncio.Event()


class MemoryCoordinator:
    """One process's coordinator. It behaves as the live one does, and never waits for anything but other holders."""

    def __init__(
        self, zookeeper: MemoryZooKeeper | None = None, *, worker: str = "worker-1", flow_run: str | None = None
    ) -> None:
        self.zookeeper = zookeeper or MemoryZooKeeper()
        self._worker = worker
        self._flow_run = flow_run
        self._held: dict[tuple[ClaimKind, str], Claim] = {}
        self._seen: dict[ClaimKind, int] = {}
        self._session = 0
        self._is_expired = True
        self._is_suspended = False
        self._is_paused = False
        self._is_closed = False
        self._last_ok = 0.0

    # --- life, and what a test does to it -------------------------------------------------------------

    async def connect(self) -> None:
        """Get a session.

        Raises:
            DependencyUnavailableError: the server is down.
        """
        if self not in self.zookeeper._coordinators:
            self.zookeeper._coordinators.append(self)
        await self.ready()

    async def close(self) -> None:
        """End the session."""
        self._is_closed = True
        with contextlib.suppress(ValueError):
            self.zookeeper._coordinators.remove(self)
        self.zookeeper._end(self._session)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def suspend(self) -> None:
        """Cut the connection; after a session timeout (`advance`) the claims go to others."""
        self._is_suspended = True
        self.zookeeper._wake()

    def resume(self) -> None:
        """Mend the connection."""
        self._is_suspended = False
        if self.is_heard:
            self._heard()
        self.zookeeper._wake()

    def pause(self) -> None:
        """Stop the process (as SIGSTOP does): it looks connected and is not heard."""
        self._is_paused = True

    def wake(self, *, is_heard: bool = True) -> None:
        """Let the process go on; without `is_heard` this is the moment before its first heartbeat."""
        if is_heard:
            self._is_paused = False
            self._heard()

    @property
    def is_heard(self) -> bool:
        """Whether the server hears the heartbeats."""
        return not (self._is_suspended or self._is_paused or self._is_closed or self.zookeeper.down)

    def _heard(self) -> None:
        if self._is_expired:
            self._session = self.zookeeper._new_session()
            self._is_expired = False
            self._held.clear()
        self._last_ok = self.zookeeper.now_s
        for key, node in list(self.zookeeper._nodes.items()):
            if node.session == self._session and key not in self._held:
                self.zookeeper.remove(*key)

    def _reach(self) -> MemoryZooKeeper:
        if self._is_closed or self._is_suspended or self.zookeeper.down:
            reason = "the connection was closed" if self._is_closed else "Connection refused"
            raise DependencyUnavailableError(
                component="ZooKeeper", endpoint="memory", reason=reason, hint="Check the test."
            )
        self._heard()
        return self.zookeeper

    # --- the protocol ---------------------------------------------------------------------------------

    @property
    def worker(self) -> str:
        """Our own id."""
        return self._worker

    @property
    def connected(self) -> bool:
        """Whether the session is up right now."""
        return not (self._is_suspended or self._is_closed or self.zookeeper.down)

    async def ready(self) -> None:
        """Return when the server answers."""
        await asyncio.sleep(0)
        self._reach()

    async def take(self, kind: ClaimKind, name: str, purpose: str, *, wait_s: float = 0.0) -> Claim:
        """Take a claim, waiting at most `wait_s` seconds for it to become free."""
        await self.ready()
        got = self._take(kind, name, purpose)
        end = self.zookeeper.now_s + wait_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while isinstance(got, Holder) and self.zookeeper.now_s < end:
                    await self.wait_gone(kind, name, end - self.zookeeper.now_s)
                    got = self._take(kind, name, purpose)
        if isinstance(got, Holder):
            purpose = f" for {got.purpose}" if got.purpose else ""
            raise BusyError(_WORDS[kind], name, f"{got.owner}{purpose} since {got.since:%Y-%m-%d %H:%M:%S} UTC")
        return got

    async def take_many(self, kind: ClaimKind, names: Iterable[str], purpose: str) -> dict[str, Claim]:
        """Take as many of `names` as are free."""
        await self.ready()
        got = {name: self._take(kind, name, purpose) for name in dict.fromkeys(names)}
        return {name: claim for name, claim in got.items() if isinstance(claim, Claim)}

    def _take(self, kind: ClaimKind, name: str, purpose: str) -> Claim | Holder:
        if not name:
            msg = "a claim needs a name"
            raise ValueError(msg)
        server = self._reach()
        if (kind, name) in server._nodes:
            return server._nodes[kind, name].holder
        token = server.next_zxid(kind)
        holder = Holder(
            kind=kind,
            name=name,
            owner=self._worker,
            purpose=purpose,
            flow_run=self._flow_run,
            host="memory",
            since=server.now,
            token=token,
        )
        server._nodes[kind, name] = _Node(holder, self._session)
        claim = Claim(kind=kind, name=name, generation=server.generation, token=token, session=self._session)
        self._held[kind, name] = claim
        return claim

    async def give_back(self, claims: Iterable[Claim]) -> None:
        """Give claims back. Out of reach of the server they stay until it is reached again, or the session ends."""
        await asyncio.sleep(0)
        for claim in claims:
            if self._held.get((claim.kind, claim.name)) != claim:
                continue
            del self._held[claim.kind, claim.name]
            node = self.zookeeper._nodes.get((claim.kind, claim.name))
            if node is not None and node.holder.token == claim.token and self.connected:
                self.zookeeper.remove(claim.kind, claim.name)

    def remaining_s(self, claim: Claim) -> float:
        """For how many seconds from now the claim is provably still ours."""
        is_held = self._held.get((claim.kind, claim.name)) == claim
        if not (
            self.connected and is_held and claim.session == self._session and (self._is_paused or not self._is_expired)
        ):
            return 0.0
        return max(0.0, self._last_ok + self.zookeeper.session_timeout_s * _PROOF - self.zookeeper.now_s)

    async def confirm(self, claim: Claim) -> bool:
        """Ask the server whether the claim is still ours."""
        await asyncio.sleep(0)
        server = self._reach()
        node = server._nodes.get((claim.kind, claim.name))
        is_held = self._held.get((claim.kind, claim.name)) == claim
        if is_held and (node is None or node.holder.token != claim.token):
            del self._held[claim.kind, claim.name]
            return False
        return is_held

    async def holders(self, kind: ClaimKind) -> list[Holder]:
        """Everything of a kind that is held now, sorted by name."""
        await self.ready()
        self._seen[kind] = self.zookeeper._changes.get(kind, 0)
        return sorted(
            (node.holder for (of, _), node in self.zookeeper._nodes.items() if of == kind), key=lambda one: one.name
        )

    async def wait_gone(self, kind: ClaimKind, name: str, deadline_s: float) -> bool:
        """Wait until nobody holds `name`."""
        return await self._wait(lambda: (kind, name) not in self.zookeeper._nodes, deadline_s)

    async def wait_change(self, kind: ClaimKind, deadline_s: float) -> bool:
        """Wait until some claim of the kind is taken or goes after our last `holders`, or from now on."""

        def is_changed() -> bool:
            now = self.zookeeper._changes.get(kind, 0)
            before = self._seen.setdefault(kind, now)
            self._seen[kind] = now
            return before != now

        return await self._wait(is_changed, deadline_s)

    async def _wait(self, is_true: Callable[[], bool], deadline_s: float) -> bool:
        """Wait by the real clock or by the moved one, whichever is over first."""
        end = self.zookeeper.now_s + deadline_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while self.zookeeper.now_s < end:
                    if self.connected and is_true():
                        return True
                    await self.zookeeper._woken.wait()
        return False

    async def newest(self) -> tuple[int, int]:
        """What no claim taken from now on stays behind."""
        await self.ready()
        return self.zookeeper.generation, self.zookeeper._zxid

    async def raise_generation(self, above: int = 0) -> int:
        """Count one more start from nothing."""
        await self.ready()
        self.zookeeper.generation = max(self.zookeeper.generation, above) + 1
        return self.zookeeper.generation

    async def faults(self) -> list[str]:
        """What is no claim."""
        await self.ready()
        return []

    async def force_release(self, kind: ClaimKind, name: str) -> bool:
        """Remove somebody else's claim."""
        await self.ready()
        if (kind, name) not in self.zookeeper._nodes:
            return False
        self.zookeeper.remove(kind, name)
        return True
