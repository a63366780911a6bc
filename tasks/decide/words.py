"""Words for people that need no terminal: ages, durations, counts, widths."""

from __future__ import annotations

import unicodedata
from datetime import datetime

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def seconds_since(moment: datetime | None, now: datetime) -> float | None:
    """Age in seconds; never negative, whatever the clocks say."""
    return None if moment is None else round(max(0.0, (now - moment).total_seconds()), 1)


def age(seconds: float | None) -> str:
    """An age in one short word: `12s`, `5m`, `3h`, `2d`."""
    if seconds is None:
        return "-"
    for unit, size in (("d", _DAY), ("h", _HOUR), ("m", _MINUTE)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def milliseconds(value: float | None) -> str:
    """A duration that was measured or reported in milliseconds: `450ms`, `1.2s`."""
    if value is None:
        return "-"
    return f"{value:.0f}ms" if value < 1_000 else f"{value / 1_000:.1f}s"  # noqa: PLR2004 - milliseconds in a second


def last_known(value: str, seconds: float | None) -> str:
    """A value that could not be read again for so long, so that nobody takes it for that of now: `2.0s 10m ago`."""
    return f"{value} {age(seconds)} ago"


def plural(count: int, word: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
