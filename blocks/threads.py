"""Calls that may hang for ever, in threads of their own: a bounded number of them, and none that the process waits for."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from blocks.errors import TransientError

T = TypeVar("T")


class BusyThreadsError(TransientError):
    """As many calls hang as may."""


class Threads:
    """Threads for one sort of call. There is nothing to close: one that hangs does not outlive the process."""

    def __init__(self, name: str, most: int) -> None:
        """Take what the threads are called, and how many calls may be under way."""
        self._name = name
        self._free = threading.BoundedSemaphore(most)

    def run(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Begin a call. Whoever waits for it no longer leaves it to end by itself.

        Raises:
            BusyThreadsError: too many are under way.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if not self._free.acquire(blocking=False):
            message = f"too many calls hang ({self._name})"
            raise BusyThreadsError(message)

        def tell(result: T | None, error: Exception | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def run() -> None:
            result: T | None = None
            failure: Exception | None = None
            try:
                result = call()
            except Exception as error:  # noqa: BLE001 - raised where it is awaited
                failure = error
            finally:
                self._free.release()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(tell, result, failure)

        threading.Thread(target=run, name=self._name, daemon=True).start()
        return future
