from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path

import pytest

from blocks.errors import InvalidInputError
from blocks.models.search import NodeSearch
from deployments.cli.nodes import read_search
from doubles.cli import Outside
from doubles.labelled import ORDERS, labelled, listed


@pytest.fixture
async def outside() -> Outside:
    """A labelled fleet."""
    return await labelled()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{matches: {label.zone: {op: set}}, sort_by: [-node_id]}", ["n2", "n1"]),
        ("matches: {node_status: UNHEALTHY}", ["n2"]),
        ("max_results: 1", ["n1"]),
        ("search.yaml", ["n2"]),
    ],
)
async def test_search_is_tried(
    outside: Outside,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    text: str,
    found: list[str],
) -> None:
    """What a declaration's search finds can be seen before it is applied: from a file, or written out."""
    (tmp_path / "search.yaml").write_text("matches: {label.zone: b}\n")
    outside.folder = tmp_path

    assert found == [row["node"] for row in await listed(outside, capsys, "nodes", "orders", "--search", text)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing.yaml", "nothing.yaml cannot be read as a node search: No such file or directory"),
        ("binary", "binary cannot be read as a node search: this is not UTF-8 text"),
        ("{sortby: [x]}", "sortby: unknown field"),
        ("{max_results: 0}", "max_results: Input should be greater than or equal to 1"),
        ("{matches: {a: {op: near}}}", "matches.a.op: Input should be"),
        ("{a: 1}\n---\n{b: 2}", "a node search is one mapping"),
        ("- a: 1\n- b: 2", "a node search is one mapping"),
        ("{a: [", "is not YAML"),
    ],
)
def test_bad_search(tmp_path: Path, text: str, said: str) -> None:
    """What is no search is refused with what is wrong in it; a misspelt field is not passed over."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(InvalidInputError) as caught:
        read_search(text, tmp_path, BytesIO)

    assert said in str(caught.value)


def test_search_from_stdin(tmp_path: Path) -> None:
    """`-` is what comes in; nothing is no search."""
    assert NodeSearch(max_results=3) == read_search("-", tmp_path, lambda: BytesIO(b"max_results: 3"))

    with pytest.raises(InvalidInputError, match="a node search is one mapping"):
        read_search("-", tmp_path, BytesIO)


async def test_topology_has_labels(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """The tree begins with the cluster's labels; for machines the nodes have theirs."""
    value = await listed(outside, capsys, "topology", "orders")
    await asyncio.to_thread(outside.replictl, "topology", "orders")
    first = capsys.readouterr().out.splitlines()[0]

    assert (ORDERS, [{**ORDERS, "zone": "a"}, {**ORDERS, "zone": "b"}]) == (
        value["labels"],
        [one["labels"] for one in value["nodes"]],
    )
    assert first.endswith("  env=prod,team=told")
