from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from rich.cells import cell_len

from blocks.models.action import ActionState
from blocks.models.cluster import ClusterState, Health
from blocks.models.node import Node, NodeStatus, Offset, Shard, ShardRole, Version
from blocks.models.problem import Problem, Severity
from deployments.cli.topology import topology_of
from doubles import views
from doubles.cli import Outside
from doubles.store_samples import NOW, REF, action, later, node, spec
from tasks.decide.past import Records
from tasks.decide.shape import shape_of
from tasks.decide.topology import EVERY_SHARD_MAX, GROUPS_DRAWN_MAX, NODES_DRAWN_MAX, tree_of
from tasks.decide.tree import WARN, Branch, Piece, aligned, drawn, label, plain, wrapped


def problem(code: str, severity: Severity, node_id: str | None = None) -> Problem:
    """Something wrong for a minute."""
    return Problem(
        code=code, severity=severity, node_id=node_id, description=f"{code} it is", evidence="[red]seen[/red]",
        remedy="mend it", since=later(-60),
    )  # fmt: skip


def lines_of(shape: dict[str, Any], *, width: int | None = None, every_shard: bool = False) -> list[str]:
    """A shape drawn with ASCII."""
    return [plain(line) for line in drawn(tree_of(shape, every_shard=every_shard), ascii_only=True, width=width)]


def shape(*nodes: Node, **parts: Any) -> dict[str, Any]:
    """The shape of a cluster of these nodes."""
    return shape_of(Records.of(views.make_view(*nodes, **parts)), views.NOW)


@pytest.fixture
async def outside() -> Outside:
    """A replica set that is CRITICAL: a primary with a running action, one that is late, one that is away."""
    outside = Outside()
    primary = Shard(shard_id="s/0", role=ShardRole.PRIMARY, commit_offset=Offset(unit="messages", value=7))
    late = Shard(shard_id="s/0", role=ShardRole.SECONDARY, lag=Offset(unit="seconds", value=2))
    await outside.put(
        spec(),
        ClusterState(
            namespace="prod",
            cluster_id="orders",
            observed_at=later(-12),
            health=Health.CRITICAL,
            health_since=later(-300),
            lag_worst_ms=2_000,
            problems=(problem("MINOR", Severity.WARNING, "n1"), problem("MAJOR", Severity.CRITICAL)),
            stores=("MongoDB 8.0",),
        ),
        node(1).evolve(
            shards=(primary,), store_id="mongo", store_version=Version(number="8.0"), status_since=later(-60)
        ),
        node(2).evolve(shards=(late,), shards_stale_since=later(-5), status_since=later(-60)),
        node(3).evolve(
            shards=(), status=NodeStatus.UNREACHABLE, status_text="connection refused", status_since=later(-9)
        ),
        action(1, ActionState.RUNNING).evolve(created_at=later(-30)),
        action(2, ActionState.DONE),
    )
    return outside


async def test_topology_object(outside: Outside) -> None:
    """One object: shards with who has them, nodes with what is wrong and what runs there."""
    found = await topology_of(outside.store_, REF, NOW)

    assert ["MAJOR"] == [one["code"] for one in found["problems"]]
    assert [("n1", "primary", False), ("n2", "secondary", True)] == [
        (copy["node"], copy["role"], copy["stale"]) for copy in found["shards"][0]["nodes"]
    ]
    first, _, last = found["nodes"]
    assert (["MINOR"], ["RUNNING"]) == ([p["code"] for p in first["problems"]], [a["state"] for a in first["actions"]])
    assert ("n3", "UNREACHABLE", []) == (last["node"], last["status"], last["actions"])


async def test_topology_tree(outside: Outside) -> None:
    """Everything has its age, columns are aligned, problems and actions hang from what they are about, and text of others
    is as it is.
    """
    expected = """\
prod/orders  CRITICAL for 5m  seen 12s ago  lag 2.0s  MongoDB 8.0
|- critical MAJOR for 60s: MAJOR it is: [red]seen[/red]
|  `- to do: mend it
|- shard s/0
|  |- n1  primary                  at 7 messages  seen 12s ago
|  `- n2  secondary  lag was 2.0s                 last known 5s ago
|- node n1  HEALTHY for 60s     primary                         mongo 8.0  seen 12s ago  http://127.0.0.1:8000
|  |- warning MINOR for 60s: MINOR it is: [red]seen[/red]
|  |  `- to do: mend it
|  `- action agent.replicante.io/test.success RUNNING for 30s  00000000-0000-0000-0000-000000000001
|- node n2  HEALTHY for 60s     secondary  lag was 2.0s 5s ago             stale 5s      http://127.0.0.1:8000
`- node n3  UNREACHABLE for 9s                                             seen 12s ago  http://127.0.0.1:8000
   `- connection refused"""
    assert expected.splitlines() == lines_of(await topology_of(outside.store_, REF, NOW))


@pytest.mark.parametrize("width", [30, 50, 80, 120])
async def test_no_line_is_wider_than_the_terminal(outside: Outside, width: int) -> None:
    """What does not fit goes on below, behind the branch, and nothing of it is lost."""
    found = await topology_of(outside.store_, REF, NOW)
    narrow, wide = lines_of(found, width=width), lines_of(found)

    assert all(cell_len(line) <= width for line in narrow)
    words = [word for line in wide for word in line.replace("|", " ").replace("`-", " ").split() if len(word) < 10]
    assert all(any(word in line for line in narrow) for word in words)


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 10, ["short"]),
        ("one two three", 7, ["one two", "three"]),
        ("a" * 12, 5, ["aaaaa", "aaaaa", "aa"]),
        ("\N{CJK UNIFIED IDEOGRAPH-65E5}" * 4, 5, ["\N{CJK UNIFIED IDEOGRAPH-65E5}" * 2] * 2),
        ("", 5, [""]),
    ],
)
def test_wrapping(text: str, width: int, expected: list[str]) -> None:
    """Broken at blanks, within long words where it must be; wide characters count as two."""
    assert expected == [plain(line) for line in wrapped(label(text), width)]


def test_tones_survive_wrapping() -> None:
    """A part of a word has the tone of the word."""
    assert [(Piece("abc", WARN),), (Piece("d", WARN),)] == wrapped(label(Piece("abcd", WARN)), 3)


def test_columns_without_content_are_left_out() -> None:
    """Cells are as wide as the widest of their column, and rows end without blanks."""
    rows: Sequence[Sequence[Any]] = [[label("a"), label(), label("x")], [label("long"), label(), label()]]

    assert ["a     x", "long"] == [plain(row) for row in aligned(rows)]


def test_branches_go_on_beside_what_is_below() -> None:
    """With the characters of a terminal."""
    tree = Branch(label("r"), [Branch(label("a"), [Branch(label("b"))]), Branch(label("c"))])

    assert ["r", "├─ a", "│  └─ b", "└─ c"] == [plain(line) for line in drawn(tree, ascii_only=False)]


def kafka(topics: int, partitions: int) -> dict[str, Any]:
    """Three brokers, each partition on all of them; one topic has replicas out of sync, another a partition without leader."""
    brokers: list[Node] = []
    for broker in range(3):
        shards = []
        for topic in range(topics):
            for number in range(partitions):
                role = ShardRole.PRIMARY if (topic + number) % 3 == broker else ShardRole.SECONDARY
                if topic == 2 and broker == 1 and role is ShardRole.SECONDARY:
                    role = ShardRole.RECOVERING
                lost = topic == 1 and number == 0
                shards.append(
                    Shard(
                        shard_id=f"t{topic}/{number}",
                        role=ShardRole.OTHER if lost else role,
                        role_text="NO_LEADER" if lost else None,
                    )
                )
        brokers.append(views.make_node(f"b{broker}", store_id="kafka", shards=tuple(shards)))
    return shape(*brokers)


def test_a_kafka_is_counted_by_topic_and_by_broker() -> None:
    """Thousands of partitions are a line per topic, those with trouble first, and counts of roles per broker."""
    lines = lines_of(kafka(topics=4, partitions=30))

    assert "|- 120 shards in 4 topics, 360 copies (each one: --shards)" in lines
    assert "|  |- 1 shard without a primary: t1/0" in lines
    topics = [line[6:] for line in lines if line.startswith(("|  |- t", "|  `- t"))]
    assert [
        "t1  30 shards  90 copies  1 without a primary  3 not in sync",
        "t2  30 shards  90 copies                       20 not in sync",
        "t0  30 shards  90 copies",
        "t3  30 shards  90 copies",
    ] == topics
    assert any("node b1" in line and "primary:39 secondary:60 recovering:20 NO_LEADER:1" in line for line in lines)


def test_many_topics_are_bounded() -> None:
    """So many lines at most, with how much is left out; topics are in their natural order."""
    lines = lines_of(kafka(topics=GROUPS_DRAWN_MAX + 10, partitions=3))

    assert GROUPS_DRAWN_MAX == sum(line.startswith("|  |- t") for line in lines)
    assert "|  `- and 10 more topics with 30 shards: `-o json` has them all" in lines
    assert lines.index(next(line for line in lines if "- t9 " in line)) + 1 == lines.index(
        next(line for line in lines if "- t10 " in line)
    )


def test_every_shard_is_drawn_when_asked_for() -> None:
    """One by one, up to a bound that is said; the object for machines has all of them."""
    whole = kafka(topics=5, partitions=250)
    lines = lines_of(whole, every_shard=True)

    assert (1_250, EVERY_SHARD_MAX) == (len(whole["shards"]), sum("- shard " in line for line in lines))
    assert any("and 250 more shards: `-o json` has them all" in line for line in lines)
    assert sum("no primary" in line for line in lines) == 1


def test_shards_that_belong_to_no_group_are_counted_together() -> None:
    """Names without a number say nothing about groups."""
    many = tuple(Shard(shard_id=f"shard{'x' * number}", role=ShardRole.PRIMARY) for number in range(60))
    lines = lines_of(shape(views.make_node("n1", shards=many)))

    assert "|- 60 shards, 60 copies (each one: --shards)" in lines


def test_a_primary_that_cannot_be_asked_is_not_shown_as_one() -> None:
    """Its role and lag are those of then, with their age, in the tree and counted by group; so is the shard's head."""
    primary, late = views.shard(ShardRole.PRIMARY), views.shard(lag_s=0)
    nodes = [
        views.make_node("n1", shards=(primary,), info_stale_since=views.later(-600)),
        views.make_node("n2", shards=(late,), shards_stale_since=views.later(-600)),
        views.make_node("n3", shards=(late,)),
    ]
    few = "\n".join(lines_of(shape(*nodes, state=views.state(observed_at=views.later(-5)))))
    many = tuple(primary.evolve(shard_id=f"t/{number}") for number in range(60))
    old = views.make_node("n1", shards=many, shards_stale_since=views.later(-600))

    assert "shard rs0  primary only as last known" in few
    assert re.search(r"n1 +primary +was at 1000 seconds +last known 10m ago", few)
    assert re.search(r"n2 +secondary +lag was 0ms +was at 1000 seconds +last known 10m ago", few)
    assert re.search(r"n3 +secondary +lag 0ms +at 1000 seconds +seen 5s ago", few)
    assert re.search(r"node n2 .* lag was 0ms 10m ago +mongo.* stale 10m ", few)
    assert any(line.endswith("60 copies  60 without a primary  60 last known 10m ago") for line in lines_of(shape(old)))


def test_a_zookeeper_ensemble() -> None:
    """One shard, its leader first, what it is behind in its own unit."""
    nodes = [
        views.make_node(
            f"z{number}",
            store_id="zookeeper",
            shards=(
                Shard(
                    shard_id="zk",
                    role=ShardRole.PRIMARY if number == 2 else ShardRole.SECONDARY,
                    commit_offset=Offset(unit="zxid", value=9),
                    lag=Offset(unit="zxid", value=1) if number == 3 else None,
                ),
            ),
        )
        for number in (1, 2, 3)
    ]
    lines = lines_of(shape(*nodes))

    assert [f"|  |- z2  primary{' ' * 17}at 9 zxid", "|  |- z1  secondary  lag ~0 zxid  at 9 zxid"] == lines[2:4]
    assert f"|  `- z3  secondary  lag 1 zxid{' ' * 3}at 9 zxid" == lines[4]


def test_a_standalone_is_the_primary_that_it_is() -> None:
    """Whatever its agent calls it: there is a primary."""
    alone = Shard(shard_id="zoo", role=ShardRole.PRIMARY, role_text="standalone")
    lines = "\n".join(lines_of(shape(views.make_node("z1", shards=(alone,)))))

    assert "shard zoo  z1  standalone" in lines
    assert "no primary" not in lines


def test_a_lag_that_follows_from_offsets_is_shown_where_it_is() -> None:
    """Marked as ours; where the store does not count in time, in its own unit, at the cluster, too."""
    units = (("seconds", "lag ~100.0s"), ("messages", "lag ~100 messages"))
    for unit, said in units:
        copies = [
            Shard(shard_id="s", role=role, commit_offset=Offset(unit=unit, value=value))
            for role, value in ((ShardRole.PRIMARY, 300), (ShardRole.SECONDARY, 200))
        ]
        nodes = [views.make_node(f"n{number}", shards=(copy,)) for number, copy in enumerate(copies)]
        state = views.state(lag_worst={unit: 100}, lag_worst_ms=100_000 if unit == "seconds" else None)
        lines = lines_of(shape(*nodes, state=state))

        assert [line for line in lines if "- n1 " in line and said in line], lines
        assert said.replace("~", "") in lines[0]


def test_shards_in_trouble_are_drawn_first() -> None:
    """Of more than can be drawn, those without a primary are not among the rest."""
    well = [Shard(shard_id=f"s/{number:05}", role=ShardRole.PRIMARY) for number in range(EVERY_SHARD_MAX + 100)]
    ill = Shard(shard_id="s/99999", role=ShardRole.SECONDARY)
    lines = lines_of(shape(views.make_node("n1", shards=(*well, ill))), every_shard=True)

    assert "s/99999  no primary" in lines[1]


def test_many_nodes_are_bounded() -> None:
    """Those with trouble are among the nodes that are drawn."""
    nodes = [views.make_node(f"n{number}", shards=()) for number in range(NODES_DRAWN_MAX + 20)]
    nodes[-1] = nodes[-1].evolve(status=NodeStatus.UNHEALTHY)
    lines = lines_of(shape(*nodes))

    assert NODES_DRAWN_MAX == sum("- node " in line for line in lines)
    assert "UNHEALTHY" in lines[1]
    assert "`- and 20 more nodes: `replictl nodes CLUSTER` lists them all" == lines[-1]


def test_a_cluster_that_was_never_seen() -> None:
    """It has a tree all the same."""
    assert ["prod/orders  UNKNOWN  not observed yet"] == lines_of(shape())


def test_problems_of_nodes_that_are_gone_hang_from_the_cluster() -> None:
    """None is lost."""
    state = views.state(problems=(problem("OLD", Severity.WARNING, "gone").evolve(since=views.NOW),))
    lines = lines_of(shape(views.make_node("n1"), state=state))

    assert any("warning OLD" in line and line.startswith("|- ") for line in lines)


def test_a_symptom_says_of_what() -> None:
    """Where a problem has a cause, it is named."""
    whole = shape(views.make_node("n1"), state=views.state(problems=(problem("OLD", Severity.WARNING),)))
    whole["problems"][0]["cause"] = "NODE_UNREACHABLE"

    assert any(
        "warning OLD for" in line and ", symptom of NODE_UNREACHABLE: OLD it is" in line for line in lines_of(whole)
    )


async def test_a_terminal_gets_its_own_characters_and_width(
    outside: Outside, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe gets ASCII and whole lines, a machine everything."""
    await asyncio.to_thread(outside.replictl, "topology", "orders")
    piped = capsys.readouterr().out
    await asyncio.to_thread(outside.replictl, "topology", "orders", "-o", "json")
    value = json.loads(capsys.readouterr().out)

    assert piped.isascii()
    assert [3, 1] == [len(value["nodes"]), len(value["shards"])]
