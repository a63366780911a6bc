"""The command line as people write it, brought into the form that the parser reads.

Global options may stand anywhere (`replictl clusters --output json`), and `--watch` may stand without its number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

WATCH_S = "2"

_WITH_VALUE = re.compile(
    r"(?P<long>--(?:output|namespace|fleet|timeout))(?P<given>=.*)?|(?P<short>-[on])(?P<stuck>.+)?", re.DOTALL
)
_FLAGS = frozenset({"--verbose"})
_WATCH = frozenset({"--watch", "-w"})
_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+")


def arranged(arguments: Sequence[str]) -> list[str]:
    """Global options first, and a number behind every `--watch`; what follows `--` is left alone."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    first: list[str] = []
    rest: list[str] = []
    words = iter(range(end))
    for at in words:
        word = arguments[at]
        match = _WITH_VALUE.fullmatch(word)
        if word in _FLAGS:
            first.append(word)
        elif match is not None:
            first.append(word)
            if match["given"] is None and match["stuck"] is None and at + 1 < end:
                first.append(arguments[next(words)])
        elif word in _WATCH:
            number = arguments[next(words)] if at + 1 < end and _NUMBER.fullmatch(arguments[at + 1]) else WATCH_S
            rest += [word, number]
        else:
            rest.append(word)
    return [*first, *rest, *arguments[end:]]
