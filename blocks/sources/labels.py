"""Labels as sources tell of them: those that fit are used, and it is said which do not."""

from __future__ import annotations

import math
from collections.abc import Callable

import orjson
from pydantic import TypeAdapter, ValidationError

from blocks.models.base import LabelKey, Labels, LabelValue, clean_text

LABELS_MAX = 64
SHOWN_CHARS = 80

_ALL = TypeAdapter[dict[str, str]](Labels)
_KEY = TypeAdapter[str](LabelKey)
_VALUE = TypeAdapter[str](LabelValue)


def read_labels(value: object, without_secrets: Callable[[str], str]) -> tuple[dict[str, str], str | None]:
    """The labels that fit, and in one sentence what was left out and why. Numbers and booleans become their JSON text.

    Args:
        value: what the source tells.
        without_secrets: makes a text of it fit to be shown.
    """
    if value is None:
        return {}, None
    if not isinstance(value, dict):
        return {}, "labels: it is not an object"
    try:
        return _ALL.validate_python(value, strict=True), None
    except ValidationError:
        return _one_by_one(value, without_secrets)


def merged_labels(first: dict[str, str], more: dict[str, str]) -> tuple[dict[str, str], str | None]:
    """All labels of both, of two values of one the smaller; in one sentence what was too much: of all, the last ones."""
    both = {**first, **{key: min(value, first.get(key, value)) for key, value in more.items()}}
    left_out = len(both) - LABELS_MAX
    if left_out <= 0:
        return both, None
    return dict(sorted(both.items())[:LABELS_MAX]), f"labels: {left_out} left out: there are more than {LABELS_MAX}"


def _one_by_one(
    value: dict[object, object], without_secrets: Callable[[str], str]
) -> tuple[dict[str, str], str | None]:
    fitting: dict[str, str] = {}
    left_out = 0
    first: str | None = None
    for key, label in value.items():
        why = f"there are more than {LABELS_MAX}" if len(fitting) >= LABELS_MAX else _take(fitting, key, label)
        if why is not None:
            left_out += 1
            first = first or f"{clean_text(without_secrets(str(key)), SHOWN_CHARS)!r}: {why}"
    return fitting, None if first is None else f"labels: {left_out} left out, the first is {first}"


def _take(fitting: dict[str, str], key: object, label: object) -> str | None:
    """Add one that fits; why it does not."""
    text = _text(label)
    if text is None:
        return "its value is neither a text nor a number nor a boolean"
    try:
        key = _KEY.validate_python(key, strict=True)
    except ValidationError:
        return "a label's key has letters, digits and '._/-' only, and at most 128 of them"
    try:
        fitting[key] = _VALUE.validate_python(text, strict=True)
    except ValidationError:
        return "a label's value has at most 256 characters, none of them control characters, and no blanks at its ends"
    return None


def _text(label: object) -> str | None:
    if isinstance(label, str):
        return label
    if isinstance(label, bool):
        return "true" if label else "false"
    if isinstance(label, int):
        return str(label) if label.bit_length() <= 256 else None  # noqa: PLR2004 - longer ones cannot be meant
    if isinstance(label, float) and math.isfinite(label):
        return orjson.dumps(label).decode()
    return None
