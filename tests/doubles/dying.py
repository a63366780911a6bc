"""A store that goes away at a chosen call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from doubles.store import MemoryStore

T = TypeVar("T")


class DyingStore(MemoryStore):
    """Away from a chosen call on until `comes_back`. That call is carried out, or not; its caller does not learn which."""

    def __init__(self) -> None:
        super().__init__()
        self._calls_left: int | None = None
        self._carried_out = False

    def dies_at(self, call: int, *, carried_out: bool) -> None:
        """The first call from now on is 1."""
        self._calls_left, self._carried_out = call, carried_out

    def comes_back(self) -> bool:
        """There again; whether it had gone at all."""
        died, self.down, self._calls_left = self.down, False, None
        return died

    async def _call(self, name: str, call: Callable[[], T]) -> T:
        if self._calls_left is not None:
            self._calls_left -= 1
            if self._calls_left == 0:
                if self._carried_out:
                    await super()._call(name, call)
                self.down = True
        return await super()._call(name, call)
