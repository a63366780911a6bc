"""The one place that prints answers: a table for people, JSON or YAML for machines.

An `Answer` holds the value for machines and blocks (tables, lines) for people. On a terminal blocks are coloured; elsewhere
they are plain lines, never cut. Whatever comes from outside is cleaned here, on its way to people.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.text import Text

from blocks.models.base import clean_text

Row = Mapping[str, Any]

CELL_CHARS_MAX = 4_000


class Format(StrEnum):
    """How answers are written."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    cell: Callable[[Row], object]
    """From a row to what is shown; a `Text` keeps its style, anything else becomes clean text."""
    right: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A table for people."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    empty: str = "nothing"
    """What is said instead of a table without rows."""


Block = Grid | Text


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command has to say."""

    value: Any
    """For machines: a list of objects, or one object."""
    blocks: Sequence[Block]
    """For people."""
    code: int = 0
    """The exit code that goes with it."""


def listing(rows: Sequence[Row], columns: Sequence[Column], empty: str) -> Answer:
    """An answer that is a table of its value."""
    return Answer(rows, (Grid(columns, rows, empty),))


def plain(value: Any) -> Any:
    """A value of what JSON and YAML have: times as RFC 3339 in UTC, enums as their values, no infinite numbers."""
    match value.value if isinstance(value, Enum) else value:
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case float() if not math.isfinite(value):
            return None
        case bool() | int() | float() | None:
            return value
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case _:
            return str(value)


def dump(value: Any, form: Format, *, compact: bool = False) -> str:
    """A value as JSON (`compact`: one line) or YAML. ASCII only: nothing in it can steer a terminal."""
    if form is Format.YAML:
        from blocks.yaml_dialect import write_yaml  # noqa: PLC0415 - only whoever asks for it pays for it

        return write_yaml([plain(value)], ascii_only=True, start=False, width=10_000).rstrip("\n")
    return json.dumps(plain(value), indent=None if compact else 2)


def console(*, error: bool = False) -> Console:
    """The terminal, or whatever stands in its place."""
    return Console(file=sys.stderr if error else sys.stdout, highlight=False, markup=False, emoji=False)


def show(answer: Answer, form: Format, *, one_of_many: bool = False) -> None:
    """Print an answer; one of many so that programs can tell them apart: JSON in a line, YAML begun by `---`."""
    if form is not Format.TABLE:
        start = "---\n" if one_of_many and form is Format.YAML else ""
        print(start + dump(answer.value, form, compact=one_of_many), flush=True)  # noqa: T201 - this is the place that prints
        return
    terminal = console()
    for block in answer.blocks:
        if terminal.is_terminal:
            terminal.print(drawn([block]), soft_wrap=isinstance(block, Text))
        else:
            print(flat(block), flush=True)  # noqa: T201 - the same


def say(sentence: str) -> None:
    """Tell a person something beside the answer, on stderr."""
    lines = sentence.split("\n")
    print("\n".join(clean_text(line, CELL_CHARS_MAX) for line in lines), file=sys.stderr, flush=True)  # noqa: T201


def drawn(blocks: Iterable[Block]) -> RenderableType:
    """Blocks for a terminal."""
    return Group(*(_table(block) if isinstance(block, Grid) and block.rows else _text(block) for block in blocks))


def flat(block: Block) -> str:
    """A block as plain lines, nothing cut."""
    if isinstance(block, Text):
        return block.plain
    if not block.rows:
        return block.empty
    titles = [column.title for column in block.columns]
    cells = [titles, *([_cell(column, row).plain for column in block.columns] for row in block.rows)]
    widths = [max(cell_len(line[at]) for line in cells) for at in range(len(titles))]
    return "\n".join(
        "  ".join(
            _padded(cell, width, right=column.right)
            for cell, width, column in zip(line, widths, block.columns, strict=True)
        ).rstrip()
        for line in cells
    )


def _padded(cell: str, width: int, *, right: bool) -> str:
    blank = " " * (width - cell_len(cell))
    return blank + cell if right else cell + blank


def _table(grid: Grid) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415 - only terminals need it

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in grid.columns:
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in grid.rows:
        table.add_row(*(_cell(column, row) for column in grid.columns))
    return table


def _text(block: Block) -> Text:
    return Text(block.empty, style="dim") if isinstance(block, Grid) else block


def _cell(column: Column, row: Row) -> Text:
    value = column.cell(row)
    return value if isinstance(value, Text) else Text(clean(value))


def clean(value: object) -> str:
    """Anything as text that is safe to print; nothing as a dash."""
    return "-" if value in {None, ""} else clean_text(plain(value), CELL_CHARS_MAX)
