"""How many nodes are looked at at the same time: places for those that answer, and others for those that are silent.

A look begins in a place of the first kind, and moves to one of the second as soon as its agent lets it wait; a node that is
known to be silent begins there. So silent nodes, however many, keep no place from nodes that answer, and both kinds are
bounded. The silent cost a connection each and no work, which is why there may be more of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class PlaceError(Exception):
    """There was no place in time."""

    def __str__(self) -> str:
        return "not asked: too many other silent nodes are being waited for"


class Lane:
    """A number of equal places, given out in the order of asking."""

    def __init__(self, size: int) -> None:
        """Have `size` places."""
        self._free = size
        self._waiting: deque[asyncio.Future[None]] = deque()

    def taken_at_once(self) -> bool:
        """Take a place if there is one that nobody waits for."""
        if self._free <= 0 or self._waiting:
            return False
        self._free -= 1
        return True

    async def take(self) -> None:
        """Take a place, waiting for it."""
        if self.taken_at_once():
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()  # it was given to us while we were told to stop
            with suppress(ValueError):
                self._waiting.remove(turn)
            raise

    def give_back(self) -> None:
        """Give a place back; who waits longest has it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Place:
    """One look's place; tell it of each answer."""

    def __init__(self, lane: Lane, silent: Lane, patience_s: float) -> None:
        """Hold a place of `lane`; after `patience_s` seconds without an answer, one of `silent`."""
        self._lane, self._silent, self._patience_s = lane, silent, patience_s
        self._timer: asyncio.TimerHandle | None = None
        self.answered()

    def answered(self) -> None:
        """The agent has said something: it is not silent for now."""
        if self._timer is not None:
            self._timer.cancel()
        if self._lane is not self._silent:
            self._timer = asyncio.get_running_loop().call_later(self._patience_s, self._move)

    def leave(self) -> None:
        """Give the place back."""
        if self._timer is not None:
            self._timer.cancel()
        self._lane.give_back()

    def _move(self) -> None:
        if not self._silent.taken_at_once():
            self._timer = asyncio.get_running_loop().call_later(self._patience_s, self._move)
            return
        self._lane.give_back()
        self._lane, self._timer = self._silent, None


class Places:
    """All places for looks."""

    def __init__(self, size: int, silent_size: int, patience_s: float) -> None:
        """Have `size` places for nodes that answer and `silent_size` for the others."""
        self._lively, self._silent, self._patience_s = Lane(size), Lane(silent_size), patience_s

    @asynccontextmanager
    async def one(self, *, silent: bool, wait_s: float | None = None) -> AsyncIterator[Place]:
        """A place for one look.

        Args:
            silent: whether the node did not answer last time.
            wait_s: for how many seconds to wait for a place; None means for ever.

        Raises:
            PlaceError: there was no place in time.
        """
        lane = self._silent if silent else self._lively
        try:
            async with asyncio.timeout(wait_s):
                await lane.take()
        except TimeoutError as error:
            raise PlaceError from error
        place = Place(lane, self._silent, self._patience_s)
        try:
            yield place
        finally:
            place.leave()
