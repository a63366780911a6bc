"""The asyncio side: one session, its requests each under a deadline, and the proof that it is alive.

Alive is what a server said *through its leader* not long ago: a `sync` or a write that was answered proves that the session
was known at the moment the request was begun, and the server keeps a session for its whole timeout after that. A connection
that merely looks open proves nothing (a paused process wakes up with one, a partitioned follower serves reads on one).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from kazoo.exceptions import (
    AuthFailedError,
    BadVersionError,
    ConnectionLoss,
    KazooException,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    OperationTimeoutError,
    RequestTimeoutError,
    SessionClosedRequireSaslError,
    SessionExpiredError,
    SessionMovedError,
    ThrottledOpError,
)
from kazoo.handlers.threading import AsyncResult
from kazoo.protocol.states import WatchedEvent

from blocks.coordinator.bridge import LostAnswerError, bridged
from blocks.coordinator.connection import REFUSED, Client, reason_of, tls_context
from blocks.coordinator.settings import ZooKeeper
from blocks.errors import DependencyUnavailableError, Fault, InvalidInputError

log = logging.getLogger(__name__)
T = TypeVar("T")

_IN_FLIGHT_MAX = 256
_BEATS = 6
"""Heartbeats per session timeout."""
_PROOF = 2 / 3
"""For how much of a session timeout an answer proves that we hold what we took."""
_CLOSE_WITHIN_S = 1.0
_REVIVE_EVERY_S = 3.0
_AGAIN_S = 0.01

_ANSWERS = (NodeExistsError, NoNodeError, BadVersionError)
"""What a server says about a request that it has understood."""
_LOST = (
    ConnectionLoss,
    OperationTimeoutError,
    RequestTimeoutError,
    SessionExpiredError,
    SessionMovedError,
    ThrottledOpError,
)
_NO_ACCESS = (AuthFailedError, SessionClosedRequireSaslError)
_NO_RIGHTS = "its znodes belong to another user"


def boot_s() -> float:
    """Seconds since the machine started, its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Session:
    """One connection to ZooKeeper that is kept, and kept proven, until it is closed."""

    def __init__(self, settings: ZooKeeper, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._up = asyncio.Event()
        self._slots = asyncio.Semaphore(_IN_FLIGHT_MAX)
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._proof: tuple[int, float] = (0, 0.0)
        self._beating: asyncio.Task[None] | None = None
        self._nudged = asyncio.Event()
        self._told: int | None = None
        self._revive_at = 0.0
        self._lost_at: float | None = None
        self._closed = False
        self._client = Client(settings, self._notify)

    # --- life -------------------------------------------------------------------------------------

    async def open(self, on_beat: Callable[[], Awaitable[None]]) -> None:
        """Connect and prove the session. `on_beat` is called after every heartbeat.

        Raises:
            DependencyUnavailableError: no server let us in within the connect timeout.
            InvalidInputError: the settings cannot work.
        """
        self._check()
        self._loop = asyncio.get_running_loop()
        self._client.start_async()
        try:
            deadline = self._loop.time() + self._settings.connect_timeout_s
            await self.ask(lambda client: client.sync_async("/"), deadline=deadline, proves=True)
        except BaseException:
            await self.close()
            raise
        self._beating = asyncio.create_task(self._beat(on_beat), name="zookeeper heartbeat")

    def _check(self) -> None:
        tls_context(self._settings)
        for given, missing in (("sasl_user", "sasl_password"), ("sasl_password", "sasl_user")):
            if getattr(self._settings, given) is not None and getattr(self._settings, missing) is None:
                message = "the settings of ZooKeeper are incomplete"
                fault = Fault(self._settings.variable(missing), f"is needed with {self._settings.variable(given)}")
                raise InvalidInputError(message, (fault,))

    async def close(self) -> None:
        """End the session, so that its claims go now; a server that is out of reach ends it by itself later."""
        self._closed = True
        self._up.set()
        if self._beating is not None:
            self._beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._beating
        loop, finished = asyncio.get_running_loop(), asyncio.Event()

        def finish() -> None:
            self._client.finish()
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(finished.set)

        threading.Thread(target=finish, name="zookeeper close", daemon=True).start()
        for _ in range(2):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_WITHIN_S):
                    await finished.wait()
                    return
            self._client.cut()

    async def _beat(self, on_beat: Callable[[], Awaitable[None]]) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.timeout_s / _BEATS):
                    await self._nudged.wait()
            self._nudged.clear()
            try:
                self._revive()
                await self.ask(lambda client: client.sync_async("/"), proves=True)
                await on_beat()
            except DependencyUnavailableError as error:
                log.debug("no heartbeat: %s", error)
            except Exception:
                log.exception("heartbeat")  # a fault of ours must not end the proofs

    def _revive(self) -> None:
        """Let kazoo try again after a refusal, which may have been a mistake of the server's, or come from a server that
        knows less than we have seen.
        """
        if self._lost_at is not None and self._clock() - self._lost_at > self.timeout_s:
            self._client.forget()  # our session is over, so that there is nothing to go back behind
        now = asyncio.get_running_loop().time()
        if self._client.refused and now >= self._revive_at:
            self._revive_at = now + _REVIVE_EVERY_S
            log.error("ZooKeeper at %s: %s; trying again in %.0f s", self._settings.hosts, REFUSED, _REVIVE_EVERY_S)
            self._client.start_async()

    # --- state ------------------------------------------------------------------------------------

    @property
    def id(self) -> int | None:
        """The session's id, None while there is no connection."""
        return self._client.session

    @property
    def timeout_s(self) -> float:
        """The session timeout: granted, or asked for before the first connection."""
        return self._client.granted_s or self._settings.session_timeout_s

    def proven_s(self, session: int) -> float:
        """For how many seconds from now a session is certainly still known to the server."""
        proven, since = self._proof
        if self.id != session or proven != session:
            return 0.0
        return max(0.0, since + self.timeout_s * _PROOF - self._clock())

    def unavailable(self, reason: str | None = None) -> DependencyUnavailableError:
        """The error that says where we sought ZooKeeper and what to check."""
        client, variable = self._client, self._settings.variable
        hint = f"Check that ZooKeeper runs there, and {variable('hosts')}."
        if self._closed:
            reason = "the connection was closed"
        elif client.refused or reason in {REFUSED, _NO_RIGHTS}:
            reason, hint = reason or REFUSED, f"Check {variable('sasl_user')} and {variable('sasl_password')}."
        else:
            reason = reason or client.reason or "no answer in time"
        return DependencyUnavailableError("ZooKeeper", self._settings.hosts, reason, hint)

    def _notify(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._changed)

    def _changed(self) -> None:
        session = self.id
        if session is None:
            self._lost_at = self._clock() if self._lost_at is None else self._lost_at
            self._up.clear()
            log.log(
                logging.DEBUG if self._closed else logging.WARNING,
                "ZooKeeper at %s is out of reach",
                self._settings.hosts,
            )
        else:
            if self._told not in {None, session}:
                log.warning("ZooKeeper at %s gave us a new session: what we held is lost", self._settings.hosts)
            self._told, self._lost_at = session, None
            self._up.set()
            self._nudged.set()
        if self._client.refused:
            self._up.set()  # whoever waits must hear of it
        for path in list(self._waiters):
            self._wake(path)

    def nudge(self) -> None:
        """Let the next heartbeat come now."""
        self._nudged.set()

    @property
    def newest_zxid(self) -> int:
        """The newest transaction that a server has told of."""
        return self._client.newest_zxid

    # --- requests ---------------------------------------------------------------------------------

    async def ask(
        self, send: Callable[[Client], AsyncResult[T]], *, deadline: float | None = None, proves: bool = False
    ) -> T:
        """Send a request until an answer comes; it must be one that may be carried out twice.

        Args:
            send: starts the request.
            deadline: in the time of the loop; without it, a request timeout from now.
            proves: whether an answer comes through the leader, and so proves the session.

        Raises:
            DependencyUnavailableError: no answer by the deadline, or no access.
            NodeExistsError, NoNodeError, BadVersionError: as answered.
        """
        loop = asyncio.get_running_loop()
        deadline = deadline or loop.time() + self._settings.request_timeout_s
        while True:
            try:
                return await self.ask_once(send, deadline=deadline, proves=proves)
            except LostAnswerError as lost:
                if loop.time() >= deadline:
                    raise self.unavailable() from lost
            await asyncio.sleep(_AGAIN_S * random.uniform(0.5, 1.5))  # noqa: S311 - no secret

    async def ask_once(
        self, send: Callable[[Client], AsyncResult[T]], *, deadline: float | None = None, proves: bool = False
    ) -> T:
        """Send a request once, as soon as there is a connection.

        Raises:
            LostAnswerError: it may have been carried out or not.
            DependencyUnavailableError, NodeExistsError, NoNodeError, BadVersionError: as `ask`.
        """
        loop = asyncio.get_running_loop()
        sent = False
        try:
            async with asyncio.timeout_at(deadline or loop.time() + self._settings.request_timeout_s), self._slots:
                await self._connected()
                sent = True
                session, started = self.id, self._clock()
                answer = await bridged(send(self._client), loop)
        except TimeoutError as error:
            if sent:
                raise LostAnswerError from error
            raise self.unavailable() from error
        except _ANSWERS:
            raise
        except _NO_ACCESS as error:
            raise self.unavailable(REFUSED) from error
        except NoAuthError as error:
            raise self.unavailable(_NO_RIGHTS) from error
        except KazooException as error:
            if isinstance(error, _LOST):
                raise LostAnswerError from error
            raise self.unavailable(reason_of(error)) from error
        if proves and session is not None and session == self.id:
            known, since = self._proof
            self._proof = (session, max(started, since) if known == session else started)
        return answer

    async def _connected(self) -> None:
        while self._closed or self.id is None:
            if self._closed or self._client.refused:
                raise self.unavailable()
            self._up.clear()
            await self._up.wait()

    # --- watches ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def waiting(self, path: str) -> Iterator[asyncio.Event]:
        """An event that is set when a watch on the path fires, and when the connection goes or comes."""
        event = asyncio.Event()
        self._waiters.setdefault(path, set()).add(event)
        try:
            yield event
        finally:
            self._waiters[path].discard(event)
            if not self._waiters[path]:
                del self._waiters[path]

    def watch(self, event: WatchedEvent) -> None:
        """The one watcher for all paths, so that asking again adds nothing to kazoo's sets. Runs on kazoo's thread."""
        if self._loop is not None and event.path is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._wake, event.path)

    def _wake(self, path: str) -> None:
        for event in self._waiters.get(path, ()):
            event.set()
