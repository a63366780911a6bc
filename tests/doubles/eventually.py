"""Waiting for something that nobody tells of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(is_true: Callable[[], bool], within_s: float = 10.0) -> None:
    """Return as soon as it is true.

    Raises:
        TimeoutError: it was not, for `within_s` seconds.
    """
    async with asyncio.timeout(within_s):
        while not is_true():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.005)
