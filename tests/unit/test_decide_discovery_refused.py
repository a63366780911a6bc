"""A record of a node that cannot be used removes nothing: the node may be the one with the mistake in it."""

from __future__ import annotations

import pytest

from blocks.models.source import DiscoveredCluster, Rejected
from doubles.views import NOW, discovery, found
from doubles.world import SOURCE
from tasks.decide.discovery import discovered


@pytest.mark.parametrize(
    ("told", "bad", "expected"),
    [
        pytest.param(["n1"], ["htp://n2"], ["n1", "n2"], id="an id with a mistake may be the known node's"),
        pytest.param([], ["htp://n1"], ["n1", "n2"], id="also where nothing else is told"),
        pytest.param(["n1"], ["n2"], ["n1", "n2"], id="its own record is refused"),
        pytest.param(["n2"], ["n2"], ["n2"], id="a second record of one that is told"),
        pytest.param(["n1"], [None], ["n1", "n2"], id="whose record it is cannot be told"),
        pytest.param(["n1"], [], ["n1"], id="nothing is refused: it is gone"),
    ],
)
def test_known_nodes_beside_refused_records(told: list[str], bad: list[str | None], expected: list[str]) -> None:
    """Only what a good answer leaves out is gone."""
    before = discovery(["n1", "n2"], source=SOURCE.key)
    cluster = DiscoveredCluster(cluster_id="orders", nodes=tuple(found(node_id) for node_id in told))
    refused = [Rejected(what="a node", reason="no URL", cluster_id="orders", node_id=node_id) for node_id in bad]
    outcome = discovered(
        SOURCE, [cluster], {before.key: before}, frozenset({before.key}), now=NOW,
        owners=frozenset({SOURCE.key}), unusable=refused,
    )  # fmt: skip
    change = outcome.changes.get(before.key)
    record = change.swaps[-1] if change is not None and change.swaps else before

    assert expected == [node.node_id for node in record.nodes]  # type: ignore[union-attr]
