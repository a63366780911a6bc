"""A monotonic clock that a test moves."""

from __future__ import annotations


class Clock:
    """Seconds since whenever."""

    def __init__(self) -> None:
        """Start at zero."""
        self.now = 0.0

    def __call__(self) -> float:
        """Tell the time in seconds."""
        return self.now
