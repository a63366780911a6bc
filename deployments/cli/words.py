"""Words for people: ages, coloured states, lags, who is who."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from deployments.cli.output import clean
from tasks.decide.words import age, last_known, milliseconds, plural, seconds_since

__all__ = [
    "BAD", "FAINT", "GOOD", "MIDDLING", "STYLES", "age", "coloured", "last_known", "milliseconds", "plural", "seconds_since",
]  # fmt: skip

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
    "PAUSED": MIDDLING,
    "LAPSED": MIDDLING,
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


def coloured(word: object, style: str | None = None) -> Text:
    """A word in its colour."""
    text = clean(word)
    return Text(text, style=style if style is not None else STYLES.get(text, ""))
