"""What a saboteur has really done: a line for each time that it broke its rule, in seconds of CLOCK_MONOTONIC.

So a proof lasts until the rule was broken often enough, and not for a while in which a slow machine may have done nothing.
Beside it lie the marks by which the run and the saboteur's process tell each other how far they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_POLL_S = 0.2


class Mark(StrEnum):
    """How far a proof is."""

    BEGIN = "begin"
    """The run to the saboteur: do your worst."""
    ENOUGH = "enough"
    """The run to the saboteur: no more."""
    GONE = "gone"
    """The saboteur to the run: it does nothing more."""


@dataclass(frozen=True, slots=True)
class Deeds:
    """The deeds of one saboteur, in a file that its process writes and the run reads."""

    path: Path

    def add(self) -> None:
        """It has just broken its rule."""
        with self.path.open("a", encoding="ascii") as file:
            file.write(f"{time.monotonic()}\n")

    def since(self, at: float) -> int:
        """How often it did so after a moment; what is half written does not count yet."""
        if not self.path.exists():
            return 0
        *whole, _ = self.path.read_text(encoding="ascii").split("\n")
        return sum(float(line) > at for line in whole)

    def mark(self, mark: Mark) -> None:
        """Tell how far it is."""
        self._marked(mark).touch()

    async def until(self, mark: Mark, stop: asyncio.Event | None = None) -> None:
        """Wait until it is so far, or until everything stops."""
        stop = asyncio.Event() if stop is None else stop
        while not stop.is_set() and not self._marked(mark).exists():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await stop.wait()

    def _marked(self, mark: Mark) -> Path:
        return self.path.with_suffix(f".{mark}")
