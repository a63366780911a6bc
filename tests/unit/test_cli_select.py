"""`--selector`, `--where` and labels, in every listing."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from datetime import datetime
from typing import TypeVar

import pytest

from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.event import EventDraft, EventType
from blocks.models.record import Change, Record
from blocks.store.protocol import Where
from deployments.cli import actions, clusters, events, locks, nodes, problems, sources, work
from deployments.cli.events import Picked, following
from deployments.cli.select import Filter, Notes, cut
from doubles.cli import Outside
from doubles.labelled import labelled, listed
from doubles.store import MemoryStore
from doubles.store_samples import KEY, NOW, draft, spec

R = TypeVar("R", bound=Record)


@pytest.fixture
async def outside() -> Outside:
    """A labelled fleet."""
    return await labelled()


NAMED = {
    "clusters": ("cluster",),
    "nodes": ("cluster", "node"),
    "problems": ("cluster", "code"),
    "actions": ("cluster", "node"),
    "sources": ("source",),
    "work": ("key",),
    "locks": ("name",),
    "events": ("subject",),
}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("clusters", "-l", "env=prod"), ["orders"]),
        (("clusters", "-l", "env!=prod"), ["other"]),
        (("clusters", "-l", "env", "-l", "team=nobody"), []),
        (("clusters", "--where", "health!=HEALTHY"), ["orders"]),
        (("clusters", "--where", "labels.team=told,problems>1"), ["orders"]),
        (("nodes", "-l", "zone in (a,b)"), ["orders/n1", "orders/n2"]),
        (("nodes", "-l", "zone=b,env=prod"), ["orders/n2"]),
        (("nodes", "--where", "status!=healthy"), ["orders/n2"]),
        (("nodes", "--where", "roles.secondary>2"), ["other/n1"]),
        (("nodes", "orders", "-lzone=a"), ["orders/n1"]),
        (("problems", "-l", "zone=a"), ["orders/OF_n1"]),
        (("problems", "-l", "env", "--where", "node=null"), ["orders/OF_None"]),
        (("actions", "-l", "zone=a"), ["orders/n1"]),
        (("actions", "-l", "!env", "--where", "state=running", "--limit", "1"), ["other/n1"]),
        (("sources", "-l", "env=inventory"), ["inventory"]),
        (("sources", "-l", "env=prod"), []),
        (("sources", "--where", "interval_s>1m"), ["inventory"]),
        (("work", "-l", "env=prod"), ["orchestrate:prod/orders"]),
        (("work", "-l", "env=inventory"), ["discover:prod/inventory"]),
        (("work", "--where", "kind=discover"), ["discover:prod/inventory"]),
        (("locks", "-l", "env"), ["prod/orders", "source:prod/inventory"]),
        (("locks", "--where", "name~other"), ["prod/other"]),
        (("events", "-l", "zone=a"), ["prod/orders/n1"]),
        (("events", "-l", "env=prod", "--limit", "9"), ["prod/orders/n", "prod/orders/n1", "orchestrate:prod/orders"]),
        (("events", "-l", "env=inventory"), ["prod/inventory"]),
        (("events", "--where", "type~failed,stream=prod"), ["prod/inventory"]),
        (("events", "--where", "data.number>1"), ["prod/other/n"]),
    ],
)
async def test_listings_are_narrowed(
    outside: Outside, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: list[str]
) -> None:
    """By labels of what a row is about, and by conditions on its fields."""
    rows = await listed(outside, capsys, *arguments)

    assert sorted(expected) == sorted("/".join(row[name] for name in NAMED[arguments[0]]) for row in rows)


FIELDS = {
    "clusters": clusters.CLUSTER_FIELDS,
    "nodes": nodes.FIELDS,
    "problems": problems.FIELDS,
    "actions": actions.FIELDS,
    "sources": sources.FIELDS,
    "work": work.WORK_FIELDS,
    "locks": locks.LOCK_FIELDS,
}


@pytest.mark.parametrize("command", FIELDS)
async def test_every_field_can_be_asked_for(outside: Outside, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """The fields that conditions know are those that machines are told, and each has the type it should have."""
    rows = await listed(outside, capsys, command)
    json_types = {int: int, float: (int, float), bool: bool, list: list, dict: dict, datetime: str}

    assert rows
    for row in rows:
        assert set(FIELDS[command]) == set(row)
        wrong = [
            name
            for name, type_ in FIELDS[command].items()
            if row[name] is not None and not isinstance(row[name], json_types.get(type_, str))
        ]
        assert [] == wrong


async def test_events_carry_labels_as_an_extension(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """A CloudEvents extension is a text: labels are there as a selector, and not there where there are none."""
    rows = await listed(outside, capsys, "events")

    assert {
        "prod/orders/n": "env=prod,team=told",
        "prod/other/n": None,
        "prod/orders/n1": "env=prod,team=told,zone=a",
        "prod/inventory": "env=inventory",
        f"orchestrate:{KEY}": "env=prod,team=told",
    } == {row["subject"]: row.get("labels") for row in rows}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("clusters", "-l", "env=,x y"), "character 8: expected a comma, or the end"),
        (("nodes", "--where", "nope=1"), "there is no field 'nope' to put a condition on; there are: age_s, agent"),
        (("events", "--where", "time>soon"), "'soon' is not a time"),
        (("nodes", "--search", "matches: {}"), "a search is made in one cluster: name it"),
    ],
)
async def test_what_cannot_be_read_is_wrong_usage(
    outside: Outside, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    """Exit code 2 with the place or with what is possible, before any server is asked."""
    outside.store_.down = True
    code = await asyncio.to_thread(outside.replictl, *arguments)

    assert 2 == code
    assert said in capsys.readouterr().err


async def test_tables_have_labels_when_asked(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """A column that can be copied into `-l`, for who wants it."""
    tables = []
    for arguments in (("clusters",), ("clusters", "--show-labels"), ("nodes", "orders", "--show-labels")):
        await asyncio.to_thread(outside.replictl, *arguments)
        tables.append(capsys.readouterr().out)

    assert ["env=prod,team=told" in table for table in tables] == [False, True, True]
    assert "env=prod,team=told,zone=b" in tables[2]


@pytest.mark.parametrize(("selector", "code"), [("env", 1), ("nobody", 0)])
async def test_check_is_about_what_is_listed(outside: Outside, selector: str, code: int) -> None:
    """`problems --check` fails for problems that were asked for, and for no others."""
    assert code == await asyncio.to_thread(outside.replictl, "problems", "--check", "-l", selector)


async def test_nothing_is_left(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty listing says whether there is nothing, or nothing that fits."""
    await asyncio.to_thread(outside.replictl, "clusters", "-l", "nobody")
    await asyncio.to_thread(Outside().replictl, "clusters")
    narrowed, empty = capsys.readouterr().out.splitlines()

    assert "no cluster that -l and --where ask for" == narrowed
    assert empty.startswith("no clusters: apply")


# -- what a listing costs, and what it leaves out --------------------------------------------------------------------------


class Counting(MemoryStore):
    """Remembers which records were looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.finds: list[type] = []

    async def find(self, type_: type[R], where: Where | None = None, *, limit: int = 10_000) -> list[R]:
        """As before."""
        self.finds.append(type_)
        return await super().find(type_, where, limit=limit)


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [(("nodes",), 0), (("nodes", "--where", "shards>0"), 0), (("nodes", "-l", "a"), 2), (("nodes", "-o", "json"), 2)],
)
async def test_labels_are_loaded_when_wanted(arguments: tuple[str, ...], loaded: int) -> None:
    """Two queries for labels where a selector or a machine wants them, and none else."""
    store = Counting()
    code = await asyncio.to_thread(Outside(store_=store).replictl, *arguments)

    assert (0, loaded) == (code, len([type_ for type_ in store.finds if type_ in {ClusterSpec, Discovery}]))


@pytest.mark.parametrize(
    ("arguments", "shown", "said"),
    [
        (("actions", "--limit", "1"), 1, "note: these are the newest 1 of more actions; --limit shows more\n"),
        (("actions", "--limit", "1", "-l", "env"), 1, ""),
        (("work", "--limit", "2"), 2, "note: these are the most overdue 2 of more items; --limit shows more\n"),
        (("events", "--limit", "4"), 4, "note: these are the newest 4 of more events; --limit shows more\n"),
        (
            ("events", "--limit", "1", "-l", "team"),
            1,
            "note: these are the newest 1 of more events; --limit shows more\n",
        ),
        (("events", "--limit", "5"), 5, ""),
    ],
)
async def test_what_is_cut_off_is_said(
    outside: Outside, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], shown: int, said: str
) -> None:
    """A limit comes after the filter, and that there is more is said on stderr."""
    await asyncio.to_thread(outside.replictl, *arguments, "-o", "json")
    out, err = capsys.readouterr()

    assert (shown, said) == (len(json.loads(out)), err)


def test_a_note_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A watched listing does not repeat itself."""
    note = Notes()
    shown = [cut([1, 2, 3], 2, note, "there is more") for _ in range(3)]

    assert [[1, 2]] * 3 == shown
    assert "note: there is more\n" == capsys.readouterr().err


async def test_locks_are_listed_without_the_store(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """With MongoDB away who holds what is still told, without labels; who asks for labels learns why that fails."""
    outside.store_.down = True
    codes = [
        await asyncio.to_thread(outside.replictl, "locks", *arguments) for arguments in (("-o", "json"), ("-l", "env"))
    ]
    out, err = capsys.readouterr()

    assert [0, 1] == codes
    assert [{}] * 3 == [row["labels"] for row in json.loads(out)]
    assert "warning: the labels are not known: MongoDB" in err
    assert "error: MongoDB" in err


# -- following ---------------------------------------------------------------------------------------------------------------


async def test_following_learns_new_labels(outside: Outside) -> None:
    """What becomes labelled while events are followed is followed from then on, what loses its label no longer."""
    await outside.put(spec(cluster_id="other").evolve(labels={"team": "new"}))
    wanted = Filter.of(["team=new"], None, events.FIELDS)
    picked = await Picked.load(outside.store_, wanted, Notes(), labels=False)

    async def publish(*drafts: EventDraft) -> None:
        await outside.bus.publish(await outside.store_.commit(Change(drafts=drafts), now=NOW))

    def applied(version: int) -> EventDraft:
        return EventDraft(
            type=EventType.CLUSTER_SPEC_APPLIED, stream=KEY, subject="prod/orders", data={"number": version}
        )

    async with asyncio.timeout(5), aclosing(following(outside, None, None, None, 5, NOW, picked)) as coming:
        shown = [(await anext(coming)).stream]
        await outside.put(spec().evolve(labels={"team": "new"}))
        await publish(draft(1), applied(2), draft(3))
        shown += [(await anext(coming)).data["number"] for _ in range(2)]
        await outside.put(spec())
        await publish(applied(4), draft(5), draft(6, "prod/other"))
        shown.append((await anext(coming)).data["number"])

    assert ["prod/other", 2, 3, 6] == shown
