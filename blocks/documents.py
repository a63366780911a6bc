"""YAML and JSON from people, read strictly: nothing in it that could be meant in two ways, and nothing that could explode.

Guarantees: a key that is given twice, text that is nested too deeply, tags, and aliases that would unfold to very much or
refer to themselves are refused; what comes out is what JSON can say, but for numbers that are not finite. Plain scalars are
what YAML 1.2 makes of them (`yes`, `on` and dates are texts), keys are texts as they are written.
Errors say the line and the column and never repeat what stands there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

import yaml

from blocks.errors import PermanentError
from blocks.yaml_dialect import plain_scalar

DEPTH_MAX = 64
VALUES_MAX = 2_000_000
"""How many values a text may hold, each alias counted as all that it stands for."""
CHARS_MAX = 64 * 1024 * 1024
"""How many characters its keys and values may have together, each alias counted as all that it stands for."""

_NOT_JSON = "it is not JSON"
_DEEP = "it is nested too deeply"
_TWICE = "a key is given twice in one object"
_NO_NUMBER = "a number in it is not finite, or has too many digits"
_BAD_CHARACTER = "it is not YAML (a character that may not be in it)"

_SPACE = re.compile(r"[ \t\r\n]*")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


class DocumentError(PermanentError):
    """A text cannot be understood."""

    document = 1
    """Which document of the text it is, counted from one."""
    key: str | None = None
    """The key that is given twice. It is not in the message: it may be a secret that is in a wrong place."""

    def __init__(self, reason: str, line: int | None = None, column: int | None = None) -> None:
        """Take what is wrong, and where, counted from one."""
        where = "" if line is None else f" at line {line}, column {column}"
        super().__init__(f"{reason}{where}")


def read_json(text: str) -> object:
    """The value in a JSON text.

    Raises:
        DocumentError: it is not JSON, or repeats a key.
    """
    with _json_of(text):
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)


def read_json_texts(text: str) -> list[object]:
    """The values of a text of one or more JSON texts after each other, such as JSON lines.

    Raises:
        DocumentError: it is not that, or repeats a key.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number)
    values: list[object] = []
    at = _after_space(text, 0)
    with _json_of(text):
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            values.append(value)
            at = _after_space(text, at)
    return values


@contextmanager
def _json_of(text: str) -> Iterator[None]:
    """What the parser finds wrong with a text, as we say it."""
    try:
        yield
    except json.JSONDecodeError as error:
        raise DocumentError(_NOT_JSON, error.lineno, error.colno) from None
    except RecursionError:
        raise DocumentError(_DEEP) from None
    except _RepeatedKeyError:
        raise _twice(text) from None
    except ValueError:
        raise DocumentError(_NO_NUMBER) from None


def _after_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return at if space is None else space.end()


def read_yaml(text: str, chars_max: int = CHARS_MAX) -> list[object]:
    """The values of all documents in a YAML text; of an empty document None.

    Args:
        text: any text.
        chars_max: so many characters may be in it, aliases unfolded.

    Raises:
        DocumentError: it is not YAML, repeats a key, is nested too deeply, or would unfold to too much.
    """
    reader = _Reader(chars_max)
    try:
        _read(text, reader)
    except DocumentError as error:
        error.document = len(reader.documents) + 1
        raise
    return reader.documents


def _read(text: str, reader: _Reader) -> None:
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


class _Weight(NamedTuple):
    """How big something is, aliases unfolded."""

    values: int
    chars: int


@dataclass(slots=True)
class _Open:
    """A list or an object that has not ended yet."""

    value: list[object] | dict[str, object]
    anchor: str | None
    before: _Weight
    """What had been read when it began."""
    key: str | None = None
    """Of an object: the key that waits for its value."""
    merges: bool = False
    """Whether its key `<<` is YAML's merge key: one in quotes is a key like others."""


@dataclass(slots=True)
class _Reader:
    """Makes values of a stream of YAML events. Not recursive: depth is a number here, not a stack that overflows."""

    chars_max: int
    documents: list[object] = field(default_factory=list)
    opened: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[object, _Weight] | None] = field(default_factory=dict)
    """Values and their weights; None while the value is still open."""
    values: int = 0
    chars: int = 0
    """Of all documents so far."""

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
            value, weight = known
            self._weigh(event, *weight)
            self._add(event, value)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.anchors.clear()

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if event.tag not in {None, "!", "tag:yaml.org,2002:str"}:
            _fail("tags are not understood", event)
        chars = len(event.value)
        inner = self.opened[-1] if self.opened else None
        if inner is not None and isinstance(inner.value, dict) and inner.key is None:
            self._weigh(event, 0, chars)
            self._take_key(event, inner, inner.value)
            return
        self._weigh(event, 1, chars)
        value = plain_scalar(event.value) if event.implicit[0] and event.tag is None else event.value
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, _Weight(1, chars))
        self._add(event, value)

    def _take_key(self, event: yaml.ScalarEvent, inner: _Open, value: dict[str, object]) -> None:
        if event.value in value:
            error = _error(_TWICE, event)
            error.key = event.value
            raise error
        if event.anchor is not None:
            self.anchors[event.anchor] = (event.value, _Weight(1, len(event.value)))
        inner.key = event.value
        inner.merges |= event.value == "<<" and event.implicit[0]

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        if event.tag not in {None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            _fail("tags are not understood", event)
        if len(self.opened) >= DEPTH_MAX:
            _fail(_DEEP, event)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        before = _Weight(self.values, self.chars)
        self._weigh(event, 1, 0)
        self.opened.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor, before))

    def _end(self, event: yaml.CollectionEndEvent) -> None:
        closed = self.opened.pop()
        value = closed.value
        if isinstance(value, dict) and closed.merges:
            value = _merged(value, event)
        if closed.anchor is not None:
            weight = _Weight(self.values - closed.before.values, self.chars - closed.before.chars)
            self.anchors[closed.anchor] = (value, weight)
        self._add(event, value)

    def _weigh(self, event: yaml.Event, values: int, chars: int) -> None:
        self.values += values
        self.chars += chars
        if self.values > VALUES_MAX:
            _fail(f"it holds more than {VALUES_MAX} values, aliases unfolded", event)
        if self.chars > self.chars_max:
            _fail(f"it holds more than {self.chars_max} characters, aliases unfolded", event)

    def _add(self, event: yaml.Event, value: object) -> None:
        if not self.opened:
            self.documents.append(value)
            return
        inner = self.opened[-1]
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


def _fail(reason: str, event: yaml.Event) -> NoReturn:
    raise _error(reason, event)


def _error(reason: str, event: yaml.Event) -> DocumentError:
    mark = event.start_mark
    return DocumentError(reason, *(() if mark is None else (mark.line + 1, mark.column + 1)))


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
