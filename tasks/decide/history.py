"""What was known of a cluster at a moment, rebuilt from the events of its stream.

What is known is a flat map of facts (`tasks.decide.moves`). At a moment there are two ways to know a fact, and the first that
has an answer wins:

1. forward: the last event up to that moment that speaks of it;
2. backward: from the present, by undoing every event since.

What no event tells (lag, offsets, staleness, notes) cannot be rebuilt. What neither way answers is not known, and said to be so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from blocks.models.event import Event
from tasks.decide.moves import Edge, Gap, Key, Value, steps, who_of, why_of


@dataclass(frozen=True, slots=True)
class Known:
    """A fact's value, since when it has been so, and what was said about it."""

    value: Value
    at: datetime | None = None
    """None: since before the history that is kept."""
    who: str | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """What was known of a cluster at a moment."""

    at: datetime
    facts: Mapping[Key, Known] = field(default_factory=dict)
    """What was there. Its value may be `Gap.UNKNOWN`, never `Gap.ABSENT`."""
    unknown: frozenset[Key] = frozenset()
    """Of what is under these keys, only what is among `facts` is known; `()` is everything."""
    told_at: datetime | None = None
    """When the last event up to that moment was told; None where none is kept."""

    @property
    def lost(self) -> bool:
        """Whether nothing of that time can be said."""
        return () in self.unknown and not self.facts

    def knows(self, key: Key) -> bool:
        """Whether it is known what that fact was, or that it was not there."""
        if key in self.facts:
            return self.facts[key].value is not Gap.UNKNOWN
        return () not in self.unknown and key[:2] not in self.unknown

    def value(self, key: Key) -> Value:
        """What that fact was."""
        if key in self.facts:
            return self.facts[key].value
        return Gap.ABSENT if self.knows(key) else Gap.UNKNOWN


def rebuild(
    at: datetime, earlier: Sequence[Event], later: Sequence[Event] | None, present: Mapping[Key, Known] | None
) -> Past:
    """What was known at a moment.

    Args:
        at: the moment.
        earlier: events of the stream up to it, oldest first: the newest ones that are kept.
        later: all events since, oldest first; None when some of them are missing, so that there is no way back.
        present: what is known now (`facts_of`), read before the events; None when that is not known.
    """
    told = _Sheet()
    for event in earlier:
        told.forward(event)
    base = _Sheet()
    if later is None or present is None:
        base.unknown.add(())
    else:
        for key, known in present.items():
            base.put(key, known if known.at is None or known.at <= at else Known(known.value))
        for event in reversed(later):
            base.backward(event)
    facts, unknown = told.over(base)
    return Past(at, facts, unknown, earlier[-1].time if earlier else None)


def applied(past: Past, events: Iterable[Event]) -> Past:
    """What is known after some more events."""
    base, told, at = _Sheet(), _Sheet(), past.told_at
    base.unknown |= past.unknown
    for key, known in past.facts.items():
        base.put(key, known)
    for event in events:
        told.forward(event)
        at = event.time
    facts, unknown = told.over(base)
    return Past(past.at if at is None else max(past.at, at), facts, unknown, at)


class _Sheet:
    """Facts while they are written down, by the first two parts of their keys, so that all under one go at once."""

    def __init__(self) -> None:
        self.groups: dict[Key, dict[Key, Known]] = {}
        self.whole: set[Key] = set()
        """Of what is under these, all is written down here."""
        self.unknown: set[Key] = set()

    def put(self, key: Key, known: Known) -> None:
        self.groups.setdefault(key[:2], {})[key] = known

    def forward(self, event: Event) -> None:
        who, why = who_of(event), why_of(event)
        for step in steps(event):
            if isinstance(step, Edge):
                self._clear(step.under)
                self.whole.add(step.under)
            else:
                self.put(step.key, Known(step.after, step.at or event.time, who, why))

    def backward(self, event: Event) -> None:
        for step in reversed(steps(event)):
            if isinstance(step, Edge):
                self._clear(step.under)
                if not step.appears:
                    self.unknown.add(step.under)
            else:
                self.put(step.key, Known(step.before))

    def over(self, base: _Sheet) -> tuple[dict[Key, Known], frozenset[Key]]:
        """What is written here, and what is not, as it is in `base`."""
        everything = () in self.whole
        facts: dict[Key, Known] = {}
        for name, group in base.groups.items():
            if not everything and name not in self.whole:
                facts.update(group)
        for group in self.groups.values():
            facts.update(group)
        unknown = set() if everything else base.unknown - self.whole
        return {key: known for key, known in facts.items() if known.value is not Gap.ABSENT}, frozenset(unknown)

    def _clear(self, under: Key) -> None:
        if under:
            self.groups.pop(under, None)
            self.whole.discard(under)
            self.unknown.discard(under)
        else:
            self.groups, self.whole, self.unknown = {}, set(), set()
