from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.event import EventType
from blocks.models.record import Change
from blocks.models.source import DiscoveredCluster, HttpDiscovery, Rejected, Source
from doubles.views import NOW, address, discovery, found, later
from tasks.decide.discovery import LABELS_TOLD_MAX, NODES_TOLD_MAX, Outcome, discovered

SOURCE = Source(
    namespace="prod", name="inventory", http=HttpDiscovery.model_validate({"url": "http://inventory.test/"})
)
KEY = "prod/orders"
E = EventType


def _told(*node_ids: str, cluster_id: str = "orders", name: str | None = None, **labels: str) -> DiscoveredCluster:
    nodes = tuple(found(node_id) for node_id in node_ids)
    return DiscoveredCluster(cluster_id=cluster_id, display_name=name, labels=labels, nodes=nodes)


def _outcome(
    clusters: Sequence[DiscoveredCluster],
    known: Sequence[Discovery] = (),
    *,
    specs: Sequence[str] | None = None,
    unusable: Sequence[Rejected] = (),
    owners: Sequence[str] = ("prod/inventory", "prod/other"),
) -> Outcome:
    by_key = {record.key: record for record in known}
    have = frozenset(by_key if specs is None else specs)
    return discovered(SOURCE, tuple(clusters), by_key, have, now=NOW, owners=frozenset(owners), unusable=unusable)


def _types(change: Change) -> list[EventType]:
    return [draft.type for draft in change.drafts]


def _bad(cluster_id: str | None = "orders", node_id: str | None = None) -> Rejected:
    return Rejected(what="a record", reason="unusable", cluster_id=cluster_id, node_id=node_id)


def test_a_new_cluster_gets_a_record_and_a_spec() -> None:
    """What nobody declared is declared by us, and both are told, in one change."""
    outcome = _outcome([_told("n1", "n2", name="Orders")])
    change = outcome.changes[KEY]
    spec, record = change.swaps

    assert [E.CLUSTER_SPEC_SYNTHESISED, E.CLUSTER_DISCOVERED] == _types(change)
    assert (True, 1) == (isinstance(spec, ClusterSpec) and spec.synthetic, spec.version)
    assert discovery(["n1", "n2"], display_name="Orders") == record
    assert [KEY] == [ref.key for ref in outcome.new]


def test_a_declared_cluster_keeps_its_spec() -> None:
    """A spec that a person wrote is not touched."""
    change = _outcome([_told("n1")], specs=[KEY]).changes[KEY]

    assert [E.CLUSTER_DISCOVERED] == _types(change)
    assert [Discovery] == [type(record) for record in change.swaps]


def test_the_same_answer_changes_nothing() -> None:
    """Told again as it is known: no change, no event."""
    assert Outcome() == _outcome([_told("n1", "n2")], [discovery(["n1", "n2"])])


@given(st.permutations(["n1", "n2", "n3"]), st.permutations(["orders", "payments"]))
def test_order_does_not_matter(node_ids: list[str], cluster_ids: list[str]) -> None:
    """Clusters and nodes in any order are the same answer."""
    known = [discovery(), discovery(cluster_id="payments")]

    assert {} == _outcome([_told(*node_ids, cluster_id=cluster_id) for cluster_id in cluster_ids], known).changes


def test_changed_nodes_are_told_with_before_and_after() -> None:
    """A node that came, went or moved is one change of the cluster's record."""
    outcome = _outcome([_told("n1", "n9")], [discovery(["n1", "n2"], version=4)])
    change = outcome.changes[KEY]

    assert ([E.CLUSTER_DISCOVERY_CHANGED], 5) == (_types(change), change.swaps[0].version)
    assert ["n2"] == [node["node_id"] for node in change.drafts[0].data["before"]["nodes"] if node["node_id"] != "n1"]
    assert [KEY] == [ref.key for ref in outcome.changed]


def test_a_cluster_that_is_not_told_of_is_missing_not_deleted() -> None:
    """Its record stays, marked since when; told once."""
    known = [discovery(), discovery(cluster_id="payments")]
    outcome = _outcome([_told("n1", "n2", "n3", cluster_id="payments")], known)
    (record,) = outcome.changes[KEY].swaps

    assert ([E.CLUSTER_MISSING], NOW, known[0].nodes) == (
        _types(outcome.changes[KEY]),
        record.missing_since,
        record.nodes,
    )
    assert {} == _outcome([_told("n1", "n2", "n3", cluster_id="payments")], [known[1], record]).changes


def test_a_missing_cluster_that_is_told_of_returns() -> None:
    """Back as it was: one event, the mark is gone; back and changed: both are told."""
    known = [discovery(["n1"], missing_since=later(-60))]
    same, other = _outcome([_told("n1")], known), _outcome([_told("n2")], known)

    assert [E.CLUSTER_RETURNED] == _types(same.changes[KEY])
    assert [E.CLUSTER_RETURNED, E.CLUSTER_DISCOVERY_CHANGED] == _types(other.changes[KEY])
    assert None is same.changes[KEY].swaps[0].missing_since


def test_an_empty_answer_after_clusters_is_not_believed() -> None:
    """A source that forgot everything is suspicious: nothing is concluded, and it is said."""
    outcome = _outcome([], [discovery()])

    assert ({}, ()) == (outcome.changes, outcome.missing)
    assert "after one with 1 clusters" in str(outcome.suspicious)


def test_an_empty_answer_of_an_empty_source_is_fine() -> None:
    """Nothing before, or only what is missing already: nothing now."""
    assert Outcome() == _outcome([])
    assert Outcome(absent=1) == _outcome([], [discovery(missing_since=later(-60))])


def test_a_cluster_of_another_source_is_refused() -> None:
    """The first source that told of a cluster owns it; what a second one says is refused and said."""
    other = discovery(["n1"], source="prod/other")
    outcome = _outcome([_told("n9")], [other])

    assert {} == outcome.changes
    assert [("prod/orders", "it belongs to source prod/other, which told of it first")] == [
        (rejected.what, rejected.reason) for rejected in outcome.rejected
    ]


def test_another_sources_clusters_are_not_missed() -> None:
    """A source that does not tell of what is not its own says nothing about it."""
    assert Outcome() == _outcome([], [discovery(source="prod/other")])


def test_an_unusable_cluster_record_is_no_absence() -> None:
    """A known cluster whose record could not be used stays as it is, and is not missing."""
    known = [discovery(), discovery(["n1"], cluster_id="payments")]

    assert {} == _outcome([_told("n1", cluster_id="payments")], known, unusable=[_bad()]).changes


def test_an_unusable_node_record_is_no_absence() -> None:
    """A known node whose record could not be used stays in its cluster; one that is not told of goes."""
    outcome = _outcome([_told("n1")], [discovery()], unusable=[_bad(node_id="n2")])

    assert ["n1", "n2"] == [node.node_id for node in outcome.changes[KEY].swaps[0].nodes]


def test_an_unusable_record_of_an_unknown_node_keeps_all_nodes() -> None:
    """It may be any of those that are not told of."""
    assert {} == _outcome([_told("n1")], [discovery()], unusable=[_bad()]).changes


def test_an_unusable_record_of_an_unknown_cluster_keeps_all_clusters() -> None:
    """It may be any of those that are not told of: none is marked missing this time."""
    known = [discovery(), discovery(["n1"], cluster_id="payments")]
    outcome = _outcome([_told("n1", cluster_id="payments")], known, unusable=[_bad(None)])
    (said,) = outcome.rejected

    assert {} == outcome.changes
    assert "not marked missing: prod/orders" in said.reason


def test_a_cluster_that_suddenly_has_no_nodes_is_not_believed() -> None:
    """As a whole answer that is suddenly empty: nothing of it is changed, with a reason."""
    known = [discovery(), discovery(["n1"], cluster_id="payments")]
    outcome = _outcome([_told(), _told("n1", "n2", cluster_id="payments")], known)
    (said,) = outcome.rejected

    assert (["prod/payments"], "orders") == ([*outcome.changes], said.cluster_id)
    assert "without any node, after 3" in said.reason


def test_a_record_used_in_part_is_only_reported() -> None:
    """A label that was left out keeps no node that is gone, and does not stop clusters from going missing."""
    known = [discovery(), discovery(["n1"], cluster_id="payments")]
    partial = [_bad(None).evolve(partial=True), _bad("payments", "n1").evolve(partial=True)]
    outcome = _outcome([_told("n9", cluster_id="payments")], known, unusable=partial)

    assert ["n9"] == [node.node_id for node in outcome.changes["prod/payments"].swaps[0].nodes]
    assert [KEY] == [ref.key for ref in outcome.missing]


def test_labels_are_a_part_of_the_record() -> None:
    """Other labels of a cluster or of a node are a change, told with before and after."""
    known = [discovery(["n1"], labels={"env": "test"})]
    moved = DiscoveredCluster(
        cluster_id="orders", labels={"env": "test"}, nodes=(found("n1", labels={"zone": "b"}, node_class="big"),)
    )
    of_cluster = _outcome([_told("n1", env="prod")], known).changes[KEY]
    of_node = _outcome([moved], known).changes[KEY]
    told = of_cluster.drafts[0].data

    assert [[E.CLUSTER_DISCOVERY_CHANGED]] * 2 == [_types(of_cluster), _types(of_node)]
    assert ({"env": "test"}, {"env": "prod"}) == (told["before"]["labels"], told["after"]["labels"])
    assert {"env": "prod"} == of_cluster.swaps[0].labels
    assert [{"node_id": "n1", "agent_address": address("n1"), "node_class": "big", "labels": {"zone": "b"}}] == (
        of_node.drafts[0].data["after"]["nodes"]
    )


@given(st.permutations([("env", "prod"), ("team", "a"), ("zone", "b")]))
def test_the_order_of_labels_does_not_matter(labels: list[tuple[str, str]]) -> None:
    """The same labels in any order are the same answer."""
    known = discovery(["n1"], labels={"zone": "b", "env": "prod", "team": "a"})

    assert {} == _outcome([_told("n1", **dict(labels))], [known]).changes


def test_an_event_tells_of_no_more_than_it_can_hold() -> None:
    """Of a huge cluster the first nodes are told, and not all their labels; the record has everything."""
    labels = {f"label-{number}": "x" for number in range(50)}
    nodes = tuple(found(f"n{number:04}", labels=labels) for number in range(1_500))
    change = _outcome([DiscoveredCluster(cluster_id="orders", nodes=nodes)], specs=[KEY]).changes[KEY]
    told = change.drafts[0].data["nodes"]

    assert (1_500, NODES_TOLD_MAX) == (len(change.swaps[0].nodes), len(told))
    assert LABELS_TOLD_MAX == sum(len(node.get("labels", {})) for node in told)


NAMES = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sets(st.sampled_from(["n1", "n2", "n3"])), max_size=3)


@given(st.lists(NAMES, min_size=1, max_size=6))
def test_records_follow_the_answers(answers: list[dict[str, set[str]]]) -> None:
    """After any row of answers: what was told last is known, the rest is missing, and versions have no holes. A cluster that
    suddenly has no node is not believed.
    """
    known: dict[str, Discovery] = {}
    expected: dict[str, set[str]] = {}
    gone: set[str] = set()
    specs: set[str] = set()
    for answer in answers:
        clusters = tuple(_told(*node_ids, cluster_id=name) for name, node_ids in answer.items())
        outcome = discovered(SOURCE, clusters, known, frozenset(specs), now=NOW, owners=frozenset())
        for key, change in outcome.changes.items():
            for record in change.swaps:
                if isinstance(record, ClusterSpec):
                    specs.add(key)
                else:
                    assert (known[key].version if key in known else 0) + 1 == record.version
                    known[key] = record
        if outcome.suspicious is None:
            believed = {name: told for name, told in answer.items() if told or not expected.get(name)}
            expected |= believed
            gone = (gone | (expected.keys() - answer.keys())) - believed.keys()
            missing = {record.cluster_id for record in known.values() if record.missing_since is not None}

            assert (answer.keys() - believed.keys()) == {bad.cluster_id for bad in outcome.rejected if not bad.partial}
            assert expected == {record.cluster_id: {node.node_id for node in record.nodes} for record in known.values()}
            assert gone == missing
    assert specs == known.keys()
