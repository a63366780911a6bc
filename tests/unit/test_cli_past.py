from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import typer

from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.event import EventDraft, EventType
from blocks.models.node import Node
from blocks.models.record import Change, RecordKey
from deployments.cli.past import EACH_EVENTS_MAX, PARALLEL, fleet_then, parse_at
from doubles.cli import Outside
from doubles.past import ago, born, said, told, with_a_past
from doubles.views import NOW, REF
from tasks.decide.diff import draft

E = EventType
BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture
async def outside() -> Outside:
    """A cluster that was found, seen, and degraded since."""
    return await with_a_past()


# -- moments ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("-2h", UTC, ago(2)),
        ("2h", UTC, ago(2)),
        ("-90s", UTC, ago(0.025)),
        ("2026-03-01T02:13:00Z", UTC, datetime(2026, 3, 1, 2, 13, tzinfo=UTC)),
        ("2026-03-01T02:13:00+01:00", NEW_YORK, datetime(2026, 3, 1, 1, 13, tzinfo=UTC)),
        ("2026-03-01T02:13:00", NEW_YORK, datetime(2026, 3, 1, 2, 13, tzinfo=UTC)),
        ("02:13", UTC, datetime(2026, 3, 1, 2, 13, tzinfo=UTC)),
        ("2:13", UTC, datetime(2026, 3, 1, 2, 13, tzinfo=UTC)),
        ("02:13:20", UTC, datetime(2026, 3, 1, 2, 13, 20, tzinfo=UTC)),
        ("2:13:20", UTC, datetime(2026, 3, 1, 2, 13, 20, tzinfo=UTC)),
        ("02:13", BERLIN, datetime(2026, 3, 1, 1, 13, tzinfo=UTC)),
        ("12:30", BERLIN, datetime(2026, 3, 1, 11, 30, tzinfo=UTC)),
        ("13:30", BERLIN, datetime(2026, 2, 28, 12, 30, tzinfo=UTC)),
        ("23:00", NEW_YORK, datetime(2026, 3, 1, 4, 0, tzinfo=UTC)),
    ],
)
def test_moments(text: str, zone: Any, expected: datetime) -> None:
    """How long ago, RFC 3339 (UTC where no zone is given), or the last time at which the clock said so."""
    assert expected == parse_at(text, NOW, zone)


def test_a_clock_time_knows_of_summer_time() -> None:
    """Yesterday's time is told by yesterday's clock: on the day after the change, 02:13 and 23:00 are of different offsets."""
    now = datetime(2026, 3, 29, 20, 0, tzinfo=UTC)

    assert datetime(2026, 3, 28, 22, 0, tzinfo=UTC) == parse_at("23:00", now, BERLIN)
    assert datetime(2026, 3, 29, 7, 0, tzinfo=UTC) == parse_at("09:00", now, BERLIN)


def test_the_zone_of_the_machine() -> None:
    """Without a zone, a clock time is the last one of this machine's clock."""
    moment = parse_at("02:13", NOW)

    assert moment <= NOW < moment + timedelta(days=1, hours=1)
    assert (2, 13) == (moment.astimezone().hour, moment.astimezone().minute)


@pytest.mark.parametrize(
    "text", ["", "soon", "25:00", "2:61", "-", "-2026-03-01T00:00:00Z", "999999999w", "2026-13-01"]
)
def test_no_moment(text: str) -> None:
    """Anything else is wrong usage."""
    with pytest.raises(typer.BadParameter, match="is no moment"):
        parse_at(text, NOW, UTC)


def test_a_moment_that_has_not_come() -> None:
    """Nothing is known of it."""
    with pytest.raises(typer.BadParameter, match="has not come yet"):
        parse_at("2026-03-01T12:00:01Z", NOW, UTC)


@pytest.mark.parametrize("command", [("clusters",), ("nodes",), ("problems",), ("topology", "orders")])
async def test_the_past_is_not_watched(
    outside: Outside, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    """It does not change any more; wrong moments are wrong usage, before any server is asked."""
    outside.store_.down = True

    assert 2 == (await said(outside, capsys, *command, "--at", "-1h", "--watch", "1"))[0]
    assert 2 == (await said(outside, capsys, *command, "--at", "soon"))[0]


# -- clusters, nodes, problems, topology -----------------------------------------------------------------------------------


async def test_clusters_then(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Health and counts of that time, as of when that was told, and what cannot be known."""
    (row,) = await told(outside, capsys, "clusters", "--at", "-2h")
    (now,) = await told(outside, capsys, "clusters")

    assert ("HEALTHY", 3, 3, 0) == tuple(row[name] for name in ("health", "nodes_total", "nodes_healthy", "problems"))
    assert ("2026-03-01T10:00:00.000Z", "2026-03-01T08:00:00.000Z") == (row["at"], row["as_of"])
    assert "2026-03-01T08:00:00.000Z" == row["known_since"]["health"]
    assert ["lag_worst", "lag_worst_ms", "observed_at", "primaries", "shards"] == row["not_known"]
    assert row.keys() > now.keys()
    assert "DEGRADED" == now["health"]


async def test_clusters_then_for_people(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """The moment stands above the table, the age of each row in it."""
    _, out, _ = await said(outside, capsys, "clusters", "--at", "-2h")

    assert [
        "as known at 2026-03-01T10:00:00Z (2h ago), from events: they do not tell of lag and staleness",
        "NAMESPACE CLUSTER HEALTH NODES PROBLEMS STORE AS OF NOTE",
        "prod orders HEALTHY 3/3 0 mongo.replica 6.0.0 2026-03-01T08:00:00Z -",
    ] == out.splitlines()


async def test_before_a_cluster_was_known(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not in the list, and asked for by name it is said to have been unknown."""
    assert [] == await told(outside, capsys, "clusters", "--at", "-6h")

    code, out, err = await said(outside, capsys, "topology", "orders", "--at", "-6h")
    assert (1, "") == (code, out)
    assert "nothing was known of prod/orders at 2026-03-01T06:00:00Z" in err


async def test_filters_work_on_the_past(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels and fields of that time."""
    then = ("--at", "-30m")

    assert 1 == len(await told(outside, capsys, "clusters", *then, "-l", "env=prod", "--where", "health=DEGRADED"))
    assert 0 == len(await told(outside, capsys, "clusters", *then, "-l", "env=test"))
    assert 1 == len(await told(outside, capsys, "nodes", *then, "--where", "status=UNREACHABLE"))
    assert 1 == len(await told(outside, capsys, "nodes", "orders", *then, "--search", "max_results: 1"))


async def test_nodes_then(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Status, roles and versions of that time; what moves all the time is not known, and not taken from the present."""
    rows = await told(outside, capsys, "nodes", "orders", "--at", "-2h")

    assert [
        ("n1", "HEALTHY", {"primary": 1}),
        ("n2", "HEALTHY", {"secondary": 1}),
        ("n3", "HEALTHY", {"secondary": 1}),
    ] == [(row["node"], row["status"], row["roles"]) for row in rows]
    assert {(None, None, None)} == {(row["lag_ms"], row["stale"], row["age_s"]) for row in rows}
    assert ("2026-03-01T08:00:00.000Z", 7_200.0) == (rows[0]["status_since"], rows[0]["status_age_s"])
    assert ["lag_last_ms", "lag_ms", "seen_at", "stale"] == rows[0]["not_known"]


async def test_nodes_of_all_clusters_then(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Without their shards, which is said: a Kafka tells of thousands."""
    rows = await told(outside, capsys, "nodes", "--at", "-30m")

    assert [("n1", "UNREACHABLE", "refused"), ("n2", "HEALTHY", None), ("n3", "HEALTHY", None)] == [
        (row["node"], row["status"], row["status_text"]) for row in rows
    ]
    assert {(None, True)} == {(row["shards"], "shards" in row["not_known"]) for row in rows}


async def test_problems_then(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """What was known to be wrong, since when, with what to do."""
    before = await told(outside, capsys, "problems", "--at", "-2h")
    after = await told(outside, capsys, "problems", "orders", "--symptoms", "--at", "-30m")
    code = await asyncio.to_thread(outside.replictl, "problems", "--check", "--at", "-30m")

    assert ([], ["NODE_UNREACHABLE", "MAJORITY_AT_RISK"], 1) == (before, [row["code"] for row in after], code)
    assert ("n1", 1_800.0, True) == (after[0]["node"], after[0]["age_s"], bool(after[0]["remedy"]))
    assert after[0]["evidence"].endswith(": refused")


async def test_topology_then(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """The tree of that time, which says of which time it is."""
    _, out, _ = await said(outside, capsys, "topology", "orders", "--at", "-2h")
    value = await told(outside, capsys, "topology", "orders", "--at", "-2h")
    lines = out.splitlines()

    assert "prod/orders HEALTHY for 2h as known at 2026-03-01T10:00:00Z mongo.replica 6.0.0 env=prod" == lines[1]
    assert ["| |- n1 primary", "| |- n2 secondary", "| `- n3 secondary"] == lines[3:6]
    assert ("primary", "2026-03-01T10:00:00.000Z") == (value["shards"][0]["nodes"][0]["role"], value["at"])


async def test_deleted_clusters_are_in_the_past(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster that is gone now was there then, by its own name and among all."""
    keys = [RecordKey(ClusterSpec, REF.key), RecordKey(Discovery, REF.key)]
    keys += [RecordKey(type(one), one.key) for one in await outside.store_.find(Node)]
    gone = draft(REF, E.CLUSTER_DELETED, str(REF), who="ann", why="retired")
    await outside.store_.commit(Change(deletes=tuple(keys), drafts=(gone,)), now=ago(0.25))

    assert ["HEALTHY"] == [row["health"] for row in await told(outside, capsys, "clusters", "--at", "-2h")]
    assert 3 == len((await told(outside, capsys, "topology", "prod/orders", "--at", "-2h"))["nodes"])
    assert 1 == (await said(outside, capsys, "topology", "prod/orders", "--at", "-5m"))[0]


async def test_what_is_not_kept_is_said(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """With the first events gone: within the time for which events are kept the way back from the present leads there; of
    the time before, nothing is said that is not known.
    """
    outside.store_.log = [event for event in outside.store_.log if event.time > ago(3)]
    inside = await told(outside, capsys, "nodes", "orders", "--at", "-2h")
    outside.events_keep_days = 0
    code, out, err = await said(outside, capsys, "nodes", "orders", "--at", "-2h")
    (row,) = await told(outside, capsys, "clusters", "--at", "-2h")
    _, table, noted = await said(outside, capsys, "clusters", "--at", "-2h")

    assert ("n1", "HEALTHY", None) == tuple(inside[0][name] for name in ("node", "status", "status_since"))
    assert (1, "") == (code, out)
    assert "is not kept any more: its history is kept from 2026-03-01T11:00:00Z on" in err
    assert (True, "UNKNOWN", ["active", "health"]) == (row["lost"], row["health"], row["not_known"][:2])
    assert "nothing of that time is kept" in table
    assert "note: nothing of that time can be told of 1 cluster: prod/orders" in noted


async def test_too_many_changes_since(outside: Outside) -> None:
    """When not all later events are read, there is no way back: only what was told before the moment is known."""
    health = draft(REF, E.CLUSTER_HEALTH_CHANGED, str(REF), before="DEGRADED", after="DEGRADED")
    await outside.store_.commit(Change(drafts=(health,) * EACH_EVENTS_MAX), now=ago(0.1))
    ((_, whole),) = await fleet_then(outside, None, ago(2), NOW, lambda _: None)
    outside.store_.log = [event for event in outside.store_.log if event.time > ago(3)]
    ((_, lost),) = await fleet_then(outside, None, ago(2), NOW, lambda _: None)

    assert ("HEALTHY", False, True) == (whole.past.value(("health",)), whole.past.lost, lost.past.lost)


async def test_so_many_events_are_read_and_no_more(outside: Outside) -> None:
    """Clusters for which nothing is left of that are left out, and counted."""
    for number in range(2 * PARALLEL):
        await born(outside, 3, f"c{number:02}")
    notes: list[str] = []
    found = await fleet_then(outside, None, ago(2), NOW, notes.append, events_max=10)

    assert [f"c{number:02}" for number in range(PARALLEL)] == [ref.cluster_id for ref, _ in found]
    assert ["note: 16 events were read, 9 clusters left out from prod/c08 on: name a namespace or a cluster"] == notes


async def test_pauses_of_that_time(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """A pause that was in force then, and is over now."""
    quiet = await born(outside, 5, "quiet")
    data: dict[str, Any] = {"until": "2026-03-01T11:00:00Z", "who": "ann", "why": "disks"}
    subject = f"orchestrate:{quiet.ref.key}"
    paused = EventDraft(type=E.WORK_PAUSED, stream=quiet.ref.key, subject=subject, data=data)
    await outside.store_.commit(Change(drafts=(paused,)), now=ago(2))
    which = ("clusters", "--where", "cluster=quiet", "--at")
    rows = [await told(outside, capsys, *which, f"-{minutes}m") for minutes in (150, 90, 30)]

    assert [None, "ann", None] == [row["paused_by"] for (row,) in rows]
