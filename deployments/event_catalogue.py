"""The catalogue of events for people and programs: `python -m deployments.event_catalogue FOLDER` writes `events.md` and a JSON
Schema per type into FOLDER (docs). A test holds docs to it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blocks.models.event import SOURCE, EventType
from blocks.models.event_catalogue import CATALOGUE
from deployments.original_events import NONE, ORIGINAL, OURS_ALONE
from tasks.decide.untold import UNTOLD

SCHEMAS = "schemas/events"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
HEAD = """\
# Events

Made by `python -m deployments.event_catalogue docs`; change `blocks/models/event_data.py` and `event_catalogue.py` instead.

Every change is an event, but for those [at the end](#what-makes-no-event); nothing else is. Events are written in one transaction with the change that they tell of, kept as
history (`replictl events`, `replictl history`) and sent to the bus.

## Consuming them

Topic `replicore.events` (block `Event Bus`, `REPLICORE_EVENT_BUS_TOPIC`). CloudEvents 1.0 in Kafka's binary mode: attributes are
headers, the value is the data as JSON.

| header | what |
|---|---|
| `ce_specversion` | `1.0` |
| `ce_id` | a UUID that never changes: the same event published again has the same |
| `ce_source` | `{source}` |
| `ce_type` | one of the types below |
| `ce_subject` | what it is about: a cluster, `CLUSTER/NODE`, a source, a work item ... |
| `ce_time` | when the change was written, RFC 3339, UTC, milliseconds; never goes back within a stream |
| `content-type` | `application/json` |
| `ce_stream` | the stream, also the record's key: a cluster (`prod/orders`, `/`, `%` and so on in its id quoted as in URLs), a namespace, or `replicore` |
| `ce_sequence`, `ce_sequencetype` | place in the stream, `1`, `2`, `3` ..., without holes; `Integer` |
| `ce_dataomitted` | only where the data is too big for the bus (`REPLICORE_EVENT_BUS_DATA_BYTES_MAX`): its size in bytes. The value is then `{{"omitted_bytes": N}}`, the history has all of it |

- **Order** holds within a stream: a stream is one partition, and its events are sent by their sequence. Between streams
  there is none; compare `ce_time` if you must.
- **Duplicates** come: after a crash, or when a broker was slow to answer, events are sent again. Remember by stream the last
  sequence that you have handled and drop what is not greater; or drop ids that you have seen.
- **Holes** do not come. If a sequence is missing, records were read past (or have outlived `REPLICORE_EVENT_BUS_RETENTION_DAYS`):
  the history has them, `replictl events --cluster NAME -o json`.
- **What you do not know, ignore**: fields are added to data within a version, and types are added. What would break you comes
  as a type with another number at its end.
- The sequence of a stream goes on where it was when a cluster is deleted and comes back.

```python
from confluent_kafka import Consumer

consumer = Consumer({{"bootstrap.servers": "127.0.0.1:9092", "group.id": "me", "auto.offset.reset": "earliest"}})
consumer.subscribe(["replicore.events"])
seen: dict[bytes, int] = {{}}
while True:
    if (record := consumer.poll(1.0)) is None or record.error():
        continue
    headers = dict(record.headers())
    if int(headers["ce_sequence"]) > seen.get(record.key(), 0):
        seen[record.key()] = int(headers["ce_sequence"])
        print(headers["ce_type"].decode(), headers["ce_subject"].decode(), record.value())
```

Any CloudEvents library reads the records; nothing of ours is needed.
"""


def title(type_: EventType) -> str:
    """A type without what all have in common and without its version, as in `node.added`."""
    return type_.value.removeprefix("io.replicante.").rpartition(".")[0]


def version_of(type_: EventType) -> int:
    """The version of a type's data."""
    return int(type_.value.rpartition(".v")[2])


def schema(type_: EventType) -> dict[str, Any]:
    """JSON Schema of a type's data. It allows fields that it does not name."""
    entry = CATALOGUE[type_]
    made = entry.data.model_json_schema()
    head = {"$schema": DIALECT, "$id": f"{type_.value}.json", "title": type_.value, "description": entry.when}
    return {**{key: value for key, value in made.items() if key not in head}, **head, "examples": [dict(entry.example)]}


def files() -> dict[str, str]:
    """Every file of the catalogue, by its path below the folder of docs."""
    schemas = {f"{SCHEMAS}/{type_.value}.json": f"{json.dumps(schema(type_), indent=2)}\n" for type_ in EventType}
    return {"events.md": catalogue(), **schemas}


def catalogue() -> str:
    """The page for people."""
    return "\n".join([HEAD.format(source=SOURCE), *_table(), *_types(), *_original(), *_untold()]).rstrip() + "\n"


def _table() -> Iterator[str]:
    yield from ("## All types", "", "| type | version | stream | sent when |", "|---|---|---|---|")
    for type_ in EventType:
        entry = CATALOGUE[type_]
        link = f"[`{title(type_)}`](#{type_.value.replace('.', '')})"
        yield f"| {link} | {version_of(type_)} | {entry.stream} | {entry.when} |"
    yield from ("", "The full name is `io.replicante.TYPE.vVERSION`.", "")


def _types() -> Iterator[str]:
    yield from ("## Each type", "")
    for type_ in EventType:
        entry = CATALOGUE[type_]
        yield from (f"### {type_.value}", "", entry.when, "")
        yield f"Stream: {entry.stream}, as in `{entry.stream_example}`. Subject: as in `{entry.subject}`."
        yield f"Schema: [{type_.value}.json]({SCHEMAS}/{type_.value}.json)."
        yield from ("", "| field | holds | |", "|---|---|---|", *_fields(type_))
        yield from ("", "```json", json.dumps(dict(entry.example)), "```", "")


def _fields(type_: EventType) -> Iterator[str]:
    made = schema(type_)
    required = made.get("required", [])
    for name, field in made.get("properties", {}).items():
        text = _kind(field, made.get("$defs", {}))
        optional = "" if name in required or "null" in text else ", may be absent"
        yield f"| `{name}` | {text}{optional} | {field.get('description', '')} |"


def _kind(field: dict[str, Any], known: dict[str, Any]) -> str:
    """What a field holds, in the words of JSON."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return "any" if name == "JsonValue" else _kind({"title": name, **known[name]}, known)
    if "enum" in field:
        return "one of " + ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_kind(one, known) for one in field["anyOf"]))
    return _typed(field, known)


def _typed(field: dict[str, Any], known: dict[str, Any]) -> str:
    match field.get("type"):
        case "array":
            return f"list of: {_kind(field['items'], known)}" if field.get("items") else "list"
        case "object" if "properties" in field:
            return f"object `{field['title']}`"
        case "object":
            inner = field.get("additionalProperties")
            return f"object of: {_kind(inner, known)}" if isinstance(inner, dict) and inner else "object"
        case kind:
            return "time" if field.get("format") == "date-time" else str(kind or "any")


def _original() -> Iterator[str]:
    yield from ("## The original's events and ours", "")
    yield "What consumers of Replicante Core 0.7 and of its rewrite find where."
    for where, rows in ORIGINAL.items():
        yield from ("", f"### {where}", "", "| theirs | ours | |", "|---|---|---|")
        for theirs, ours, why in rows:
            names = ", ".join(f"`{title(type_)}`" for type_ in ours) if ours else NONE
            yield f"| `{theirs}` | {names} | {why} |"
    alone = ", ".join(f"`{title(type_)}`" for type_ in OURS_ALONE)
    yield from ("", f"Neither of them has: {alone}.")


def _untold() -> Iterator[str]:
    yield from ("", "## What makes no event", "")
    yield "Of the records of a cluster these fields change without an event of their own, so that nothing that merely moves floods"
    yield "anybody; every other field has one. Of an action, that it is about to be sent is told when it has been."
    yield from ("", "| record | fields | why |", "|---|---|---|")
    for type_, fields in UNTOLD.items():
        by_reason: dict[str, list[str]] = {}
        for name, why in fields.items():
            by_reason.setdefault(why, []).append(f"`{name}`")
        yield from (f"| {type_.__name__} | {', '.join(names)} | {why} |" for why, names in by_reason.items())


def main(folder: Path) -> int:
    """Write all files below a folder."""
    for name, text in files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
