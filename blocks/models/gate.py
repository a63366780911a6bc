"""Gates: what people put in front of all actions of a place, and what one says to an action."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from blocks.models.base import Fact, Id, Labels, Name, Text, Utc

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_MAX = 7 * 24 * 60
HOLDERS_MAX = 10_000


class GateKind(StrEnum):
    """What a gate does."""

    FREEZE = "freeze"
    """Nothing begins, from now on, until it is lifted."""
    BLACKOUT = "blackout"
    """Nothing begins while it is open."""
    MAINTENANCE = "maintenance"
    """Where there is one, things begin only while one is open."""


def _check_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        message = f"there is no time zone {value[:64]!r}: give a name such as Europe/Rome"
        raise ValueError(message) from error
    return value


def _check_days(value: tuple[str, ...]) -> tuple[str, ...]:
    days = tuple(dict.fromkeys(day.lower()[:3] for day in value))
    if not days or not set(days) <= set(DAYS):
        message = f"give days of the week: {', '.join(DAYS)}"
        raise ValueError(message)
    return tuple(day for day in DAYS if day in days)


Zone = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_check_zone)]
Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="HH:MM")]


class Weekly(Fact):
    """Times that come back every week, by the clocks of a time zone."""

    days: Annotated[tuple[str, ...], Field(max_length=7), AfterValidator(_check_days)]
    at: Clock
    minutes: Annotated[int, Field(ge=1, le=MINUTES_MAX)]
    """How long it lasts."""
    zone: Zone = "UTC"

    def begins(self, day: datetime) -> datetime | None:
        """When it begins on a day (of its zone), in UTC; None: not on that day. Where clocks skip that time, after the gap."""
        if DAYS[day.weekday()] not in self.days:
            return None
        hour, minute = map(int, self.at.split(":"))
        return datetime.combine(day.date(), time(hour, minute), ZoneInfo(self.zone)).astimezone(UTC)


class Gate(Fact):
    """One gate."""

    name: Name
    kind: GateKind
    namespace: Name | None = None
    """Where; None: everywhere."""
    cluster_id: Id | None = None
    """Only that cluster of the namespace; None: all."""
    labels: Labels = Field(default_factory=dict)
    """Only clusters that have all these."""
    reason: Annotated[Text, Field(min_length=1)]
    owner: Annotated[Text, Field(min_length=1)]
    """Who answers for it."""
    starts_at: Utc | None = None
    """Not before this; None: at once."""
    expires_at: Utc | None = None
    """It ends then, for good; only a freeze may be without."""
    weekly: Weekly | None = None
    """Open at these times only; None: all the time until it expires."""
    created_at: Utc
    created_by: Text
    version: int = 0

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.kind is not GateKind.FREEZE and self.expires_at is None:
            message = "a window needs an end (expires_at): what nobody remembers must not last for ever"
            raise ValueError(message)
        if self.expires_at is not None and self.expires_at <= (self.starts_at or self.created_at):
            message = "it ends before it begins"
            raise ValueError(message)
        if self.cluster_id is not None and self.namespace is None:
            message = "a cluster is named with its namespace"
            raise ValueError(message)
        if self.kind is GateKind.FREEZE and self.weekly is not None:
            message = "a freeze has no times: give a blackout"
            raise ValueError(message)
        return self

    @property
    def key(self) -> str:
        """Its key in the store."""
        return self.name

    @property
    def where(self) -> str:
        """What it is in front of, for people."""
        place = f"{self.namespace}/{self.cluster_id}" if self.cluster_id else self.namespace or "everything"
        tags = ",".join(f"{name}={value}" for name, value in sorted(self.labels.items()))
        return f"{place} ({tags})" if tags else place

    def expired(self, now: datetime) -> bool:
        """Whether it has ended for good."""
        return self.expires_at is not None and self.expires_at <= now

    def open_at(self, now: datetime) -> tuple[bool, datetime | None]:
        """Whether it is open, and when that changes next (None: never)."""
        begins, ends = self.starts_at or self.created_at, self.expires_at
        if ends is not None and ends <= now:
            return False, None
        if self.weekly is None:
            return (begins <= now), (ends if begins <= now else begins)
        spans = [span for span in self._spans(max(now, begins)) if span[1] > now]
        for start, end in spans:
            start, end = max(start, begins), min(end, ends or end)  # noqa: PLW2901 - cut to the gate's own time
            if start <= now < end:
                return True, end if end - now <= timedelta(days=8) else ends  # times that touch all week never end
            if start > now and start < end:
                return False, start
        return False, None

    def _spans(self, around: datetime) -> list[tuple[datetime, datetime]]:
        """Its times near a moment, in order; those that touch are one."""
        if self.weekly is None:
            return []
        local = around.astimezone(ZoneInfo(self.weekly.zone))
        back = MINUTES_MAX // (24 * 60) + 1
        found: list[tuple[datetime, datetime]] = []
        for days in range(-back, 9):
            start = self.weekly.begins(local + timedelta(days=days))
            if start is None:
                continue
            end = start + timedelta(minutes=self.weekly.minutes)
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], max(end, found[-1][1]))
            else:
                found.append((start, end))
        return found


class Block(Fact):
    """Why an action does not begin now."""

    rule: str
    """Which rule says so, such as `BLACKOUT`."""
    reason: Text
    until: Utc | None = None
    """When it could begin, as far as this rule is concerned; None: nobody knows."""


class Disruptions(Fact):
    """The actions that take the room of a namespace's budget, by compare-and-set: two workers never give the last place twice."""

    namespace: Name
    holders: Annotated[tuple[str, ...], Field(max_length=HOLDERS_MAX)] = ()
    """Ids of the actions; those that have ended, or were given back before they were begun, count no more."""
    version: int = 0

    @property
    def key(self) -> str:
        """Its key in the store: the namespace's."""
        return self.namespace
