"""Words for people: ages, coloured states, lags, who is who."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rich.text import Text

from deployments.cli.output import clean

GOOD, MIDDLING, BAD, FAINT = "green", "yellow", "bold red", "dim"

STYLES: Mapping[str, str] = {
    "HEALTHY": GOOD,
    "DEGRADED": MIDDLING,
    "CRITICAL": BAD,
    "UNKNOWN": FAINT,
    "UNREACHABLE": BAD,
    "UNAVAILABLE": BAD,
    "UNHEALTHY": BAD,
    "INCOMPLETE": MIDDLING,
    "NOT_IN_CLUSTER": MIDDLING,
    "JOINING_CLUSTER": MIDDLING,
    "LEAVING_CLUSTER": MIDDLING,
    "info": FAINT,
    "warning": MIDDLING,
    "critical": BAD,
    "PENDING_APPROVE": MIDDLING,
    "RUNNING": "cyan",
    "NEW": "cyan",
    "DONE": GOOD,
    "FAILED": BAD,
    "LOST": BAD,
    "CANCELLED": FAINT,
    "primary": "bold",
    "recovering": MIDDLING,
    "dead": BAD,
    "claimed": "cyan",
    "ready": GOOD,
    "failed": BAD,
    "backoff": BAD,
    "success": GOOD,
    "skipped": MIDDLING,
}

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def coloured(word: object, style: str | None = None) -> Text:
    """A word in its colour."""
    text = clean(word)
    return Text(text, style=style if style is not None else STYLES.get(text, ""))


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


def plural(count: int, word: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
