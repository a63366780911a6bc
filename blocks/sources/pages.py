"""Answers of the discovery protocol as pages: pure functions."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NoReturn

import orjson

from blocks.errors import SourceError

CURSOR_CHARS_MAX = 8_192
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a source."""

    clusters: list[object]
    cursor: str | None
    """What to ask with for the next page; None on the last."""
    file: str | None = None
    """The file that it is, which is named with each record; of a record that is none, nothing is shown then."""


def read_page(body: bytes) -> Page:
    """Read one answer.

    Raises:
        SourceError: it is not JSON, or not of the discovery protocol.
    """
    try:
        value = _value_in(body)
    except (ValueError, RecursionError) as error:
        message = "the answer is not JSON"
        raise SourceError(message) from error
    return page_of(value)


def _value_in(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except ValueError:
        if not _HALF_CHARACTER.search(body):
            raise
    # orjson takes no text with half a character (a lone surrogate): this costs its record, not the whole answer.
    return json.loads(body.decode(), parse_constant=_no_number)


def _no_number(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


def page_of(value: object) -> Page:
    """Read one answer that is JSON.

    Raises:
        SourceError: it is not of the discovery protocol.
    """
    answer = value if isinstance(value, dict) else {}
    clusters = answer.get("clusters")
    if not isinstance(clusters, list):
        message = "the answer has no list of clusters"
        raise SourceError(message)
    cursor = answer.get("cursor")
    if cursor is not None and (not isinstance(cursor, str) or len(cursor) > CURSOR_CHARS_MAX):
        message = f"the cursor is neither null nor a text of at most {CURSOR_CHARS_MAX} characters"
        raise SourceError(message)
    return Page(clusters, cursor or None)
