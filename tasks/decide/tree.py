"""Trees as lines of pieces of text, each with its tone: for terminals in colours, for pipes and pages without."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tasks.decide.words import width_of

BODY_MIN = 16
"""However narrow the place, a line has so much room behind its branch."""
INDENT = "  "
"""Before what of a label did not fit into its first line."""


class Piece(NamedTuple):
    """A piece of text; `tone` names its look, or is `WORD` where the text itself is a word that has one."""

    text: str
    tone: str = ""


WORD, BOLD, DIM, BAD, WARN = "word", "bold", "dim", "bad", "warn"
Label = tuple[Piece, ...]


@dataclass(slots=True)
class Branch:
    """A line with what hangs from it."""

    label: Label
    branches: list[Branch] = field(default_factory=list)


def label(*parts: str | Piece | Label) -> Label:
    """Pieces, texts and labels as one label."""
    pieces: list[Piece] = []
    for part in parts:
        if isinstance(part, Piece):
            pieces.append(part)
        elif isinstance(part, str):
            pieces.append(Piece(part))
        else:
            pieces += part
    return tuple(piece for piece in pieces if piece.text)


def plain(line: Label) -> str:
    """A label without its tones."""
    return "".join(piece.text for piece in line)


def aligned(rows: Sequence[Sequence[Label]]) -> list[Label]:
    """Rows of cells as labels, each cell as wide as the widest of its column; columns that are empty everywhere are left out."""
    columns = range(max((len(row) for row in rows), default=0))
    widths = [max(width_of(plain(row[at])) for row in rows) for at in columns]
    used = [at for at in columns if widths[at]]
    return [_trimmed(_row(row, used, widths)) for row in rows]


def _row(cells: Sequence[Label], used: Sequence[int], widths: Sequence[int]) -> Iterator[Piece]:
    for number, at in enumerate(used):
        if number:
            yield Piece(INDENT)
        yield from cells[at]
        yield Piece(" " * (widths[at] - width_of(plain(cells[at]))))


def _trimmed(pieces: Iterator[Piece]) -> Label:
    row = [piece for piece in pieces if piece.text]
    while row and not row[-1].text.strip():
        row.pop()
    return tuple(row)


def drawn(root: Branch, *, ascii_only: bool, width: int | None = None) -> list[Label]:
    """A tree as lines.

    Args:
        root: the tree.
        ascii_only: draw with ASCII.
        width: no line is wider than so many columns, as far as there is any room; None breaks no line.
    """
    tee, last, bar = ("|- ", "`- ", "|  ") if ascii_only else ("├─ ", "└─ ", "│  ")
    lines: list[Label] = []

    def put(branch: Branch, first: str, rest: str) -> None:
        below = rest + (bar if branch.branches else "") + INDENT
        room = None if width is None else max(BODY_MIN, width - width_of(below))
        for number, part in enumerate([branch.label] if room is None else wrapped(branch.label, room)):
            lines.append(label(Piece(below if number else first, DIM), part))
        for at, child in enumerate(branch.branches, start=1):
            end = at == len(branch.branches)
            put(child, rest + (last if end else tee), rest + ("   " if end else bar))

    put(root, "", "")
    return lines


def wrapped(whole: Label, width: int) -> list[Label]:
    """A label in lines of at most so many columns: broken at blanks, and within words that are too long."""
    if width_of(plain(whole)) <= width:
        return [whole]
    lines: list[list[Piece]] = [[]]
    used = 0
    for word in _words(whole, width):
        size = width_of(word.text)
        if used + size > width:
            if word.text.isspace():
                continue
            lines.append([])
            used = 0
        if used or not word.text.isspace():
            lines[-1].append(word)
            used += size
    return [_trimmed(iter(line)) for line in lines if line]


def _words(whole: Label, width: int) -> Iterator[Piece]:
    for piece in whole:
        for found in re.findall(r"\s+|\S+", piece.text):
            yield from (Piece(part, piece.tone) for part in _pieces_of(found, width))


def _pieces_of(word: str, width: int) -> Iterator[str]:
    """A word in parts that fit."""
    part, used = "", 0
    for char in word:
        size = width_of(char)
        if used + size > width and part:
            yield part
            part, used = "", 0
        part += char
        used += size
    yield part
