from __future__ import annotations

import io
import json
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import pytest
import yaml
from rich.console import Console
from rich.text import Text

from deployments.cli.output import Answer, Column, Format, Grid, drawn, dump, flat, listing, plain, say, show
from deployments.cli.words import age, coloured, milliseconds, seconds_since
from doubles.store_samples import NOW, later

HOSTILE = "[red]x[/red] \x1b[31m\u202eevil\nline \ud800"
GRID = Grid((Column("NAME", lambda row: row["name"]), Column("COUNT", lambda row: row["count"], right=True)), [])


class Colour(StrEnum):
    RED = "red"


def test_plain() -> None:
    """Times become RFC 3339 in UTC, enums their values, tuples lists, infinite numbers null."""
    moment = datetime(2030, 1, 1, 1, 0, 0, 5_000, tzinfo=timezone(timedelta(hours=1)))
    value = {"at": moment, "colour": Colour.RED, "some": (1, True, None), "lag": float("inf"), 7: 0.5}

    expected = {"at": "2030-01-01T00:00:00.005Z", "colour": "red", "some": [1, True, None], "lag": None, "7": 0.5}
    assert expected == plain(value)
    assert "red" == type(plain(Colour.RED))("red")
    assert str is type(plain(Colour.RED))


@pytest.mark.parametrize(("form", "read"), [(Format.JSON, json.loads), (Format.YAML, yaml.safe_load)])
def test_dump_survives_anything(form: Format, read: Any) -> None:
    """What is written can be read back, and holds nothing that could steer a terminal."""
    value = [{"text": HOSTILE.replace("\ud800", ""), "empty": None, "big": 2**70}]
    written = dump(value, form)

    assert value == read(written)
    assert written.isascii()
    assert "\x1b" not in written


def test_table_is_cleaned() -> None:
    """Markup is shown as it is; control characters, directions and lone surrogates are replaced; a row is a line."""
    row = {"name": HOSTILE, "count": 3}
    lines = flat(Grid(GRID.columns, [row])).splitlines()

    assert 2 == len(lines)
    assert "[red]x[/red]" in lines[1]
    assert not {"\x1b", "\u202e", "\ud800"} & set(lines[1])
    lines[1].encode()


def test_table_off_terminal_is_whole_and_aligned() -> None:
    """Off a terminal nothing is cut, wide characters count double, numbers stand right."""
    rows: list[dict[str, object]] = [{"name": "n" * 300, "count": 7}, {"name": "宽", "count": None}]
    lines = flat(Grid(GRID.columns, rows)).splitlines()

    assert ["NAME" + " " * 298 + "COUNT", "n" * 300 + "      7", "宽" + " " * 304 + "-"] == lines


def test_empty_table_says_so() -> None:
    """No rows: a sentence, not a header."""
    assert "no clusters" == flat(Grid(GRID.columns, [], "no clusters"))


def test_table_on_terminal_keeps_ids_whole() -> None:
    """On a narrow terminal long ids are folded, not cut, and markup of others is not obeyed."""
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, width=20, color_system=None)
    terminal.print(drawn([Grid(GRID.columns, [{"name": "[bold]" + "a" * 30, "count": 1}]), Text("end")]))

    shown = file.getvalue().replace("\n", "").replace(" ", "").replace("1", "")
    assert "[bold]" + "a" * 30 in shown


def test_show_writes_the_form_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """The same answer as a table, JSON, one line of JSON, or YAML."""
    answer = listing([{"name": "a", "count": 1}], GRID.columns, "none")
    shown = []
    for form, many in ((Format.TABLE, False), (Format.JSON, False), (Format.JSON, True), (Format.YAML, False)):
        show(answer, form, one_of_many=many)
        shown.append(capsys.readouterr().out)

    one_line = '[{"name": "a", "count": 1}]\n'
    assert ["NAME  COUNT\na         1\n", one_line, "- name: a\n  count: 1\n"] == [shown[0], shown[2], shown[3]]
    assert json.loads(one_line) == json.loads(shown[1])


def test_say_cleans_each_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence about something hostile cannot steer the terminal; faults keep their lines."""
    say("2 faults\n  one: \x1b[2J\n  two: x")

    assert "2 faults\n  one: \N{REPLACEMENT CHARACTER}[2J\n  two: x\n" == capsys.readouterr().err


def test_answer_without_blocks_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """For people an answer is its blocks."""
    show(Answer({"a": 1}, ()), Format.TABLE)

    assert "" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, "-"), (0.4, "0s"), (119, "119s"), (120, "2m"), (7_199, "119m"), (7_200, "2h"), (172_800, "2d")],
)
def test_age(seconds: float | None, expected: str) -> None:
    """One short word, in the largest unit of which there are two."""
    assert expected == age(seconds)


def test_age_is_never_negative() -> None:
    """A clock that is ahead makes something new, not younger than now."""
    assert (0.0, 5.0, None) == (seconds_since(later(9), NOW), seconds_since(later(-5), NOW), seconds_since(None, NOW))


def test_milliseconds() -> None:
    """Short durations in milliseconds, longer ones in seconds."""
    assert ("450ms", "1.2s", "-") == (milliseconds(450), milliseconds(1_240), milliseconds(None))


def test_coloured() -> None:
    """A state has its colour; any other word none."""
    assert ("green", "bold red", "") == tuple(str(coloured(word).style) for word in ("HEALTHY", "CRITICAL", "whatever"))
