from __future__ import annotations

import pytest

from blocks.models.event import EventType
from blocks.models.node import Shard, ShardRole
from doubles.cli import Outside
from doubles.past import ago, born, said, seen, told, with_a_past
from doubles.views import make_node

E = EventType


@pytest.fixture
async def outside() -> Outside:
    """A cluster that was found, seen, and degraded since."""
    return await with_a_past()


# -- history ---------------------------------------------------------------------------------------------------------------


async def test_history_for_people(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a change: when, what, from, to, who and why."""
    code, out, err = await said(outside, capsys, "history", "orders", "--since", "-2h")
    lines = out.splitlines()

    assert (0, "", "TIME WHAT FROM TO WHO WHY") == (code, err, lines[0])
    assert [
        "2026-03-01T11:00:00.000Z node n1 HEALTHY UNREACHABLE - refused",
        "2026-03-01T11:00:00.000Z shard rs0 on n2 secondary primary - -",
    ] == lines[1:3]
    assert "2026-03-01T11:00:00.000Z health HEALTHY DEGRADED - -" == lines[-1]


async def test_history_for_machines(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """An entry for each cycle, with every change."""
    found, seen_, down = await told(outside, capsys, "history", "prod/orders")

    assert ["spec", "discovery"] == [line["what"] for line in found["changes"]]
    assert 7 == len(seen_["changes"])
    assert {"type": E.NODE_STATUS_CHANGED, "what": "node n1", "from": "HEALTHY", "to": "UNREACHABLE", "not_known": [],
            "node": "n1", "shard": None, "who": None, "why": "refused"} == down["changes"][0]  # fmt: skip


async def test_history_is_bounded_and_says_so(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest changes, and that there are more; and that what was before is not kept."""
    _, out, err = await said(outside, capsys, "history", "orders", "--limit", "2")
    outside.store_.log = [event for event in outside.store_.log if event.time > ago(3)]
    _, _, older = await said(outside, capsys, "history", "orders")
    _, nothing, _ = await said(outside, capsys, "history", "orders", "--until", "-2h")

    assert (3, "note: these are the newest 2 of more changes; --limit shows more\n") == (len(out.splitlines()), err)
    assert "note: what happened before 2026-03-01T11:00:00Z is not kept any more\n" == older
    assert "nothing is known to have happened to prod/orders in that time" == nothing


async def test_a_burst_is_folded_for_people(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Thousands of partitions are one line; many lines are cut with how many there are; machines get all."""
    shards = tuple(Shard(shard_id=f"t/{number}", role=ShardRole.PRIMARY) for number in range(500))
    nodes = [make_node(f"m{number:02}", shards=()) for number in range(60)]
    await seen(outside, await born(outside, 0.5, "big"), [make_node("b", shards=shards), *nodes], 0.25)
    arguments = ("history", "big", "--since", "-20m", "--limit", "1000")
    _, out, _ = await said(outside, capsys, *arguments)
    (entry,) = await told(outside, capsys, *arguments)

    assert "2026-03-01T11:45:00.000Z 500 shards on b - primary - -" in out.splitlines()
    assert "and 13 more changes: `-o json` has them" in out.splitlines()[-1]
    assert 562 == len(entry["changes"])


# -- diff ------------------------------------------------------------------------------------------------------------------


async def test_difference_for_people(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """What differs between two moments, one fact in a line."""
    _, out, _ = await said(outside, capsys, "diff", "orders", "--from", "-2h")
    _, same, _ = await said(outside, capsys, "diff", "orders", "--from", "-2h", "--to", "-90m")

    assert [
        "prod/orders from 2026-03-01T10:00:00Z to 2026-03-01T12:00:00Z: 5 differences",
        "WHAT FROM TO",
        "~ health HEALTHY DEGRADED",
        "~ node n1 HEALTHY UNREACHABLE",
        "~ shard rs0 on n2 secondary primary",
        "+ problem MAJORITY_AT_RISK - warning",
        "+ problem NODE_UNREACHABLE on n1 - warning",
    ] == out.splitlines()
    assert "no difference that events tell of" == same.splitlines()[-1]


async def test_difference_for_machines(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """The moments, the facts with their values, and what is not known."""
    value = await told(outside, capsys, "diff", "orders", "--from", "-4h", "--to", "2026-03-01T11:30:00Z")
    whole = await told(outside, capsys, "diff", "orders", "--from", "-6h")

    assert ("2026-03-01T08:00:00.000Z", "2026-03-01T11:30:00.000Z", []) == (
        value["from"], value["to"], value["not_known"],
    )  # fmt: skip
    assert {"way": "changed", "what": "node n1", "before": "HEALTHY", "after": "UNREACHABLE"} in value["differences"]
    assert {"added"} == {one["way"] for one in whole["differences"]}


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("diff", "orders", "--from", "-1h", "--to", "-2h"), 2, "--from -1h is later than --to -2h"),
        (("diff", "orders"), 2, "Missing option"),
        (("diff", "nope", "--from", "-1h"), 1, "there is no cluster nope"),
        (("history", "nope"), 1, "there is no cluster nope"),
        (("history", "orders", "--since", "soon"), 2, "is no moment"),
        (("nodes", "nope", "--at", "-1h"), 1, "there is no cluster nope"),
    ],
)
async def test_what_cannot_be_answered(
    outside: Outside, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, why: str
) -> None:
    """A sentence on stderr, nothing on stdout."""
    got, out, err = await said(outside, capsys, *arguments)

    assert (code, "") == (got, out)
    assert why in " ".join(err.split())


async def test_a_difference_that_cannot_be_known(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is compared with a moment of which nothing is kept."""
    outside.store_.log = [event for event in outside.store_.log if event.time > ago(3)]
    outside.events_keep_days = 0
    code, _, err = await said(outside, capsys, "diff", "orders", "--from", "-2h")

    assert (1, True) == (code, "is not kept any more" in err)
