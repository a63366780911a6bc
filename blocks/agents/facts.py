"""Wire values of both protocols as facts of ours: lenient in spelling, strict in type and size; nothing here raises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import orjson
from pydantic import TypeAdapter, ValidationError

from blocks.agents.answers import said_error
from blocks.models.action import METADATA_MAX
from blocks.models.base import ID_CHARS_MAX, JSON_BYTES_MAX, JSON_DEPTH_MAX, Id, Json, clean_text
from blocks.models.look import ShardsInfo
from blocks.models.node import ATTRIBUTES_MAX, SHARDS_MAX, Attribute, Offset, Shard, ShardRole, Version

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
ENTRIES_MAX = METADATA_MAX
LISTED_MAX = 1_000
NOTES_MAX = 20
UNIT_CHARS_MAX = 64
UNKNOWN_VERSION = "unknown"
LEFT_OUT = "replicore.io/left-out"
"""The key of what stands in the place of a value that was not kept."""

T = TypeVar("T")

_ROLES = {role.value: role for role in (ShardRole.PRIMARY, ShardRole.SECONDARY, ShardRole.RECOVERING)}
_TIME_UNITS = {"milliseconds", "seconds"}
_ID: TypeAdapter[str] = TypeAdapter(Id)


def as_int64(value: object) -> int | None:
    """A whole number that fits into 64 bits; None for anything else (`true` and `1.0` are something else)."""
    fits = isinstance(value, int) and not isinstance(value, bool) and INT64_MIN <= value <= INT64_MAX
    return value if fits and isinstance(value, int) else None


def tagged(value: object) -> tuple[str, str | None] | None:
    """A word, or a word with a text: `"Primary"`, `{"Other": "text"}`; None for anything else."""
    if isinstance(value, str):
        return (value, None)
    if isinstance(value, dict) and len(value) == 1:
        word, text = next(iter(value.items()))
        return (word, clean_text(text) if isinstance(text, str) else None)
    return None


def role(value: object) -> tuple[ShardRole, str | None] | None:
    """A shard's role in any spelling; one we have no word for is OTHER with its text. None: it is not a role."""
    word = tagged(value)
    if word is None:
        return None
    name, text = word
    known = _ROLES.get(name.strip().lower())
    return (known, None) if known is not None else (ShardRole.OTHER, clean_text(text or name, ID_CHARS_MAX))


def offset(value: object) -> Offset | str | None:
    """A position or a distance; None where there is none, or a text that says why it is not usable."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return "is not an object"
    number = as_int64(value.get("value"))
    unit = value.get("unit")
    if isinstance(unit, dict):
        unit = unit.get("unit")
    if number is None:
        return "has no value that is a whole number of 64 bits"
    if not isinstance(unit, str) or not unit:
        return "has no unit"
    known = unit.strip().lower()
    return Offset(unit=known if known in _TIME_UNITS else clean_text(unit, UNIT_CHARS_MAX), value=number)


def version(value: object) -> Version | None:
    """A version; None when there is no number in it."""
    if isinstance(value, str) and value:
        return Version(number=clean_text(value, ID_CHARS_MAX))
    if not isinstance(value, dict) or not isinstance(value.get("number"), str):
        return None
    parts = {name: value[name] for name in ("number", "checkout", "taint", "extra") if isinstance(value.get(name), str)}
    return Version(**{name: clean_text(part, ID_CHARS_MAX) for name, part in parts.items()})


def text(value: object) -> str | None:
    """A text of the length of an id; None for anything else."""
    return clean_text(value, ID_CHARS_MAX) if isinstance(value, str) and value else None


def texts(value: object) -> dict[str, str]:
    """An object's texts, cleaned and at most 50; the rest is left out."""
    if not isinstance(value, dict):
        return {}
    found = ((clean_text(key, ID_CHARS_MAX), clean_text(item)) for key, item in value.items() if isinstance(item, str))
    return _first(found, ENTRIES_MAX)


def attributes(value: object) -> dict[str, Attribute]:
    """An object's scalars, at most 200; the rest is left out. A number beyond 64 bits becomes a text."""
    if not isinstance(value, dict):
        return {}
    found = (
        (clean_text(key, ID_CHARS_MAX), _scalar(item))
        for key, item in value.items()
        if item is None or isinstance(item, str | int | float)
    )
    return _first(found, ATTRIBUTES_MAX)


def moment(value: object) -> datetime | None:
    """A moment in RFC 3339 with a zone, up to nanoseconds; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        read = datetime.fromisoformat(value)
        return read.astimezone(UTC) if read.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def action_id(value: object) -> str | None:
    """A UUID in its usual form; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        return str(UUID(value))
    except ValueError:
        return None


def action_ids(items: Iterable[object]) -> tuple[str, ...]:
    """The ids in a list of actions, each once, at most 1,000; what has none is left out."""
    found: dict[str, None] = {}
    for item in items:
        known = action_id(item.get("id") if isinstance(item, dict) else item)
        if known is not None:
            found[known] = None
        if len(found) >= LISTED_MAX:
            break
    return tuple(found)


def error_text(value: object) -> str | None:
    """What an action failed with, in one sentence and without a backtrace; None where it did not."""
    if value is None or value == {}:
        return None
    if isinstance(value, str):
        return clean_text(value)
    said = said_error(value) if isinstance(value, dict) else None
    return said or clean_text(orjson.dumps(value).decode(), ID_CHARS_MAX)


def bounded_json(value: object) -> Json:
    """Any JSON as it may be stored: at most 64 KiB and 16 levels, or a marker in its place; integers of 64 bits."""
    try:
        size = len(orjson.dumps(value))
    except orjson.JSONEncodeError:
        return {LEFT_OUT: f"nested deeper than {JSON_DEPTH_MAX} levels"}
    if size > JSON_BYTES_MAX:
        return {LEFT_OUT: f"{size} bytes of JSON; the limit is {JSON_BYTES_MAX}"}
    try:
        return _kept(value, JSON_DEPTH_MAX)
    except RecursionError:
        return {LEFT_OUT: f"nested deeper than {JSON_DEPTH_MAX} levels"}


def shards(items: list[object]) -> ShardsInfo:
    """The shards of a node; what cannot be used is left out and said in the notes, by its id where it has one."""
    notes: list[str] = []
    found: dict[str, Shard] = {}
    unread: dict[str, None] = {}
    partial = False
    for index, item in enumerate(items):
        if len(found) >= SHARDS_MAX or len(unread) >= SHARDS_MAX:
            notes.append(f"only the first {SHARDS_MAX} of {len(items)} shards are kept")
            partial = True
            break
        shard = _shard(index, item, notes)
        if shard is not None and shard.shard_id in found:
            notes.append(f"shard {shard.shard_id}: listed twice, the first counts")
        elif shard is not None:
            found[shard.shard_id] = shard
        elif (shard_id := _shard_id(item)) is not None:
            unread[shard_id] = None
        else:
            partial = True
    lost = tuple(shard_id for shard_id in unread if shard_id not in found)
    return ShardsInfo(shards=tuple(found.values()), notes=_bounded(notes), unread=lost, partial=partial)


def _shard_id(item: object) -> str | None:
    """The id of what may be no usable shard otherwise; None where there is none."""
    try:
        return (
            _ID.validate_python(item.get("id", item.get("shard_id")), strict=True) if isinstance(item, dict) else None
        )
    except ValidationError:
        return None


def _shard(index: int, item: object, notes: list[str]) -> Shard | None:
    if not isinstance(item, dict):
        notes.append(f"shard number {index + 1} is not an object")
        return None
    shard_id = item.get("id", item.get("shard_id"))
    name = f"shard {clean_text(shard_id, ID_CHARS_MAX)}" if isinstance(shard_id, str) else f"shard number {index + 1}"
    known = role(item.get("role"))
    if known is None:
        notes.append(f"{name} has no role")
        return None
    offsets = {}
    for part in ("commit_offset", "lag"):
        read = offset(item.get(part))
        if isinstance(read, str):
            notes.append(f"{name}: its {part} {read}")
        elif read is not None and (part == "commit_offset" or read.value >= 0):
            offsets[part] = read
    try:
        return Shard.model_validate({"shard_id": shard_id, "role": known[0], "role_text": known[1], **offsets})
    except ValidationError:
        notes.append(f"{name} has no usable id")
        return None


def _bounded(notes: list[str]) -> tuple[str, ...]:
    more = len(notes) - NOTES_MAX
    return tuple(notes) if more <= 0 else (*notes[:NOTES_MAX], f"and {more} more of this kind")


def _first(found: Iterator[tuple[str, T]], count: int) -> dict[str, T]:
    kept: dict[str, T] = {}
    for key, item in found:
        if len(kept) >= count:
            break
        kept[key] = item
    return kept


def _scalar(value: object) -> Attribute:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, bool | float) or value is None:
        return value
    return value if as_int64(value) is not None and isinstance(value, int) else str(value)


def _kept(value: object, depth: int) -> Json:
    if isinstance(value, dict | list) and depth == 0:
        raise RecursionError
    if isinstance(value, dict):
        return {
            str(key).replace("\0", "\N{REPLACEMENT CHARACTER}"): _kept(item, depth - 1) for key, item in value.items()
        }
    if isinstance(value, list):
        return [_kept(item, depth - 1) for item in value]
    if value is None or isinstance(value, str | bool | float):
        return value
    return value if as_int64(value) is not None and isinstance(value, int) else str(value)
