"""Wait for a condition in the real world, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

EVERY_S = 0.2


def until(look: Callable[[], T], *, within_s: float, what: str) -> T:
    """The first true answer of `look`.

    Raises:
        AssertionError: none came within `within_s` seconds; `what` says what was waited for.
    """
    ends = time.monotonic() + within_s
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() >= ends:
            message = f"not within {within_s:g} s: {what}; last seen {answer!r}"
            raise AssertionError(message)
        time.sleep(EVERY_S)
