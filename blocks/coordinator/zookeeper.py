"""The coordinator on ZooKeeper. Claims are ephemeral znodes, created directly; a claim's token is its czxid.

Guarantees:
- A claim is held by one taker at a time; tokens grow with every taking, over restarts and elections of the ensemble.
- A claim goes when it is given back, at once when its holder closes, and within a session timeout when its holder dies.
- `remaining_s` is never longer than the server keeps the session: it counts from the *start* of the last answered request
  that went through the leader, by a clock that runs while the machine sleeps, and covers two thirds of the session timeout.
- A taking or giving back whose answer was lost is found out and finished or undone as soon as there is a connection again:
  nothing stays held by a process that does not know of it.
- `give_back` never removes a claim that somebody else took meanwhile (it is conditional on nobody having been forced out).

Failure modes:
- Server out of reach: `connected` is False and `remaining_s` 0 at once; calls wait for it up to the request timeout and then
  raise DependencyUnavailableError; the waits go on until their deadline. Connecting is tried for ever, every second at most.
- Session expired: a new one is made by itself; everything that was held is lost (`remaining_s` 0, `confirm` False).
- A claim taken away by `force_release` looks held until `confirm` is asked: the fence in the store is what stops its holder.
- ZooKeeper was wiped: it lets us in after a session timeout, as new. Tokens start again: a person must raise
  `ROOT/generation` (`raise_generation`), or the store refuses every holder.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from kazoo.exceptions import NoNodeError
from kazoo.handlers.threading import AsyncResult
from kazoo.protocol.states import ZnodeStat

from blocks.connected import Connected
from blocks.coordinator.bridge import LostAnswerError
from blocks.coordinator.claims import Claims, all_of, chunks
from blocks.coordinator.connection import Client
from blocks.coordinator.protocol import Claim, ClaimKind, Holder
from blocks.coordinator.session import Session, boot_s
from blocks.coordinator.settings import ZooKeeper
from blocks.coordinator.znodes import WORDS, Znodes, decoded, described, holder
from blocks.errors import BusyError, DependencyUnavailableError

_PAUSE_S = 0.2
"""Between two looks while the server is out of reach; its return wakes at once."""
_TRIES_MAX = 5


class ZooKeeperCoordinator(Connected):
    """The live coordinator: `async with ZooKeeperCoordinator(settings) as coordinator`. One per process."""

    def __init__(
        self,
        settings: ZooKeeper,
        *,
        worker: str | None = None,
        flow_run: str | None = None,
        clock: Callable[[], float] = boot_s,
    ) -> None:
        """Connect nothing yet.

        Args:
            settings: where the server is.
            worker: our id, unique per process run; made up when not given.
            flow_run: the id of the flow run that everybody shall see as the holder of our claims.
            clock: seconds that go on while the machine sleeps.
        """
        host, pid = socket.gethostname(), os.getpid()
        self._worker = worker or f"{host}-{pid}-{secrets.token_hex(3)}"
        self._session = Session(settings, clock)
        self._znodes = Znodes(settings.base)
        identity = {"owner": self._worker, "flow_run": flow_run, "host": host, "pid": pid}
        self._claims = Claims(self._session, self._znodes, identity)
        self._seen: dict[ClaimKind, int] = {}

    async def connect(self) -> None:
        """Connect, once, and make the folders.

        Raises:
            DependencyUnavailableError: no server let us in within the connect timeout.
            InvalidInputError: the settings cannot work.
        """
        await self._session.open(self._claims.tidy)
        try:
            await self._claims.prepare()
        except BaseException:
            await self._session.close()
            raise

    async def close(self) -> None:
        """End the session: all our claims go at once. Never raises, and takes two seconds at most."""
        await self._session.close()

    @property
    def worker(self) -> str:
        """Our own id."""
        return self._worker

    @property
    def connected(self) -> bool:
        """Whether the session is up right now."""
        return self._session.id is not None

    async def ready(self) -> None:
        """Return when the server answers.

        Raises:
            DependencyUnavailableError: it does not, within the request timeout.
        """
        await self._session.ask(lambda client: client.sync_async("/"), proves=True)

    # --- claims -----------------------------------------------------------------------------------

    async def take(self, kind: ClaimKind, name: str, purpose: str, *, wait_s: float = 0.0) -> Claim:
        """Take a claim, waiting at most `wait_s` seconds for it to become free. No order among those who wait.

        Raises:
            BusyError: somebody else holds it (also another part of this very process).
            DependencyUnavailableError: the server does not answer; the claim is not taken.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + wait_s
        while True:
            got = await self._claims.take(kind, name, purpose)
            if isinstance(got, Claim):
                return got
            left = give_up - loop.time()
            if left <= 0 or not await self.wait_gone(kind, name, left):
                if not self.connected:
                    raise self._session.unavailable()
                raise BusyError(WORDS[kind], name, described(got))

    async def take_many(self, kind: ClaimKind, names: Iterable[str], purpose: str) -> dict[str, Claim]:
        """Take as many of `names` as are free, 100 per round trip; those that others hold are left out.

        Raises:
            DependencyUnavailableError: the server does not answer; none is taken.
        """
        return await self._claims.take_many(kind, names, purpose)

    async def give_back(self, claims: Iterable[Claim]) -> None:
        """Give claims back, 100 per round trip; what could not be given back within 2 s is when the server returns."""
        await self._claims.give_back(claims)

    def remaining_s(self, claim: Claim) -> float:
        """For how many seconds from now the claim is provably still ours; 0 when it is lost or in doubt."""
        return self._session.proven_s(claim.session) if self._claims.holds(claim) else 0.0

    async def confirm(self, claim: Claim) -> bool:
        """Ask the server, through its leader, whether the claim is still ours. False is final.

        Raises:
            DependencyUnavailableError: it does not answer, so nobody knows.
        """
        if not self._claims.holds(claim):
            return False
        await self.ready()
        path = self._znodes.path(claim.kind, claim.name)
        stat = await self._session.ask(lambda client: client.exists_async(path))
        if stat is None or stat.czxid != claim.token:
            self._claims.forget(claim)
            return False
        return True

    async def newest(self) -> tuple[int, int]:
        """See `Coordinator.newest`."""
        generation = await self._claims.generation()
        await self.ready()
        return generation, self._session.newest_zxid

    async def raise_generation(self, above: int = 0) -> int:
        """See `Coordinator.raise_generation`."""
        await self.ready()
        return await self._claims.raise_generation(above)

    async def force_release(self, kind: ClaimKind, name: str) -> bool:
        """Remove somebody's claim, by order of a person; False when nobody held it. Its holder is fenced, not asked.

        Raises:
            DependencyUnavailableError: the server does not answer; it may have been removed.
        """
        path, token = self._znodes.path(kind, name), None
        for _ in range(_TRIES_MAX):
            stat = await self._session.ask(lambda client: client.exists_async(path))
            if stat is None or token not in {None, stat.czxid}:
                return token is not None
            token = stat.czxid
            with contextlib.suppress(LostAnswerError):
                outcomes = await self._session.ask_once(lambda client: self._force(client, path), proves=True)
                if not any(isinstance(outcome, Exception) for outcome in outcomes):
                    return True
        reason = f"{path} changed under {_TRIES_MAX} attempts"
        raise self._session.unavailable(reason)

    def _force(self, client: Client, path: str) -> AsyncResult[list[Any]]:
        transaction = client.transaction()
        transaction.set_data(self._znodes.forced, b"")  # raises its version, which `give_back` depends on
        transaction.delete(path)
        return transaction.commit_async()

    # --- who holds what ---------------------------------------------------------------------------

    async def holders(self, kind: ClaimKind) -> list[Holder]:
        """Everything of a kind that is held now, sorted by name.

        Raises:
            DependencyUnavailableError: the server does not answer.
        """
        steps, seen = await self._children(kind)
        found: list[Holder] = []
        for chunk in chunks(sorted(steps)):
            nodes = await all_of(self._holder(kind, step) for step in chunk)
            found.extend(node for node in nodes if node is not None)
        self._seen[kind] = seen
        return sorted(found, key=lambda one: one.name)

    async def faults(self) -> list[str]:
        """See `Coordinator.faults`."""
        found: list[str] = []
        for kind in ClaimKind:
            steps, _ = await self._children(kind)
            for chunk in chunks(sorted(steps)):
                stats = await all_of(self._stat(f"{self._znodes.folder(kind)}/{step}") for step in chunk)
                found += [
                    f"{WORDS[kind]} {decoded(step)!r} has no session and never goes by itself: "
                    f"`replictl locks release {decoded(step)} --kind {kind.value} --reason ...`"
                    for step, stat in zip(chunk, stats, strict=True)
                    if stat is not None and not stat.ephemeralOwner
                ]
        return found

    async def _stat(self, path: str) -> ZnodeStat | None:
        stat: ZnodeStat | None = await self._session.ask(lambda client: client.exists_async(path))
        return stat

    async def _children(self, kind: ClaimKind) -> tuple[list[str], int]:
        folder = self._znodes.folder(kind)
        try:
            await self._claims.prepare()
            steps, stat = await self._session.ask(
                lambda client: client.get_children_async(folder, watch=self._session.watch, include_data=True)
            )
        except NoNodeError:
            return [], 0
        return steps, stat.pzxid

    async def _holder(self, kind: ClaimKind, step: str) -> Holder | None:
        path = f"{self._znodes.folder(kind)}/{step}"
        try:
            data, stat = await self._session.ask(lambda client: client.get_async(path))
        except NoNodeError:
            return None
        return holder(kind, decoded(step), data, stat)

    # --- waiting ----------------------------------------------------------------------------------

    async def wait_gone(self, kind: ClaimKind, name: str, deadline_s: float) -> bool:
        """Wait until nobody holds `name`; False when `deadline_s` seconds passed first, with or without a server."""
        path = self._znodes.path(kind, name)

        async def is_gone() -> bool:
            try:
                await self._session.ask(lambda client: client.get_async(path, watch=self._session.watch))
            except NoNodeError:
                return True
            return False

        return await self._wait(path, is_gone, deadline_s)

    async def wait_change(self, kind: ClaimKind, deadline_s: float) -> bool:
        """Wait until some claim of the kind is taken or goes after our last `holders` of the kind, or from now on.

        False when `deadline_s` seconds passed first, with or without a server.
        """

        async def is_changed() -> bool:
            _, now = await self._children(kind)
            before = self._seen.setdefault(kind, now)
            self._seen[kind] = now
            return before != now

        return await self._wait(self._znodes.folder(kind), is_changed, deadline_s)

    async def _wait(self, path: str, is_true: Callable[[], Coroutine[Any, Any, bool]], deadline_s: float) -> bool:
        with contextlib.suppress(TimeoutError), self._session.waiting(path) as woken:
            async with asyncio.timeout(deadline_s):
                while True:
                    try:
                        if await is_true():
                            return True
                    except DependencyUnavailableError:
                        await asyncio.sleep(_PAUSE_S)
                        continue
                    await woken.wait()
                    woken.clear()
        return False
