"""Conditions on the fields of a listing: `health!=HEALTHY,lag_worst_ms>5s,labels.env=prod,stores~mongo`.

Each is FIELD OP VALUE with = (or ==), !=, <, <=, >, >= and ~ (contains, whatever the case); all must hold. A field may lead
into an object (`roles.primary`). What a value may be depends on the field:

- a number; where the field ends in `_s` or `_ms` also a duration: `500ms`, `90s`, `5m`, `2h`, `1d`, `1w`;
- a time in RFC 3339 (without a zone: UTC);
- one of the words of an enum, whatever the case; they are ordered as they are declared, the worst last;
- a text, exactly; ordered with the numbers in it as numbers, as versions are;
- a list has it, or has none of it (`!=`), or one of its texts contains it (`~`);
- `null`, or nothing: there is no value, an empty text or an empty list. Nothing is smaller or greater than that.

A value with a comma, or with quotes or an operator at its beginning, stands in double quotes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from operator import eq, ge, gt, le, lt
from typing import Any, Final

from blocks.errors import InvalidInputError
from tasks.decide.scan import Scanner, quote

Fields = Mapping[str, type]
"""By name, what a field holds where it is not null: str, bool, int, float, datetime, an enum, `list` or `dict`."""

CONDITIONS_MAX: Final = 100

_WHAT: Final = "condition"
_FIELD: Final = re.compile(r"[^\s=!<>~,\"]+")
_OP: Final = re.compile(r"==|!=|<=|>=|=|<|>|~")
_BARE: Final = re.compile(r"[^\s\",=!<>~](?:[^,]*[^,\s])?")
_COMMA: Final = re.compile(r",")
_NULL: Final = "null"
_DURATION: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(ms|s|m|h|d|w)")
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_NUMBER: Final = re.compile(r"[-+]?\d{1,30}(?:\.\d{1,30})?(?:[eE][-+]?\d{1,3})?")
_DIGITS: Final = re.compile(r"(\d+)")
_BOOLEANS: Final = {"true": True, "yes": True, "false": False, "no": False}


class Compare(StrEnum):
    """How a field is compared."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    HAS = "~"


_ORDER: Final[Mapping[Compare, Callable[[Any, Any], bool]]] = {
    Compare.LT: lt,
    Compare.LE: le,
    Compare.GT: gt,
    Compare.GE: ge,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """What one field must be."""

    field: str
    compare: Compare
    value: str | None
    """As written, without quotes; None means null."""
    type: type
    """Of the field, as far as it is known: `object` inside of objects."""

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether it holds for a row."""
        found = _reached(row, self.field)
        match self.compare:
            case Compare.EQ:
                return self._equals(found)
            case Compare.NE:
                return not self._equals(found)
            case Compare.HAS:
                return self._contains(found)
            case _:
                return self._ordered(found)

    def _equals(self, found: object) -> bool:
        if self.value is None:
            return _is_nothing(found)
        if isinstance(found, list | tuple):
            return any(self._equals(one) for one in found)
        if found is None or isinstance(found, Mapping):
            return False
        if isinstance(found, Enum | str):
            text = str(found.value if isinstance(found, Enum) else found)
            return text.casefold() == self.value.casefold() if isinstance(found, Enum) else text == self.value
        return bool(eq(found, _operand(self.field, type(found), self.value)))

    def _contains(self, found: object) -> bool:
        if isinstance(found, list | tuple):
            return any(self._contains(one) for one in found)
        if found is None or isinstance(found, Mapping):
            return False
        return (self.value or "").casefold() in _text(found).casefold()

    def _ordered(self, found: object) -> bool:
        if self.value is None or found is None or isinstance(found, Mapping | list | tuple | bool):
            return False
        if isinstance(found, Enum):
            members = list(type(found))
            wanted = _operand(self.field, type(found), self.value)
            return wanted in members and _ORDER[self.compare](members.index(found), members.index(wanted))
        if isinstance(found, str):
            return _ORDER[self.compare](_naturally(found), _naturally(self.value))
        operand = _operand(self.field, type(found), self.value)
        return operand is not None and _ORDER[self.compare](found, operand)

    def __str__(self) -> str:
        bare = self.value is not None and self.value.casefold() != _NULL and _BARE.fullmatch(self.value)
        return f"{self.field}{self.compare}{_NULL if self.value is None else self.value if bare else quote(self.value)}"


def parse_conditions(texts: Iterable[str], fields: Fields) -> tuple[Condition, ...]:
    """Read conditions on a listing with these fields; all of them must hold.

    Raises:
        InvalidInputError: one is none, or is about a field that is not there, or has a value that the field cannot have.
    """
    conditions: list[Condition] = []
    for text in texts:
        scanner = Scanner(text, _WHAT)
        while True:
            conditions.append(_condition(scanner, fields))
            if scanner.ended:
                break
            if len(conditions) >= CONDITIONS_MAX:
                scanner.fail(f"no more than {CONDITIONS_MAX} conditions")
            if scanner.take(_COMMA) is None:
                scanner.fail("a comma, or the end")
    return tuple(conditions)


def _condition(scanner: Scanner, fields: Fields) -> Condition:
    field = scanner.take(_FIELD)
    if field is None:
        scanner.fail("the name of a field")
    type_ = _type_of(field, fields)
    sign = scanner.take(_OP)
    if sign is None:
        scanner.fail("one of = == != < <= > >= ~")
    compare = Compare("=" if sign == "==" else sign)
    value = scanner.quoted()
    if value is None:
        value = scanner.take(_BARE)
        if value is None and not (scanner.ended or scanner.comes(_COMMA)):
            scanner.fail("a value; one that begins like an operator stands in double quotes")
        value = None if value is None or value.casefold() == _NULL else value
    _check(field, type_, compare, value)
    return Condition(field, compare, value, type_)


def _type_of(field: str, fields: Fields) -> type:
    if field in fields:
        return fields[field]
    root, dot, _ = field.partition(".")
    if dot and fields.get(root) is dict:
        return object
    inside = sorted(f"{name}.NAME" for name, type_ in fields.items() if type_ is dict)
    known = ", ".join([*sorted(fields), *inside])
    message = f"there is no field {field!r} to put a condition on; there are: {known}"
    raise InvalidInputError(message)


def _check(field: str, type_: type, compare: Compare, value: str | None) -> None:
    """Refuse what could never hold."""
    if compare in _ORDER and (value is None or type_ in {bool, list, dict}):
        kind = "null" if value is None else {bool: "true or false", list: "a list", dict: "an object"}[type_]
        what = "nothing is smaller or greater than null" if value is None else f"{field} is {kind}, which has no order"
        message = f"condition on {field}: {what}; use = or !="
        raise InvalidInputError(message)
    if value is None and compare is Compare.HAS:
        message = f"condition on {field}: ~ needs a text that the field should contain"
        raise InvalidInputError(message)
    if value is None:
        return
    if type_ is dict:
        message = f"condition on {field}: it is an object; write {field}.NAME"
        raise InvalidInputError(message)
    if compare is Compare.HAS or _operand(field, type_, value) is not None:
        return
    if issubclass(type_, Enum):
        wanted = f"one of {', '.join(str(member.value) for member in type_)}"
    elif type_ is datetime:
        wanted = "a time such as 2026-01-31T12:00:00Z"
    elif type_ is bool:
        wanted = "true or false"
    else:
        wanted = "a number" + (" or a duration such as 90s, 5m, 2h" if field.endswith(("_s", "_ms")) else "")
    message = f"condition on {field}: {value!r} is not {wanted}"
    raise InvalidInputError(message)


def _operand(field: str, type_: type, value: str) -> Any:
    """The value in the field's type, or None where it has no such form."""
    if issubclass(type_, bool):
        return _BOOLEANS.get(value.casefold())
    if issubclass(type_, Enum):
        return next((one for one in type_ if str(one.value).casefold() == value.casefold()), None)
    if issubclass(type_, datetime):
        return _moment(value)
    if issubclass(type_, int | float):
        return _number(field, value)
    return value


def _number(field: str, value: str) -> int | float | None:
    if _NUMBER.fullmatch(value):
        number = float(value)
        return int(value) if value.lstrip("+-").isdecimal() else number if math.isfinite(number) else None
    match = _DURATION.fullmatch(value)
    if match is None or not field.endswith(("_s", "_ms")):
        return None
    seconds = float(match[1]) * _SECONDS[match[2]]
    return seconds * 1_000 if field.endswith("_ms") else seconds


def _moment(value: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _reached(value: object, path: str) -> object:
    """What a path leads to. Names may have dots in them: the longest that is there counts."""
    if not isinstance(value, Mapping):
        return None
    if path in value:
        return value[path]
    at = path.rfind(".")
    while at > 0:
        if path[:at] in value:
            return _reached(value[path[:at]], path[at + 1 :])
        at = path.rfind(".", 0, at)
    return None


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str | list | tuple | Mapping) and not value)


def _text(value: object) -> str:
    """A value as the machine form has it."""
    match value:
        case Enum():
            return str(value.value)
        case bool():
            return str(value).lower()
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case _:
            return str(value)


def _naturally(text: str) -> list[tuple[int, str]]:
    """Sorts `8.0.9` before `8.0.10`."""
    return [
        (len(part.lstrip("0")), part.lstrip("0")) if at % 2 else (-1, part)
        for at, part in enumerate(_DIGITS.split(text))
    ]
