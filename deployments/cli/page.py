"""Pages about one object: facts, tables, and the sections that several kinds of objects have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.text import Text

from blocks.models.action import Action, ActionState
from blocks.models.event import Event
from blocks.models.request import Request, WorkKind
from blocks.models.rolling import UNFINISHED as UNFINISHED_ROLLINGS
from blocks.models.rolling import Rolling
from blocks.store.protocol import EventQuery, Store, Where
from deployments.cli import actions, events, rolling
from deployments.cli.output import Answer, Block, Format, Grid, clean, dump
from deployments.cli.turns import next_turn, until
from deployments.cli.words import age, coloured

EVENTS_SHOWN = 10
EVENTS_READ = 1_000
"""So many of the newest events of a stream are looked through for those of one object."""
ACTIONS_SHOWN = 100


@dataclass(slots=True)
class Page:
    """What is told of an object."""

    title: str
    value: dict[str, Any] = field(default_factory=dict)
    """For machines, by section."""
    blocks: list[Block] = field(default_factory=list)

    def facts(self, **facts: Any) -> None:
        """Add names with values; what is nothing is left out."""
        shown = {name.replace("_", " "): value for name, value in facts.items() if value not in (None, "", {}, ())}
        width = max((len(name) for name in shown), default=0)
        lines = [Text.assemble((f"  {name:<{width}}  ", "bold"), _fact(value)) for name, value in shown.items()]
        self.blocks.append(Text("\n").join(lines))

    def table(self, title: str, grid: Grid) -> None:
        """Add a table."""
        self.blocks += [Text(""), Text(title, style="bold"), grid]

    def answer(self) -> Answer:
        """All of it."""
        return Answer(self.value, (Text(self.title, style="bold"), *self.blocks))


def _fact(value: object) -> Text:
    if isinstance(value, Text):
        return value
    if isinstance(value, dict | list | tuple):
        return Text(clean(dump(value, Format.JSON, compact=True)))
    return coloured(value)


def put_timetable(page: Page, item: Request | None, row: dict[str, Any], interval_s: float | None) -> None:
    """When it has its turns."""
    page.value["work"] = item.model_dump() if item is not None else None
    if item is None:
        page.facts(timetable="it has no place there")
        return
    paused = f"until {until(row['paused_until'])} by {clean(row['paused_by'])}: {clean(row['paused_why'])}"
    page.facts(
        every=age(interval_s) if interval_s is not None else None,
        next_turn=next_turn(row) or "none",
        last_start=item.started_at,
        late=f"{item.late_s:.1f} s" if item.started_at is not None else None,
        paused=coloured(paused, "yellow") if row["paused_until"] else None,
        failures=item.failures or None,
        last_error=item.error,
    )


async def put_unfinished(page: Page, store: Store, where: Where, now: datetime) -> None:
    """What is not finished there, what runs before what waits."""
    among = where.evolve(action_states=actions.UNFINISHED)
    found = await store.find(Action, among, limit=ACTIONS_SHOWN + 1)
    rows = [actions.action_row(one, now, {}) for one in found[:ACTIONS_SHOWN]]
    page.value["actions"] = rows
    more = f", the newest {ACTIONS_SHOWN}" if len(found) > ACTIONS_SHOWN else ""
    going = sum(ActionState(row["state"]).on_agent for row in rows)
    how = f": {going} running, {len(rows) - going} waiting" if rows else ""
    rows.sort(key=lambda row: not ActionState(row["state"]).on_agent)
    page.table(f"Unfinished actions{more}{how}", Grid(actions.COLUMNS, rows, "none"))
    rollings = await store.find(Rolling, where.evolve(rolling_states=UNFINISHED_ROLLINGS), limit=ACTIONS_SHOWN)
    page.value["rollings"] = [rolling.rolling_row(one, now) for one in rollings]
    if rollings:
        page.table("Rolling actions", Grid(rolling.COLUMNS, page.value["rollings"]))


async def put_events(page: Page, store: Store, stream: str, subject: str | None) -> None:
    """The last events of a stream, or those in it that are about one thing."""
    if subject is None:
        told: Sequence[Event] = await store.events(EventQuery(stream=stream, newest=EVENTS_SHOWN))
    else:
        about = {subject, f"{WorkKind.DISCOVER}:{subject}"}
        told = [
            one for one in await store.events(EventQuery(stream=stream, newest=EVENTS_READ)) if one.subject in about
        ]
    rows = [events.cloud_event(one) for one in told[-EVENTS_SHOWN:]]
    page.value["events"] = rows
    page.table("Last events", Grid(events.COLUMNS, rows, "none"))
