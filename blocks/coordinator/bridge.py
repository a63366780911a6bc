"""From a result of kazoo's threads to asyncio, without a thread of our own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TypeVar

from kazoo.exceptions import KazooException
from kazoo.handlers.threading import AsyncResult

from blocks.coordinator.connection import reason_of

T = TypeVar("T")


class LostAnswerError(Exception):
    """The connection or the session went before the answer came: the request may have been carried out or not."""


async def bridged(result: AsyncResult[T], loop: asyncio.AbstractEventLoop) -> T:
    """Wait for an answer.

    Raises:
        KazooException: what the server or kazoo says.
        LostAnswerError: the answer could not be read.
    """
    future: asyncio.Future[T] = loop.create_future()

    def settle() -> None:
        if future.done():
            return
        if (error := result.exception) is None:
            future.set_result(result.value)
        elif isinstance(error, KazooException):
            future.set_exception(error)
        else:  # an answer that kazoo could not read
            future.set_exception(LostAnswerError(reason_of(error)))

    def deliver(_: AsyncResult[T]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle)

    result.rawlink(deliver)
    return await future
