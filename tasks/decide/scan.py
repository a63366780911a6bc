"""Reading a short text piece by piece, with errors that say what is wrong at which character."""

from __future__ import annotations

import re
from typing import Final, NoReturn

from blocks.errors import InvalidInputError
from blocks.models.base import clean_text

TEXT_MAX: Final = 10_000
_SHOWN_MAX: Final = 200
_BLANKS: Final = re.compile(r"\s*")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


class Scanner:
    """A place in a text."""

    def __init__(self, text: str, what: str) -> None:
        """Begin at the first character.

        Args:
            text: what is read.
            what: what it is, for errors.

        Raises:
            InvalidInputError: it is far too long.
        """
        self._text = text
        self._what = what
        self._at = 0
        if len(text) > TEXT_MAX:
            message = f"a {what} has at most {TEXT_MAX} characters; this one has {len(text)}"
            raise InvalidInputError(message)

    @property
    def ended(self) -> bool:
        """Whether nothing but blanks is left."""
        self._skip()
        return self._at == len(self._text)

    def take(self, pattern: re.Pattern[str]) -> str | None:
        """What comes next, if it is that: blanks before it are left out."""
        self._skip()
        match = pattern.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match[0]

    def comes(self, pattern: re.Pattern[str]) -> bool:
        """Whether that comes next; it is left there."""
        self._skip()
        return pattern.match(self._text, self._at) is not None

    def quoted(self) -> str | None:
        r"""A text in double quotes, if one comes next; in it `\"` and `\\` stand for `"` and `\`."""
        self._skip()
        match = _QUOTED.match(self._text, self._at)
        if match is None:
            if self._text[self._at : self._at + 1] == '"':
                self.fail("a closing quote")
            return None
        self._at = match.end()
        return _ESCAPED.sub(r"\1", match[1])

    def fail(self, expected: str) -> NoReturn:
        """Say what should stand here.

        Raises:
            InvalidInputError: always.
        """
        self._skip()
        rest = self._text[self._at :]
        found = f"{_shown(rest[:20])!r}" if rest else "its end"
        message = f"{self._what} {_shown(self._text)!r}, character {self._at + 1}: expected {expected}, found {found}"
        raise InvalidInputError(message)

    def _skip(self) -> None:
        match = _BLANKS.match(self._text, self._at)
        self._at = match.end() if match is not None else self._at


def quote(text: str) -> str:
    """A text in double quotes, as `Scanner.quoted` reads it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _shown(text: str) -> str:
    return clean_text(text, _SHOWN_MAX)
