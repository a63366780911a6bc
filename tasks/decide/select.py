"""Label selectors, as kubectl has them: `env=prod,tier!=cache,zone in (a,b),team notin (x),owner,!retired`.

All requirements must hold. `!=` and `notin` also match where the label is not there. A value with other characters than
letters, digits and `-._:/@+` stands in double quotes; `env=` asks for the empty value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from blocks.models.search import MatchOp
from tasks.decide.scan import Scanner, quote

REQUIREMENTS_MAX: Final = 100
VALUES_MAX: Final = 200

_KEY: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?(?![A-Za-z0-9._/-])")
_BARE: Final = re.compile(r"[A-Za-z0-9._:/@+-]+")
_WORD: Final = re.compile(r"(in|notin)(?=[\s(]|\Z)")
_SIGN: Final = re.compile(r"==|!=|=")
_NOT: Final = re.compile(r"!(?!=)")
_COMMA: Final = re.compile(r",")
_OPEN: Final = re.compile(r"\(")
_CLOSE: Final = re.compile(r"\)")
_WHAT: Final = "label selector"


@dataclass(frozen=True, slots=True)
class Requirement:
    """What one label must be."""

    key: str
    op: MatchOp
    values: tuple[str, ...] = ()
    """One for eq and ne, one or more for in and not-in, none for set and unset."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels fit."""
        value = labels.get(self.key)
        match self.op:
            case MatchOp.EQ | MatchOp.IN:
                return value is not None and value in self.values
            case MatchOp.NE | MatchOp.NOT_IN:
                return value is None or value not in self.values
            case _:
                return (value is not None) == (self.op is MatchOp.SET)

    def __str__(self) -> str:
        written = [value if _BARE.fullmatch(value) else quote(value) for value in self.values]
        match self.op:
            case MatchOp.EQ | MatchOp.NE:
                return f"{self.key}{'=' if self.op is MatchOp.EQ else '!='}{written[0]}"
            case MatchOp.IN | MatchOp.NOT_IN:
                return f"{self.key} {'in' if self.op is MatchOp.IN else 'notin'} ({','.join(written)})"
            case _:
                return self.key if self.op is MatchOp.SET else f"!{self.key}"


@dataclass(frozen=True, slots=True)
class Selector:
    """What labels must be: all of it."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels fit all requirements; none are fitted by all labels."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


def parse_selector(text: str) -> Selector:
    """Read a selector; one of blanks only asks for nothing.

    Raises:
        InvalidInputError: it is none; the message says what is wrong at which character.
    """
    scanner = Scanner(text, _WHAT)
    requirements: list[Requirement] = []
    while not (scanner.ended and not requirements):
        requirements.append(_requirement(scanner))
        if scanner.ended:
            break
        if len(requirements) == REQUIREMENTS_MAX:
            scanner.fail(f"no more than {REQUIREMENTS_MAX} requirements")
        if scanner.take(_COMMA) is None:
            scanner.fail("a comma, or the end")
    return Selector(tuple(requirements))


def parse_selectors(texts: Iterable[str]) -> Selector:
    """Read several selectors: all of them must be fitted.

    Raises:
        InvalidInputError: one of them is none.
    """
    return Selector(tuple(requirement for text in texts for requirement in parse_selector(text).requirements))


def written(labels: Mapping[str, str]) -> str:
    """Labels in the form of a selector that asks for all of them, sorted by key."""
    return ",".join(str(Requirement(key, MatchOp.EQ, (value,))) for key, value in sorted(labels.items()))


def _requirement(scanner: Scanner) -> Requirement:
    unset = scanner.take(_NOT) is not None
    key = scanner.take(_KEY)
    if key is None:
        scanner.fail("the key of a label")
    if unset:
        return Requirement(key, MatchOp.UNSET)
    sign = scanner.take(_SIGN)
    if sign is not None:
        return Requirement(key, MatchOp.NE if sign == "!=" else MatchOp.EQ, (_value(scanner) or "",))
    word = scanner.take(_WORD)
    if word is not None:
        return Requirement(key, MatchOp.IN if word == "in" else MatchOp.NOT_IN, _values(scanner))
    return Requirement(key, MatchOp.SET)


def _values(scanner: Scanner) -> tuple[str, ...]:
    if scanner.take(_OPEN) is None:
        scanner.fail("values in parentheses")
    values: list[str] = []
    while True:
        value = _value(scanner)
        if value is None:
            scanner.fail('a value (the empty one is "")')
        values.append(value)
        if scanner.take(_CLOSE) is not None:
            return tuple(values)
        if len(values) == VALUES_MAX:
            scanner.fail(f"no more than {VALUES_MAX} values")
        if scanner.take(_COMMA) is None:
            scanner.fail("a comma or a closing parenthesis")


def _value(scanner: Scanner) -> str | None:
    quoted = scanner.quoted()
    return quoted if quoted is not None else scanner.take(_BARE)
