from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
import typer

from blocks.models.event import Event, EventDraft, EventType
from blocks.models.record import Change
from deployments.cli.events import FIELDS, Picked, cloud_event, following, gist, parse_since
from deployments.cli.select import Filter
from doubles.cli import Outside
from doubles.store_samples import KEY, NOW, draft, later, spec

EVERY = Picked(Filter.of(None, None, FIELDS))


async def tell(outside: Outside, *numbers: int, stream: str = KEY) -> tuple[Event, ...]:
    """Events that nobody has published."""
    drafts = tuple(draft(number, stream) for number in numbers)
    return await outside.store_.commit(Change(drafts=drafts), now=outside.now)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("10m", NOW - timedelta(minutes=10)),
        ("1d", NOW - timedelta(days=1)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T13:00:00+01:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
    ],
)
def test_since(text: str, expected: datetime) -> None:
    """How long ago, or a time; without a zone it is UTC."""
    assert expected == parse_since(text, NOW)


@pytest.mark.parametrize("text", ["", "soon", "10", "999999999w", "2026-13-01"])
def test_bad_since(text: str) -> None:
    """Anything else is wrong usage."""
    with pytest.raises(typer.BadParameter, match="neither a duration"):
        parse_since(text, NOW)


async def test_cloud_event() -> None:
    """An event for machines is a CloudEvent in structured mode."""
    (event,) = await tell(Outside(), 7)

    expected = {
        "specversion": "1.0",
        "id": event.event_id,
        "source": "/replicore",
        "type": "io.replicante.node.changed.v1",
        "subject": "prod/orders/n",
        "time": NOW,
        "datacontenttype": "application/json",
        "sequence": "1",
        "sequencetype": "Integer",
        "stream": "prod/orders",
        "data": {"number": 7},
    }
    assert expected == cloud_event(event)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"before": "HEALTHY", "after": "UNREACHABLE", "reason": "refused"}, "HEALTHY -> UNREACHABLE refused"),
        ({"state_before": None, "state": "NEW", "who": "ann"}, "NEW who=ann"),
        ({"before": {"a": 1, "b": 2}, "after": {"a": 1, "b": 3}}, "changed b"),
        ({"report": {"outcome": "success"}}, "success"),
        ({"number": 3}, "number=3"),
        ({}, ""),
    ],
)
def test_gist(data: dict[str, object], expected: str) -> None:
    """An event for people is what changed, in a line."""
    assert expected == gist(data)


async def test_follow_shows_the_last_and_then_what_comes_once() -> None:
    """History first; then the bus, of which what was shown, and what was left out as too old, is not shown again."""
    outside = Outside()
    old = await tell(outside, 1, 2, 3)
    async with asyncio.timeout(5), aclosing(following(outside, None, None, None, 2, outside.now, EVERY)) as events:
        shown = [(await anext(events)).data["number"] for _ in range(2)]
        new = await tell(outside, 4)
        await outside.bus.publish([*old, *new, *new, *await tell(outside, 5)])
        come = [(await anext(events)).data["number"] for _ in range(2)]

    assert ([2, 3], [4, 5]) == (shown, come)


async def test_follow_one_cluster() -> None:
    """Only events of the stream that was asked for."""
    outside = Outside()
    await tell(outside, 1)
    async with asyncio.timeout(5), aclosing(following(outside, KEY, None, None, 10, outside.now, EVERY)) as events:
        shown = (await anext(events)).data["number"]
        await outside.bus.publish([*await tell(outside, 2, stream="prod/other"), *await tell(outside, 3)])
        come = (await anext(events)).data["number"]

    assert (1, 3) == (shown, come)


async def test_follow_without_a_bus_reads_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    """With Kafka away events still come, and stderr says from where."""
    outside = Outside()
    outside.bus.down = True
    await tell(outside, 1)
    async with asyncio.timeout(5), aclosing(following(outside, None, None, None, 10, outside.now, EVERY)) as events:
        shown = (await anext(events)).data["number"]
        await tell(outside, 2)
        come = (await anext(events)).data["number"]

    assert (1, 2) == (shown, come)
    assert "events come from the store" in capsys.readouterr().err


async def test_events_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The history as a list of CloudEvents, narrowed by cluster, time, type and number."""
    outside = Outside()
    await outside.put(spec())
    await tell(outside, 1, 2)
    outside.now = later(60)
    await tell(outside, 3, 4)
    await tell(outside, 5, stream="prod/other")
    arguments = (
        "events",
        "--cluster",
        "orders",
        "--since",
        "30s",
        "--type",
        "node.changed",
        "--limit",
        "1",
        "-o",
        "json",
    )
    code = await asyncio.to_thread(outside.replictl, *arguments)

    assert 0 == code
    assert [4] == [event["data"]["number"] for event in json.loads(capsys.readouterr().out)]


def test_events_of_a_deleted_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    """They are kept and found by its full name, though the cluster is known no more; of what never was, nothing."""
    outside = Outside()
    told = EventDraft(type=EventType.CLUSTER_DELETED, stream="prod/gone", subject="prod/gone", data={"who": "ann"})
    asyncio.run(outside.store_.commit(Change(drafts=(told,)), now=outside.now))
    code = outside.replictl("events", "--cluster", "prod/gone", "-o", "json")
    (event,) = json.loads(capsys.readouterr().out)

    assert (0, "io.replicante.cluster.deleted.v1") == (code, event["type"])
    assert 1 == outside.replictl("events", "--cluster", "prod/never")
