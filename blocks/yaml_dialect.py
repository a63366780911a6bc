"""The YAML that is read and written here: plain scalars are what YAML 1.2 makes of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import yaml

DIGITS_MAX = 400

_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NUMBER_FIRST = frozenset("-+.0123456789")


def plain_scalar(text: str) -> object:
    """What YAML 1.2 makes of a scalar without quotes."""
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


def write_yaml(documents: Iterable[object], *, ascii_only: bool = False, start: bool = True, width: int = 80) -> str:
    """What JSON can say as YAML that `read_yaml` and readers of YAML 1.1 read as the same.

    Args:
        documents: each becomes one document.
        ascii_only: whether other characters are escaped.
        start: whether each begins with a line `---`; several always do.
        width: lines are folded at about so many characters.
    """
    return str(
        yaml.dump_all(
            documents,
            Dumper=_Writer,
            sort_keys=False,
            allow_unicode=not ascii_only,
            explicit_start=start or None,
            width=width,
        )
    )


class _Writer(yaml.CSafeDumper):
    """Quotes texts that would be something else in YAML 1.2, besides those of YAML 1.1."""


def _text(writer: _Writer, text: str) -> yaml.ScalarNode:
    style = None if isinstance(plain_scalar(text), str) else "'"
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style)


_Writer.add_representer(str, _text)
