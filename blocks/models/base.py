"""What every fact has in common: frozen, bounded, aware of its own version in the store."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

ID_CHARS_MAX = 256
TEXT_CHARS_MAX = 2_000
JSON_DEPTH_MAX = 16
JSON_BYTES_MAX = 64 * 1024

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

Json = JsonValue


class Fact(BaseModel):
    """A frozen value. Unknown fields are ignored, so that a newer writer does not stop an older reader."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_timedelta="float")

    def evolve(self, **changes: Any) -> Self:
        """A copy with `changes`, validated again."""
        return type(self).model_validate({**dict(self), **changes})


def clean_text(text: object, chars_max: int = TEXT_CHARS_MAX) -> str:
    """Make a text from outside harmless: no control or direction characters, no lone surrogates, at most `chars_max` long."""
    cleaned = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(text))
    return cleaned if len(cleaned) <= chars_max else cleaned[: chars_max - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _check_id(value: str) -> str:
    if _CONTROL.search(value) or value.strip() != value or value in {".", ".."}:
        msg = "an id has no control characters, no blanks at its ends and is not '.' or '..'"
        raise ValueError(msg)
    return value


def _check_label(value: str) -> str:
    if _CONTROL.search(value) or value.strip() != value:
        msg = "a label's value has no control characters and no blanks at its ends"
        raise ValueError(msg)
    return value


def _to_utc_ms(value: datetime) -> datetime:
    if value.tzinfo is None:
        msg = "a time needs a time zone"
        raise ValueError(msg)
    value = value.astimezone(UTC)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


Name = Annotated[
    str, Field(pattern=r"^[a-z0-9]([-a-z0-9._]{0,61}[a-z0-9])?$", description="lower-case name, at most 63 characters")
]
Id = Annotated[str, Field(min_length=1, max_length=ID_CHARS_MAX), AfterValidator(_check_id)]
Text = Annotated[str, AfterValidator(clean_text)]
Utc = Annotated[datetime, AfterValidator(_to_utc_ms)]
"""An aware moment in UTC, cut to milliseconds: what MongoDB gives back is what was stored."""
Seconds = Annotated[float, Field(ge=0.1, le=31 * 86_400)]
LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?$", max_length=128)]
LabelValue = Annotated[str, Field(max_length=256), AfterValidator(_check_label)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=64)]
"""Tags that people and sources give to clusters and nodes, to select by."""
