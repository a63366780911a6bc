"""How a command is told of. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic_core import to_jsonable_python

from blocks.models.base import Json
from blocks.models.command import Outcome
from blocks.models.event import SYSTEM_STREAM, EventDraft, EventType

REASON_CHARS_MAX = 1_000
ARGUMENT_CHARS_MAX = 1_000
SUBJECT_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Command:
    """What a person told us to do."""

    name: str
    """The flow, or the command of `replictl`."""
    subject: str
    """What it is about: an action's id, a cluster, a gate ..."""
    by: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    """The others; nothing secret. Those that are None, false or empty are not told of."""


def command_given(
    command: Command, outcome: Outcome, reason: str | None, origin: str, flow_run: str | None
) -> EventDraft:
    """The event of a command, in the system's stream.

    Args:
        command: what was told, and by whom.
        outcome: what came of it.
        reason: why it was refused or failed.
        origin: from where: the program, its user and host.
        flow_run: in which flow run, by its id.
    """
    arguments: dict[str, Json] = {
        name: _cut(to_jsonable_python(value, exclude_none=True)) for name, value in command.arguments.items() if value
    }
    subject = command.subject[:SUBJECT_CHARS_MAX]
    data: dict[str, Json] = {
        "command": command.name,
        "subject": subject,
        "arguments": arguments,
        "who": command.by,
        "origin": origin,
        "flow_run": flow_run,
        "outcome": outcome.value,
        "reason": None if reason is None else reason[:REASON_CHARS_MAX],
    }
    return EventDraft(type=EventType.COMMAND_GIVEN, stream=SYSTEM_STREAM, subject=subject, data=data)


def _cut(value: Json) -> Json:
    """A value of a bounded size: what is longer as JSON is the beginning of that text."""
    text = value if isinstance(value, str) else json.dumps(value)
    return value if len(text) <= ARGUMENT_CHARS_MAX else text[:ARGUMENT_CHARS_MAX]
