from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.node import Attribute, Node, NodeStatus, Shard, ShardRole, Version
from blocks.models.search import Matcher, NodeSearch
from blocks.models.view import ClusterView
from doubles.views import discovery, found, make_node, make_view
from tasks.decide.search import labels_of_cluster, labels_of_node, labels_of_nodes, search


def shards(*roles: ShardRole | str) -> tuple[Shard, ...]:
    """A shard for each role; a text is a role of the store's own."""
    return tuple(
        Shard(shard_id=f"s{number}", role=role)
        if isinstance(role, ShardRole)
        else Shard(shard_id=f"s{number}", role=ShardRole.OTHER, role_text=role)
        for number, role in enumerate(roles)
    )


LEFT = make_node(
    "b",
    namespace="east",
    attributes={"size": 42, "fast": True, "zone": "x"},
    store_attributes={"size": 1, "engine": "wired"},
    shards=shards(ShardRole.SECONDARY, ShardRole.RECOVERING, "arbiter"),
)
RIGHT = make_node(
    "a",
    namespace="west",
    attributes={"size": 16, "fast": False, "zone": None},
    shards=shards(ShardRole.PRIMARY, ShardRole.RECOVERING, "arbiter", "arbiter"),
)


def ids(view: ClusterView, **wanted: Any) -> list[str]:
    """Ids of the nodes that a search finds, in its order."""
    return [node.node_id for node in search(view, NodeSearch.model_validate(wanted))]


def ordered(*sort_by: str) -> str:
    """Both nodes in this order."""
    return "".join(ids(make_view(LEFT, RIGHT), sort_by=sort_by))


# -- order: thirteen ways to compare two nodes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sort_by", "expected"),
    [
        pytest.param(["ns_id"], "ba", id="by namespace"),
        pytest.param(["cluster_id"], "ab", id="equal: by node id"),
        pytest.param(["node_id"], "ab", id="by node id"),
        pytest.param(["cluster_id", "ns_id"], "ba", id="equal, then namespace"),
        pytest.param(["cluster_id", "-node_id"], "ba", id="equal, then node id"),
        pytest.param(["size"], "ab", id="numbers"),
        pytest.param(["fast"], "ab", id="false before true"),
        pytest.param(["zone"], "ba", id="a text before null"),
        pytest.param(["-size"], "ba", id="numbers the other way round"),
        pytest.param(["shard.count.primary"], "ba", id="number of primaries"),
        pytest.param(["shard.count.secondary"], "ab", id="number of secondaries"),
        pytest.param(["shard.count.recovering"], "ab", id="same number of recovering ones: by node id"),
        pytest.param(["shard.count.arbiter"], "ba", id="number in a role of the store's own"),
    ],
)
def test_order_of_two_nodes(sort_by: Sequence[str], expected: str) -> None:
    """The first attribute that differs decides, then the node's id."""
    assert expected == ordered(*sort_by)


MIXED: dict[str, Attribute] = {"number": 7, "real": 7.5, "text": "7", "true": True, "null": None}


def mixed() -> ClusterView:
    """A node for each type of attribute, and one that has it not."""
    nodes = [make_node(name, attributes={"x": value}) for name, value in MIXED.items()]
    return make_view(*reversed(nodes), make_node("unset", attributes={}))


def test_types_in_order() -> None:
    """Numbers, texts, booleans, null, and last what is not set; `-` turns all of it round, `+` changes nothing."""
    order = [*MIXED, "unset"]

    assert order == ids(mixed(), sort_by=["x"])
    assert order == ids(mixed(), sort_by=["+x"])
    assert order[::-1] == ids(mixed(), sort_by=["-x"])


def test_ties_are_by_node_id_in_both_directions() -> None:
    """Equal nodes come by id, whichever way is sorted."""
    view = make_view(*(make_node(name, attributes={"x": 1}) for name in "cab"))

    assert ["a", "b", "c"] == ids(view, sort_by=["x"]) == ids(view, sort_by=["-x"]) == ids(view)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@given(st.lists(st.dictionaries(st.sampled_from("xy"), VALUES), max_size=8))
def test_any_mixture_has_one_order(attributes: list[dict[str, Attribute]]) -> None:
    """Whatever agents say, sorting does not fail, loses no node, and does not depend on where it began."""
    nodes = [make_node(f"n{number}", attributes=told) for number, told in enumerate(attributes)]
    one = ids(make_view(*nodes), sort_by=["x", "-y"])
    other = ids(make_view(*reversed(nodes)), sort_by=["x", "-y"])

    assert one == other
    assert {node.node_id for node in nodes} == set(one)


@given(st.lists(st.integers() | st.floats(allow_nan=False), min_size=2, max_size=8))
def test_numbers_of_both_types_rise(numbers: list[float]) -> None:
    """Integers and reals are in one order, however big."""
    view = make_view(*(make_node(f"n{at}", attributes={"x": number}) for at, number in enumerate(numbers)))
    sorted_ = [node.attributes["x"] for node in search(view, NodeSearch(sort_by=("x",)))]

    assert all(one <= other for one, other in pairwise(sorted_))  # type: ignore[operator]


def test_no_number_is_behind_nan() -> None:
    """What is no number comes behind all that are."""
    view = make_view(make_node("a", attributes={"x": math.nan}), make_node("b", attributes={"x": math.inf}))

    assert ["b", "a"] == ids(view, sort_by=["x"])


# -- selection: six ways to be among the nodes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("matches", "selected"),
    [
        pytest.param({}, True, id="no criteria"),
        pytest.param({"store_id": "mongo.replica"}, True, id="one that holds"),
        pytest.param({"store_id": "mongo.replica", "zone": "x"}, True, id="two that hold"),
        pytest.param({"store_id": "mongo.replica", "nothing": True}, False, id="one is about what is not there"),
        pytest.param({"store_id": {"op": "set"}}, True, id="set"),
        pytest.param({"store_id": {"op": "unset"}}, False, id="not unset"),
    ],
)
def test_selection(matches: dict[str, Any], *, selected: bool) -> None:
    """A node is selected when all criteria hold."""
    assert (["b"] if selected else []) == ids(make_view(LEFT), matches=matches)


def test_unset_does_not_end_the_comparison() -> None:
    """What is rightly unset matches that criterion only: the others count all the same."""
    assert ["b"] == ids(make_view(LEFT), matches={"nothing": {"op": "unset"}, "zone": "x"})
    assert [] == ids(make_view(LEFT), matches={"nothing": {"op": "unset"}, "zone": "y"})


@pytest.mark.parametrize("op", ["eq", "in", "ne", "not-in", "set"])
def test_what_is_not_set_matches_unset_only(op: str) -> None:
    """No other operator holds for an attribute that is not there."""
    assert [] == ids(make_view(LEFT), matches={"nothing": {"op": op, "value": 1, "values": [1]}})


def test_null_is_set() -> None:
    """An attribute whose value is null is there."""
    assert ["a"] == ids(make_view(LEFT, RIGHT), matches={"zone": None})
    assert ["a", "b"] == ids(make_view(LEFT, RIGHT), matches={"zone": {"op": "set"}})


def test_the_best_are_kept() -> None:
    """Nodes are cut to the wanted number when they are in order, not before."""
    view = make_view(*(make_node(f"n{number}", attributes={"x": number % 4}) for number in range(8)))

    assert ["n3", "n7", "n2"] == ids(view, sort_by=["-x"], max_results=3)


# -- matchers: six forms, and those that never hold ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("matcher", "yes", "no"),
    [
        pytest.param("ABC", "ABC", "abc", id="a value"),
        pytest.param(["ABC", "DEF"], "DEF", "GHI", id="a list"),
        pytest.param({"op": "eq", "value": 123}, 123.0, "123", id="eq"),
        pytest.param({"op": "in", "values": [123, "DEF"]}, "DEF", 124, id="in"),
        pytest.param({"op": "ne", "value": 321}, "321", 321, id="ne"),
        pytest.param({"op": "not-in", "values": [123, "DEF"]}, "ABC", 123.0, id="not-in"),
        pytest.param({"op": "eq", "value": True}, True, 1, id="true is not 1"),
        pytest.param({"op": "ne", "value": 0}, False, 0.0, id="false is not 0"),
    ],
)
def test_matcher(matcher: Any, yes: Attribute, no: Attribute) -> None:
    """What holds for one value and not for another."""
    view = make_view(make_node("yes", attributes={"x": yes}), make_node("no", attributes={"x": no}))

    assert ["yes"] == ids(view, matches={"x": matcher})


@pytest.mark.parametrize("op", ["eq", "ne", "in", "not-in"])
def test_operator_without_operand_never_matches(op: str) -> None:
    """Not before and not after it has been stored and read again; null is an operand."""
    matcher = Matcher.model_validate({"op": op})
    again = Matcher.model_validate_json(matcher.model_dump_json())
    view = make_view(make_node("null", attributes={"x": None}), make_node("one", attributes={"x": 1}))

    assert [[], []] == [ids(view, matches={"x": one}) for one in (matcher, again)]
    assert ["null"] == ids(view, matches={"x": json.loads(Matcher(op="eq", value=None).model_dump_json())})


# -- attributes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ns_id", "prod"),
        ("cluster_id", "orders"),
        ("node_id", "n1"),
        ("node_status", "UNHEALTHY"),
        ("node_class", "big"),
        ("node_group", "main"),
        ("store_id", "mongo.replica"),
        ("address.client", "h:1"),
        ("address.metrics", "h:2"),
        ("agent_version.number", "1.2"),
        ("agent_version.checkout", "abc"),
        ("store_version.number", "6.0"),
        ("store_version.extra", "rc"),
        ("rack", 7),
        ("engine", "wired"),
        ("shard.count.primary", 1),
        ("shard.count.secondary", 0),
        ("shard.count.other", 1),
        ("label.env", "prod"),
        ("label.example.org/tier", "gold"),
        ("agent_version.taint", None),
        ("store_version.checkout", None),
        ("store_version.nonsense", None),
        ("address.member", None),
        ("shard.count.arbiter", None),
        ("label.nope", None),
        ("nothing", None),
    ],
)
def test_attributes(name: str, value: Attribute) -> None:
    """Each has its name; None: it is not set. What an agent calls like one of ours is not taken for it."""
    node = make_node(
        "n1",
        status=NodeStatus.UNHEALTHY,
        node_class="big",
        node_group="main",
        addresses={"client": "h:1", "metrics": "h:2"},
        agent_version=Version(number="1.2", checkout="abc"),
        store_version=Version(number="6.0", extra="rc"),
        attributes={"rack": 7, "node_id": "forged", "label.nope": "forged", "agent_version.taint": "forged"},
        store_attributes={"rack": 8, "engine": "wired"},
        shards=shards(ShardRole.PRIMARY, ShardRole.OTHER),
    )
    view = make_view(node)
    view = replace(view, spec=view.spec.evolve(labels={"env": "prod", "example.org/tier": "gold"}))
    matcher: Any = {"op": "unset"} if value is None else value

    assert ["n1"] == ids(view, matches={name: matcher})


def test_node_without_facts_can_be_searched() -> None:
    """A node that never answered has nothing but its name."""
    bare = make_node("n1", agent_version=None, store_id=None, store_version=None, shards=())

    assert ["n1"] == ids(
        make_view(bare), matches={"agent_version.number": {"op": "unset"}, "store_id": {"op": "unset"}}
    )


# -- labels ----------------------------------------------------------------------------------------------------------------


def labelled() -> ClusterView:
    """A cluster whose manifest and source both give labels."""
    nodes = (
        found("n1", labels={"zone": "told", "rack": "told", "env": "node"}),
        found("n2"),
    )
    view = make_view(
        make_node("n1"),
        make_node("n2"),
        discovery=discovery(()).evolve(nodes=nodes, labels={"env": "told", "team": "told"}),
    )
    return replace(view, spec=view.spec.evolve(labels={"env": "wanted"}, node_labels={"n1": {"zone": "wanted"}}))


def test_labels_in_effect() -> None:
    """The node's own over the cluster's, and of each the manifest's over the source's."""
    view = labelled()
    cluster = {"env": "wanted", "team": "told"}
    first = {**cluster, "env": "node", "zone": "wanted", "rack": "told"}

    assert cluster == labels_of_cluster(view.spec, view.discovery)
    assert first == labels_of_node(view.spec, view.discovery, "n1")
    assert cluster == labels_of_node(view.spec, view.discovery, "n2")
    assert {"n1": first} == labels_of_nodes(view.spec, view.discovery)
    assert ({}, {}, {}) == (labels_of_cluster(None, None), labels_of_node(None, None, "n"), labels_of_nodes(None, None))


def test_search_by_label() -> None:
    """Nodes are found by their own labels and by their cluster's."""
    assert ["n1"] == ids(labelled(), matches={"label.zone": "wanted"})
    assert ["n2"] == ids(labelled(), matches={"label.env": "wanted", "label.zone": {"op": "unset"}})


def test_search_gives_whole_nodes() -> None:
    """What is found are the nodes of the view."""
    assert (RIGHT, LEFT) == search(make_view(LEFT, RIGHT), NodeSearch())
    assert isinstance(search(make_view(LEFT), NodeSearch())[0], Node)
