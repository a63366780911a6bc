"""Where watched answers go: the same spot of a terminal, or one below the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.text import Text

from deployments.cli.output import Answer, Format, console, drawn, say, show

Put = Callable[[Answer | None, str], None]
"""Takes the last good answer, and what is wrong now (empty: nothing)."""


class Screen:
    """`with Screen(form) as put`: a live table on a terminal; elsewhere, and for machines, answer after answer."""

    def __init__(self, form: Format) -> None:
        """Look at stdout."""
        self._form = form
        self._live: Any = None
        terminal = console()
        if terminal.is_terminal and form is Format.TABLE:
            from rich.live import Live  # noqa: PLC0415 - only terminals need it

            self._live = Live(console=terminal, auto_refresh=False, vertical_overflow="visible")

    def __enter__(self) -> Put:
        if self._live is not None:
            self._live.start()
        return self._put

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _put(self, answer: Answer | None, trouble: str) -> None:
        if self._live is not None:
            said = [Text(trouble, style="bold red")] if trouble else []
            self._live.update(drawn([*(answer.blocks if answer is not None else ()), *said]), refresh=True)
        elif trouble:
            say(trouble)
        elif answer is not None:
            show(answer, self._form, one_of_many=True)
