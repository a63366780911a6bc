"""YAML and JSON from people, read strictly: nothing in it that could be meant in two ways, and nothing that could explode.

Guarantees: a key that is given twice, text that is nested too deeply, tags, and aliases that would unfold to very much or
refer to themselves are refused; what comes out is what JSON can say, but for numbers that are not finite. Plain scalars are
what YAML 1.2 makes of them (`yes`, `on` and dates are texts), keys are texts as they are written.
Errors say the line and the column and never repeat what stands there.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import NoReturn

import yaml

from blocks.errors import PermanentError

DEPTH_MAX = 64
VALUES_MAX = 2_000_000
"""How many values a text may hold, each alias counted as all that it stands for."""
DIGITS_MAX = 400

_NOT_JSON = "it is not JSON"
_DEEP = "it is nested too deeply"
_TWICE = "a key is given twice in one object"
_NO_NUMBER = "a number in it is not finite, or has too many digits"
_BAD_CHARACTER = "it is not YAML (a character that may not be in it)"

_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NUMBER_FIRST = frozenset("-+.0123456789")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


class DocumentError(PermanentError):
    """A text cannot be understood."""

    def __init__(self, reason: str, line: int | None = None, column: int | None = None) -> None:
        """Take what is wrong, and where, counted from one."""
        where = "" if line is None else f" at line {line}, column {column}"
        super().__init__(f"{reason}{where}")


def read_json(text: str) -> object:
    """The value in a JSON text.

    Raises:
        DocumentError: it is not JSON, or repeats a key.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise DocumentError(_NOT_JSON, error.lineno, error.colno) from None
    except RecursionError:
        raise DocumentError(_DEEP) from None
    except _RepeatedKeyError:
        raise _twice(text) from None
    except ValueError:
        raise DocumentError(_NO_NUMBER) from None


def read_yaml(text: str) -> list[object]:
    """The values of all documents in a YAML text; of an empty document None.

    Raises:
        DocumentError: it is not YAML, repeats a key, is nested too deeply, or would unfold to too much.
    """
    reader = _Reader()
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = f"it is not YAML ({_QUOTED.sub('...', error.problem or error.context or 'nobody knows why')})"
        raise DocumentError(reason, *(() if mark is None else (mark.line + 1, mark.column + 1))) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise DocumentError(_BAD_CHARACTER, line, column) from None
    except (yaml.YAMLError, UnicodeError):
        raise DocumentError(_BAD_CHARACTER) from None
    return reader.documents


@dataclass(slots=True)
class _Open:
    """A list or an object that has not ended yet."""

    value: list[object] | dict[str, object]
    anchor: str | None
    weight: int = 1
    """How many values it unfolds to."""
    key: str | None = None
    """Of an object: the key that waits for its value."""


@dataclass(slots=True)
class _Reader:
    """Makes values of a stream of YAML events. Not recursive: depth is a number here, not a stack that overflows."""

    documents: list[object] = field(default_factory=list)
    opened: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[object, int] | None] = field(default_factory=dict)
    """Values and their weights; None while the value is still open."""
    total: int = 0

    def take(self, event: yaml.Event) -> None:
        """Take the next event."""
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end(event)
        elif isinstance(event, yaml.AliasEvent):
            known = self.anchors.get(event.anchor or "")
            if known is None:
                _fail("an alias refers to nothing before it, or to what it is in", event)
            self._add(event, *known)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.anchors.clear()

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if event.tag not in {None, "!", "tag:yaml.org,2002:str"}:
            _fail("tags are not understood", event)
        inner = self.opened[-1] if self.opened else None
        if inner is not None and isinstance(inner.value, dict) and inner.key is None:
            self._take_key(event, inner, inner.value)
            return
        value = _plain(event) if event.implicit[0] and event.tag is None else event.value
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1)
        self._add(event, value, 1)

    def _take_key(self, event: yaml.ScalarEvent, inner: _Open, value: dict[str, object]) -> None:
        if event.value in value:
            _fail(_TWICE, event)
        if event.anchor is not None:
            self.anchors[event.anchor] = (event.value, 1)
        inner.key = event.value

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        if event.tag not in {None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            _fail("tags are not understood", event)
        if len(self.opened) >= DEPTH_MAX:
            _fail(_DEEP, event)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.opened.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor))

    def _end(self, event: yaml.CollectionEndEvent) -> None:
        closed = self.opened.pop()
        value = closed.value
        if isinstance(value, dict) and "<<" in value:
            value = _merged(value, event)
        if closed.anchor is not None:
            self.anchors[closed.anchor] = (value, closed.weight)
        self._add(event, value, closed.weight)

    def _add(self, event: yaml.Event, value: object, weight: int) -> None:
        self.total += 1
        if not self.opened:
            self.documents.append(value)
            return
        inner = self.opened[-1]
        inner.weight += weight
        if max(inner.weight, self.total) > VALUES_MAX:
            _fail(f"it holds more than {VALUES_MAX} values, aliases unfolded", event)
        if isinstance(inner.value, list):
            inner.value.append(value)
        elif inner.key is None:
            _fail("a key is not a text", event)
        else:
            inner.value[inner.key] = value
            inner.key = None


def _merged(value: dict[str, object], event: yaml.Event) -> dict[str, object]:
    merged = value.pop("<<")
    parts = merged if isinstance(merged, list) else [merged]
    result: dict[str, object] = {}
    for part in reversed(parts):
        if not isinstance(part, dict):
            _fail("'<<' needs an object", event)
        result.update(part)
    result.update(value)
    return result


def _plain(event: yaml.ScalarEvent) -> object:
    """What YAML 1.2 makes of a scalar without quotes."""
    text: str = event.value
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_FIRST or len(text) > DIGITS_MAX:
        return text
    return _number(text)


def _number(text: str) -> object:
    if _INT.fullmatch(text):
        return int(text, 8) if text.startswith("0o") else int(text, 16) if text.startswith("0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


def _fail(reason: str, event: yaml.Event) -> NoReturn:
    mark = event.start_mark
    raise DocumentError(reason, *(() if mark is None else (mark.line + 1, mark.column + 1)))


def _twice(text: str) -> DocumentError:
    # JSON's reader does not say where. YAML's does, and can read nearly all JSON.
    try:
        read_yaml(text)
    except DocumentError as error:
        if str(error).startswith(_TWICE):
            return error
    return DocumentError(_TWICE)


class _RepeatedKeyError(Exception):
    """A JSON object has a key twice."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _RepeatedKeyError
    return made


def _no_number(_: str) -> NoReturn:
    raise ValueError
