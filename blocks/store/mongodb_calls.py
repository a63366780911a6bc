"""Calls of the store, each in a task of its own that nobody cancels.

A task that is cancelled within pymongo just as a wait of its own ends (half a second for a server, say) can leave a lock
behind that is never released (4.20 on Python 3.11): then later calls hang, far beyond their deadlines. Hence: whoever is cancelled goes at
once, and the call that it gave up runs to its own end, which its deadline bounds. Nobody learns what came of it, as of
any call whose answer is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

GIVEN_UP_MAX: Final = 1_000
"""Calls that were given up and have not ended: with so many, new ones are refused."""
_CLOSE_WITHIN_S: Final = 2.0
_CANCELLED_WITHIN_S: Final = 1.0

P = ParamSpec("P")
T = TypeVar("T")


class Calls:
    """The calls of one client."""

    def __init__(self) -> None:
        self._given_up: set[asyncio.Task[Any]] = set()

    @property
    def full(self) -> bool:
        """Whether too many that were given up still run."""
        return len(self._given_up) >= GIVEN_UP_MAX

    async def run(self, call: Coroutine[Any, Any, T]) -> T:
        """What the call returns or raises; a caller that is cancelled goes at once, and the call goes on."""
        task = asyncio.create_task(call)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                self._given_up.add(task)
                task.add_done_callback(self._over)
            raise

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._given_up.discard(task)
        if not task.cancelled():
            task.exception()  # nobody waits for it: looked at, it is not logged

    async def settled(self, within_s: float) -> None:
        """Return when those that were given up until now have ended, or after so many seconds."""
        if others := self._given_up - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=within_s)

    async def close(self, let_go: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for those that were given up, for a while; let go of the client; cancel what then still runs."""
        try:
            if self._given_up:
                await asyncio.wait(set(self._given_up), timeout=_CLOSE_WITHIN_S)
        finally:
            await let_go()
            for task in self._given_up:
                task.cancel()
            if self._given_up:
                await asyncio.wait(set(self._given_up), timeout=_CANCELLED_WITHIN_S)


class _Caller(Protocol):
    """Whose methods are calls."""

    def calls(self) -> Calls:
        """Its calls; raises when there can be no more."""


C = TypeVar("C", bound=_Caller)
_Method = Callable[Concatenate[C, P], Coroutine[Any, Any, T]]


def whole(method: _Method[C, P, T]) -> _Method[C, P, T]:
    """A method that is one call: its caller may be cancelled, it is not. It needs a deadline of its own."""

    @wraps(method)
    async def call(self: C, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.calls().run(method(self, *args, **kwargs))

    return call
