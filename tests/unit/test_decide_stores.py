from __future__ import annotations

from typing import Any

import pytest

from blocks.models.node import NodeStatus, Version
from doubles.views import NOW, make_node, make_view
from tasks.decide.aggregate import aggregate
from tasks.decide.stores import family

OLD = Version(number="5.0.0")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MongoDB", "mongo"),
        ("mongo.replica", "mongo"),
        ("Kafka", "kafka"),
        ("Zookeeper", "zookeeper"),
        ("My DB", "my db"),
    ],
)
def test_the_family_of_a_store(name: str, expected: str) -> None:
    """However its agent spells it."""
    assert expected == family(name)


@pytest.mark.parametrize(
    ("fields", "evidence"),
    [
        pytest.param({"store_id": "MongoDB"}, None, id="another spelling"),
        pytest.param({"store_version": Version(number="6.0.0+1a2b3c")}, None, id="another build"),
        pytest.param({"store_id": "mongos", "store_version": None}, None, id="no version"),
        pytest.param({"store_id": "redis", "store_version": OLD}, None, id="another store"),
        pytest.param(
            {"status": NodeStatus.UNREACHABLE, "info_stale_since": NOW, "store_version": OLD}, None, id="long ago"
        ),
        pytest.param({"store_version": OLD}, "mongo.replica 5.0.0, mongo.replica 6.0.0", id="older"),
        pytest.param(
            {"store_id": "MongoDB", "store_version": OLD},
            "MongoDB 5.0.0, mongo.replica 6.0.0",
            id="older, spelt otherwise",
        ),
    ],
)
def test_versions_of_one_store_are_compared(fields: dict[str, Any], evidence: str | None) -> None:
    """Of one family, and only what its nodes tell now."""
    nodes = [make_node("n1"), make_node("n2", **fields), *(make_node(one) for one in ("n3", "n4", "n5"))]
    found = [one.evidence for one in aggregate(make_view(*nodes), now=NOW).problems if one.code == "VERSION_SKEW"]

    assert ([] if evidence is None else [evidence]) == found
