from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from blocks.models.node import NodeStatus, Shard, ShardRole
from blocks.models.problem import Acknowledgement, Problem, Severity
from blocks.models.report import CycleOutcome, Report
from doubles.views import NODES, NOW, make_node, make_view, shard, state
from doubles.world import World
from flows.artifacts import (
    LINES_MAX,
    PROBLEMS_MAX,
    ROWS_MAX,
    SYMPTOMS_MAX,
    artifact_key,
    node_table,
    report_page,
    show_cluster,
    topology_page,
)
from flows.cycle import Mode, cycle_one
from tasks.decide.past import Records
from tasks.decide.shape import shape_of
from tasks.decide.topology import tree_of
from tasks.decide.tree import drawn, plain

REPORT = Report(
    namespace="prod", cluster_id="orders", started_at=NOW, outcome=CycleOutcome.SUCCESS, nodes_synced=3,
    phases_ms={"poll": 1.25},
)  # fmt: skip


@pytest.fixture
def _collected() -> Iterator[None]:
    """Leave none of the sockets of Prefect's client to the tests of others."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def problem(number: int = 0, **fields: Any) -> Problem:
    """Something wrong with the cluster."""
    basics = {
        "code": f"CODE_{number:03}", "severity": Severity.WARNING, "description": "it is *bad*", "evidence": "<b>seen</b>",
        "remedy": "mend `it`", "since": NOW - timedelta(minutes=5),
    }  # fmt: skip
    return Problem(**{**basics, **fields})


def shape(*nodes: Any, problems: tuple[Problem, ...] = ()) -> dict[str, Any]:
    """The shape of a cluster."""
    return shape_of(Records.of(make_view(*nodes, state=state(problems=problems))), NOW)


async def found(*names: str) -> dict[str, Any]:
    """The data of artifacts, by name."""
    keys = {artifact_key(name, "prod/seen"): name for name in names}
    async with get_client() as client:
        artifacts = await client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=list(keys))))
    return {keys[str(artifact.key)]: artifact.data for artifact in artifacts}


@pytest.mark.usefixtures("prefect_api", "_collected")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_persons_run_leaves_artifacts(world: World) -> None:
    """A table of nodes, the topology as text, a page with problems and what to do."""
    ref = await world.declare("seen")
    world.node("n3").down = True

    @flow(name="shown by hand")
    async def shown() -> None:
        await show_cluster(world.store, ref, await cycle_one(await world.turn(), ref, Mode.OBSERVE, wait_s=0))

    await shown()
    data = await found("nodes", "topology", "report")
    table = str(data["nodes"])

    assert ("primary:1" in table, "UNREACHABLE" in table, "NODE_UNREACHABLE" in table) == (True, True, True)
    assert data["topology"].startswith("```text\nprod/seen  DEGRADED for 0s  seen 0s ago")
    assert "└─ node n3  UNREACHABLE for 0s" in data["topology"]
    assert "# prod/seen: DEGRADED" in data["report"]
    assert "    - to do: check the machine, the agent and the network between" in data["report"]


def test_the_table_of_nodes() -> None:
    """Status and since when, roles, lag, versions and problems of each node."""
    away = make_node(
        "n2", status=NodeStatus.UNREACHABLE, status_text="refused", info_stale_since=NOW - timedelta(minutes=3),
        shards=(shard(lag_s=0),),
    )  # fmt: skip
    first, second = node_table(shape(make_node("n1"), away, problems=(problem(node_id="n2"),)))

    assert {"node": "n1", "status": "HEALTHY", "for": "0s", "why": "", "store": "mongo.replica 6.0.0", "shards": 1,
            "roles": "primary:1", "lag": "-", "seen": "", "stale": "", "problems": ""} == first  # fmt: skip
    assert ("UNREACHABLE", "refused", "0ms 3m ago", "3m ago", "3m", "CODE_000") == tuple(
        second[name] for name in ("status", "why", "lag", "seen", "stale", "problems")
    )


def test_a_long_table_is_bounded() -> None:
    """Those with trouble are in it, and how many are not."""
    nodes = [make_node(f"n{number}", shards=()) for number in range(ROWS_MAX + 10)]
    nodes[-1] = nodes[-1].evolve(status=NodeStatus.UNHEALTHY)
    rows = node_table(shape(*nodes))

    assert (ROWS_MAX + 1, "UNHEALTHY", "and 10 more") == (len(rows), rows[0]["status"], rows[-1]["node"])


def test_nothing_ends_the_block_of_code() -> None:
    """The fence is longer than any run of backticks in the topology."""
    text = topology_page(shape(make_node("n1", status_text="```` # not a heading")))

    assert text.startswith("`````text\n")
    assert text.endswith("\n`````")
    assert 2 == len(re.findall("`{5,}", text))


def test_the_topology_is_that_of_the_command_line() -> None:
    """The same tree, in the characters of a terminal."""
    whole = shape(*(make_node(name) for name in NODES))

    assert [plain(line) for line in drawn(tree_of(whole), ascii_only=False)] == topology_page(whole).splitlines()[1:-1]


def test_a_long_topology_is_bounded() -> None:
    """So many lines, and how many there are more."""
    problems = tuple(problem(number) for number in range(LINES_MAX))
    lines = topology_page(shape(make_node("n1"), problems=problems)).splitlines()

    assert LINES_MAX + 3 == len(lines)
    assert re.fullmatch(r"\.\.\. and \d+ more lines: `replictl topology` has them", lines[-2])


def test_problems_are_bounded_and_escaped() -> None:
    """The worst first; what others wrote is no markup; so many, and how many more there are."""
    worst = problem(999, severity=Severity.CRITICAL)
    problems = (*(problem(number) for number in range(PROBLEMS_MAX + 5)), worst)
    lines = list(report_page(shape(make_node("n1"), problems=problems), REPORT))

    assert [
        "- **CODE\\_999**, critical, for 5m: it is \\*bad\\* (\\<b\\>seen\\</b\\>)",
        "    - to do: mend \\`it\\`",
    ] == lines[2:4]
    assert "- and 6 more" in lines
    assert ["3 nodes answered, 0 did not; 0 events", "", "- poll: 1.2 ms"] == lines[-3:]


def test_symptoms_stand_under_their_cause() -> None:
    """One incident is one problem with what comes of it, bounded; who has seen it is said. The table says of what it comes."""
    seen = Acknowledgement(who="ann", why="on *it*", at=NOW)
    gone = problem(1, severity=Severity.CRITICAL, symptoms=SYMPTOMS_MAX + 2, acknowledged=seen)
    more = tuple(problem(2, node_id=f"n{number}", cause=gone.code) for number in range(SYMPTOMS_MAX + 2))
    alone = problem(3, cause="NOT_THERE")
    whole = shape(make_node("n1"), problems=(*more, gone, alone))
    lines = list(report_page(whole, REPORT))

    assert ["**CODE\\_001**", "**CODE\\_003**"] == [line.split(",")[0][2:] for line in lines if line.startswith("- **")]
    assert ["    - acknowledged by ann: on \\*it\\*", f"    - symptoms: {SYMPTOMS_MAX + 2}"] == [lines[3], lines[5]]
    assert SYMPTOMS_MAX == sum(line.startswith("        - **CODE\\_002** on n") for line in lines)
    assert "        - and 2 more" in lines
    assert "CODE_002 (of CODE_001)" == node_table(whole)[0]["problems"]


def test_no_problems() -> None:
    """That is said."""
    assert "No problems." in list(report_page(shape(make_node("n1")), REPORT))


def test_a_kafka_with_many_partitions_is_short() -> None:
    """Thousands of partitions are some lines."""
    shards = tuple(
        Shard(shard_id=f"t{topic}/{number}", role=ShardRole.PRIMARY) for topic in range(40) for number in range(100)
    )

    assert len(topology_page(shape(make_node("b1", shards=shards))).splitlines()) < 50
