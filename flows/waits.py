"""Wait a while, or until the shift is over, whichever comes first."""

from __future__ import annotations

import asyncio
import contextlib


async def pause(over: asyncio.Event, seconds: float) -> None:
    """Return after so many seconds, or as soon as `over` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await over.wait()
