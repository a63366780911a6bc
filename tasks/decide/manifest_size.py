"""How big a manifest may be, counted before anything else walks through it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from blocks.errors import InvalidInputError
from blocks.models.base import JSON_BYTES_MAX, JSON_DEPTH_MAX, Json

DOCUMENTS_MAX = 1_000
VALUES_MAX = 100_000
"""So many values may be in one document, each counted as often as YAML aliases repeat it."""
CHARS_MAX = 2 * 1024 * 1024
"""So many characters its texts may have together, counted alike: the store keeps no record of more than 16 MiB."""
DEPTH_MAX = JSON_DEPTH_MAX + 2
"""The document and its spec around the deepest arguments."""
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1


def check_size(document: Mapping[Any, Any]) -> None:
    """Refuse what is nested too deeply, or is far bigger than its text (YAML aliases).

    Raises:
        InvalidInputError: it is, or a number in it does not fit into 64 bits.
    """
    left, chars_left = VALUES_MAX, CHARS_MAX
    todo: list[tuple[Any, int]] = [(document, 1)]
    while todo:
        value, depth = todo.pop()
        if isinstance(value, int) and not INTEGER_MIN <= value <= INTEGER_MAX:
            message = f"a number of {value.bit_length()} bits in it does not fit into 64 bits"
            raise InvalidInputError(message)
        inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
        left -= 1 + len(inside)
        chars_left -= _chars(value)
        if chars_left < 0:
            message = f"there are more than {CHARS_MAX} characters in it"
            raise InvalidInputError(message)
        if left < 0:
            message = f"there are more than {VALUES_MAX} values in it"
            raise InvalidInputError(message)
        if inside and depth > DEPTH_MAX:
            message = f"it is nested deeper than {DEPTH_MAX} levels"
            raise InvalidInputError(message)
        todo.extend((one, depth + 1) for one in inside)


def _chars(value: object) -> int:
    """How many characters are in a text, or in the keys of a mapping."""
    if isinstance(value, str | bytes):
        return len(value)
    return sum(len(key) for key in value if isinstance(key, str)) if isinstance(value, Mapping) else 0


def as_json(value: object) -> str:
    """A value as JSON text.

    Raises:
        InvalidInputError: JSON has no form for something in it.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except ValueError as error:
        message = (
            "there is something in it that JSON has no form for: NaN, an infinite number, or half of a Unicode pair"
        )
        raise InvalidInputError(message) from error
    return text


def bounded(args: Json, what: str = "args are") -> Json:
    """Arguments that are small enough for an agent or a platform.

    Args:
        args: the arguments.
        what: how the error begins.

    Raises:
        InvalidInputError: they are not; measured as the bytes that travel.
    """
    if len(as_json(args).encode()) > JSON_BYTES_MAX:
        message = f"{what} larger than {JSON_BYTES_MAX} bytes"
        raise InvalidInputError(message)
    return args
