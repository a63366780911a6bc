"""What a simulated fleet is made of."""

from __future__ import annotations

from typing import Any

import pytest

from infra.simulator.errors import SimulatorError
from infra.simulator.layout import Layout, build, partition_names
from infra.simulator.model import Cluster, Kind, Wire

MIXED = Layout(clusters=4, kinds=(Kind.MONGODB, Kind.KAFKA), protocols=(Wire.A, Wire.B), partitions=(10, 20))


def facts(clusters: list[Cluster]) -> list[object]:
    """What can be told of clusters."""
    return [
        (c.name, c.version, c.checkout, c.leader and c.leader.name, [(n.name, n.url, n.wire) for n in c.nodes])
        for c in clusters
    ]


def test_the_same_layout_makes_the_same_fleet() -> None:
    """Nothing but the layout decides; another seed makes another fleet."""
    first, second = list(build(MIXED, 8000, 0)), list(build(MIXED, 8000, 0))
    other = list(build(Layout(clusters=4, kinds=MIXED.kinds, protocols=MIXED.protocols, seed=1), 8000, 0))

    assert facts(first) == facts(second)
    assert facts(first) != facts(other)


def test_kinds_and_protocols_are_taken_in_turn() -> None:
    """Every combination comes up; partitions alternate from one Kafka cluster to the next."""
    clusters = list(build(MIXED, 8000, 0))

    expected = [
        (Kind.MONGODB, Wire.A, 0),
        (Kind.KAFKA, Wire.A, 10),
        (Kind.MONGODB, Wire.B, 0),
        (Kind.KAFKA, Wire.B, 20),
    ]
    assert expected == [(c.kind, c.nodes[0].wire, len(c.partitions)) for c in clusters]


def test_every_node_has_an_address_of_its_own() -> None:
    """Addresses follow the base, over the end of a byte."""
    clusters = build(Layout(clusters=100, base_address="127.10.0.250"), 8000, 0)
    urls = [node.url for cluster in clusters for node in cluster.nodes]

    assert 300 == len(set(urls))
    assert ["http://127.10.0.251:8000", "http://127.10.1.0:8000"] == [urls[0], urls[5]]


def test_refusable_nodes_are_spread_over_the_fleet() -> None:
    """As many of the first half as of the second have a listener, on the other port."""
    nodes = [node for cluster in build(Layout(clusters=10, refusable=6), 1, 2) for node in cluster.nodes]

    assert [3, 3] == [sum(node.refusable for node in half) for half in (nodes[:15], nodes[15:])]
    assert {(True, 2), (False, 1)} == {(node.refusable, node.port) for node in nodes}


def test_unformed_sets_have_no_members() -> None:
    """The first MongoDB clusters wait to be initialised."""
    clusters = list(build(Layout(clusters=2, unformed=1), 1, 2))

    assert [(False, False), (True, True)] == [(c.nodes[0].member, c.leader is not None) for c in clusters]


def test_partitions_are_listed_in_order() -> None:
    """Names are unique and sorted, whatever their number."""
    names = partition_names(1_000)

    assert (1_000, sorted(names)) == (len(set(names)), list(names))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"clusters": -1}, "the number of clusters must be from 0 to 1000000, not -1"),
        ({"size": 0}, "the number of nodes per cluster must be from 1 to 1000, not 0"),
        ({"partitions": (100, 20_001)}, "the number of partitions must be from 1 to 20000, not 20001"),
        ({"refusable": 10}, "the number of refusable nodes must be from 0 to 9, not 10"),
        ({"kinds": ()}, "the number of kinds must be from 1 to 1000, not 0"),
        ({"base_address": "10.0.0.1"}, "9 addresses from 10.0.0.1 on are not all within 127.0.0.0/8"),
        ({"base_address": "127.255.255.250"}, "9 addresses from 127.255.255.250 on are not all within 127.0.0.0/8"),
        ({"base_address": "255.255.255.255"}, "9 addresses from 255.255.255.255 on are not all within 127.0.0.0/8"),
        ({"base_address": "here"}, "the base address 'here' is not an IPv4 address"),
    ],
)
def test_what_cannot_be_built_is_refused(wrong: dict[str, Any], sentence: str) -> None:
    """The sentence says what is wrong."""
    with pytest.raises(SimulatorError) as error:
        Layout(**wrong)

    assert sentence == str(error.value)
