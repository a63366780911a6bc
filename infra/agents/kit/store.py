"""What an agent needs from its store, and the bounded way the API asks for it.

`Reader` stands between HTTP and the adapter: every answer has a deadline, identical questions asked at once share one
trip to the store, and a store that is down is a status of the node, not an error of the agent.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from infra.agents.kit.errors import StoreDownError, StoreError, describe
from infra.agents.kit.handlers import Handlers
from infra.agents.kit.models import NodeReport, Shard, Status, StoreReport, Unknown, Version

log = logging.getLogger(__name__)

ANSWER_DEADLINE = 2.5

T = TypeVar("T")


class Store(Protocol):
    """One data store's node, as its agent sees it. Every method may raise `StoreError`, `StoreDownError`, or hang."""

    store_id: str
    address: str
    """Where the store listens; what the agent says to clients and members unless told otherwise."""

    async def node(self) -> NodeReport:
        """Return the node's status, version and attributes."""
        ...

    async def store(self) -> StoreReport:
        """Return the cluster's id and attributes."""
        ...

    async def shards(self) -> list[Shard]:
        """Return the shards with a copy on this node."""
        ...

    def actions(self) -> Handlers:
        """Return the store's own kinds of actions."""
        ...

    async def close(self) -> None:
        """Drop the connections."""
        ...


class Reader:
    """Asks the store on behalf of the API."""

    def __init__(self, store: Store, deadline: float = ANSWER_DEADLINE) -> None:
        """Give each answer at most `deadline` seconds."""
        self._store = store
        self._deadline = deadline
        self._version: Version | None = None
        self._status: Status | Unknown | None = None
        self._node = _Shared(store.node)
        self._extras = _Shared(store.store)
        self._shards = _Shared(store.shards)

    async def node(self) -> NodeReport:
        """Return the node's report; a store that fails is UNAVAILABLE or UNKNOWN, with the version last seen."""
        try:
            report = await self._ask(self._node, "status")
        except StoreDownError as error:
            if self._status is not Status.UNAVAILABLE:
                log.warning("%s", describe(error))
            report = NodeReport(Status.UNAVAILABLE)
        except StoreError as error:
            report = NodeReport(Unknown(describe(error)))
        if report.version is not None:
            self._version = report.version
        if report.status != self._status:
            log.info("the node is %s, was %s", report.status, self._status)
            self._status = report.status
        return replace(report, version=self._version)

    async def store(self) -> StoreReport:
        """Return the cluster's report.

        Raises:
            StoreError: The store is down or refused.
        """
        return await self._ask(self._extras, "cluster")

    async def shards(self) -> list[Shard]:
        """Return the shards.

        Raises:
            StoreError: The store is down or refused.
        """
        return await self._ask(self._shards, "shards")

    async def _ask(self, shared: "_Shared[T]", what: str) -> T:
        """Ask under the deadline; anything but a `StoreError` becomes one."""
        try:
            async with asyncio.timeout(self._deadline):
                return await shared.get()
        except StoreError:
            raise
        except TimeoutError as error:
            message = f"the store did not tell its {what} within {self._deadline:g} s"
            raise StoreDownError(message) from error
        except Exception as error:
            log.exception("reading the store's %s failed", what)
            message = f"reading the store's {what} failed"
            raise StoreError(message) from error


class _Shared(Generic[T]):
    """A question that goes to the store once, however many want the answer at the moment."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        """Wrap the question."""
        self._ask = ask
        self._task: asyncio.Task[T] | None = None
        self._waiting = 0

    async def get(self) -> T:
        """Join the question under way or ask it; it is given up when the last one waiting gives up."""
        task = self._task
        if task is None or task.done():
            task = self._task = asyncio.create_task(self._run())
            self._waiting = 0
        self._waiting += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._leave(task)

    def _leave(self, task: "asyncio.Task[T]") -> None:
        """Count one out; cancel what nobody waits for."""
        if task is not self._task:
            return
        self._waiting -= 1
        if self._waiting == 0 and not task.done():
            task.cancel()
            self._task = None

    async def _run(self) -> T:
        """Ask."""
        return await self._ask()
