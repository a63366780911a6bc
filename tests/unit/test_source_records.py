"""Pages of the discovery protocol as clusters and nodes: both shapes, duplicates, and what cannot be used."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import SourceError
from blocks.models.source import DiscoveredNode, Rejected
from blocks.sources.pages import Page, read_page
from blocks.sources.protocol import Found
from blocks.sources.records import Collector
from blocks.sources.settings import SourcesSettings

URL = "http://10.0.0.1:8000"
BAD_KEY = "a label's key has letters, digits and '._/-' only, and at most 128 of them"
BAD_VALUE = "a label's value has at most 256 characters, none of them control characters, and no blanks at its ends"


def collect(*clusters: object, **limits: int) -> Found:
    """What a single page of these says."""
    collector = Collector(SourcesSettings.model_validate(limits))
    collector.add(Page(list(clusters), None))
    return collector.found()


def nodes(*records: object) -> Found:
    """What one cluster with these nodes says."""
    return collect({"cluster_id": "c", "nodes": list(records)})


def reasons(found: Found) -> list[tuple[str, str]]:
    """What was rejected and why."""
    return [(rejected.what, rejected.reason) for rejected in found.rejected]


class TestNodes:
    def test_both_shapes(self) -> None:
        """A URL is a node whose id it is; an object has all fields; both may stand in one list."""
        full = {"node_id": "n1", "agent_address": URL, "node_class": "mongo", "node_group": "g", "extra": 1}

        [cluster] = nodes("https://h:1/path", full).clusters

        expected = (
            DiscoveredNode(node_id="https://h:1/path", agent_address="https://h:1/path"),
            DiscoveredNode(node_id="n1", agent_address=URL, node_class="mongo", node_group="g"),
        )
        assert expected == cluster.nodes

    @pytest.mark.parametrize(
        ("record", "what", "reason"),
        [
            (7, "a node of cluster c: 7", "it is neither a URL nor an object"),
            ("ftp://h:1", "node ftp://h:1 of cluster c", "agent_address: it is not an http or https URL"),
            ("h:8000", "node h:8000 of cluster c", "agent_address: it is not an http or https URL"),
            ("http://h:99999", "node http://h:99999 of cluster c", "agent_address: it is not an http or https URL"),
            ({"node_id": "n"}, "node n of cluster c", "agent_address: it is not a text"),
            (
                "http://ann:secret@h:1",
                "node (not shown) of cluster c",
                "agent_address: it must not carry credentials",
            ),
            ({"agent_address": URL}, "node null of cluster c", "node_id: Input should be a valid string"),
            (
                {"node_id": " n", "agent_address": URL},
                "node  n of cluster c",
                "node_id: Value error, an id has no control characters, no blanks at its ends and is not '.' or '..'",
            ),
            (
                {"node_id": "n", "agent_address": URL, "node_class": 1},
                "node n of cluster c",
                "node_class: Input should be a valid string",
            ),
        ],
    )
    def test_an_unusable_one_is_rejected_alone(self, record: object, what: str, reason: str) -> None:
        """The good node stays, the bad one is named with its reason; the cluster is known to be told of."""
        found = nodes(record, URL)

        assert [(what, reason)] == reasons(found)
        assert [1] == [len(cluster.nodes) for cluster in found.clusters]
        assert "c" == found.rejected[0].cluster_id
        assert "secret" not in str(found)

    def test_the_first_of_two_counts(self) -> None:
        """The same record twice is one node; another record with its id is rejected."""
        first = {"node_id": "n", "agent_address": URL}
        found = nodes(first, first, {**first, "agent_address": "http://other:1"})

        [cluster] = found.clusters
        assert (DiscoveredNode(node_id="n", agent_address=URL),) == cluster.nodes
        expected = Rejected(
            what="node n of cluster c",
            reason="told of twice and not the same; the one that sorts first counts",
            cluster_id="c",
            node_id="n",
        )
        assert (expected,) == found.rejected


class TestClusters:
    @pytest.mark.parametrize(
        ("record", "what", "reason", "cluster_id"),
        [
            (7, "a cluster record: 7", "it is not an object", None),
            ({"nodes": []}, "cluster null", "cluster_id: Input should be a valid string", None),
            ({"cluster_id": "c"}, "cluster c", "nodes: it is not a list", "c"),
            ({"cluster_id": "c", "nodes": {}}, "cluster c", "nodes: it is not a list", "c"),
            (
                {"cluster_id": "c", "nodes": [], "display_name": 1},
                "cluster c",
                "display_name: Input should be a valid string",
                "c",
            ),
        ],
    )
    def test_an_unusable_one_is_rejected_alone(
        self, record: object, what: str, reason: str, cluster_id: str | None
    ) -> None:
        """The good cluster stays; the bad one is named, by its id where it has one, so that it is not taken for missing."""
        found = collect(record, {"cluster_id": "good", "nodes": []})

        assert ["good"] == [cluster.cluster_id for cluster in found.clusters]
        assert (Rejected(what=what, reason=reason, cluster_id=cluster_id),) == found.rejected

    def test_one_that_is_told_of_twice_has_the_nodes_of_both(self) -> None:
        """A cluster that is spread over records or pages is put together in the order of the answer."""
        collector = Collector(SourcesSettings())
        collector.add(Page([{"cluster_id": "c", "nodes": ["http://a"]}, {"cluster_id": "d", "nodes": []}], "1"))
        collector.add(Page([{"cluster_id": "c", "display_name": "C", "nodes": ["http://b", "http://a"]}], None))

        found = collector.found()

        told = [(cluster.cluster_id, cluster.display_name, len(cluster.nodes)) for cluster in found.clusters]
        assert [("c", "C", 2), ("d", None, 0)] == told

    def test_too_many_nodes_for_one_cluster(self) -> None:
        """A cluster of more than 10,000 nodes is rejected as a whole, by its id."""
        found = collect({"cluster_id": "c", "nodes": [f"http://h{number}" for number in range(10_001)]})

        assert () == found.clusters
        assert ["c"] == [rejected.cluster_id for rejected in found.rejected]

    @pytest.mark.parametrize(
        ("limits", "reason"),
        [
            ({"clusters_max": 1}, "it tells of more than 1 clusters"),
            ({"nodes_max": 1}, "it tells of more than 1 nodes"),
            (
                {"rejected_max": 1},
                "it tells of more than 1 records that cannot be used, the first: it is not an object",
            ),
        ],
    )
    def test_floods_are_no_answer(self, limits: dict[str, int], reason: str) -> None:
        """More than the settings allow is no answer at all."""
        two = [{"cluster_id": name, "nodes": [f"http://{name}"]} for name in ("a", "b")]

        with pytest.raises(SourceError) as error:
            collect(*two, 7, 8, **limits)
        assert reason == str(error.value)


class TestLabels:
    def test_of_clusters_and_nodes(self) -> None:
        """Both may have them; numbers and booleans become their JSON text; none at all is no fault."""
        labels = {"env": "prod", "rack": 7, "share": 0.5, "spare": True, "team/owner": ""}
        node = {"node_id": "n", "agent_address": URL, "labels": labels}

        found = collect({"cluster_id": "c", "labels": labels, "nodes": [node, URL]}, {"cluster_id": "d", "nodes": []})

        expected = {"env": "prod", "rack": "7", "share": "0.5", "spare": "true", "team/owner": ""}
        assert [expected, {}] == [cluster.labels for cluster in found.clusters]
        assert [expected, {}] == [told.labels for told in found.clusters[0].nodes]
        assert () == found.rejected

    @pytest.mark.parametrize(
        ("labels", "kept", "reason"),
        [
            (7, {}, "labels: it is not an object"),
            (["env"], {}, "labels: it is not an object"),
            (
                {"good": "x", "bad key": "y", "-": "z"},
                {"good": "x"},
                f"labels: 2 left out, the first is 'bad key': {BAD_KEY}",
            ),
            (
                {"good": "x", "k": " y"},
                {"good": "x"},
                f"labels: 1 left out, the first is 'k': {BAD_VALUE}",
            ),
            (
                {"k": None, "l": [], "m": float("inf"), "n": 2**300},
                {},
                "labels: 4 left out, the first is 'k': its value is neither a text nor a number nor a boolean",
            ),
            (
                {f"k{number}": "x" for number in range(70)},
                {f"k{number}": "x" for number in range(64)},
                "labels: 6 left out, the first is 'k64': there are more than 64",
            ),
        ],
        ids=range(6),
    )
    def test_what_does_not_fit_is_left_out(self, labels: object, kept: dict[str, str], reason: str) -> None:
        """The record itself is used, with the labels that fit; one partial rejection says what was left out."""
        node = {"node_id": "n", "agent_address": URL, "labels": labels}
        [cluster] = nodes(node).clusters
        of_node = nodes(node).rejected
        found = collect({"cluster_id": "c", "nodes": [], "labels": labels})

        partial = Rejected(what="cluster c", reason=reason, cluster_id="c", partial=True)
        assert (kept, kept) == (cluster.nodes[0].labels, found.clusters[0].labels)
        assert (partial.evolve(what="node n of cluster c", node_id="n"),) == of_node
        assert (partial,) == found.rejected

    def test_of_a_cluster_that_is_told_of_twice(self) -> None:
        """All of both, one word counts and the other is said; what is too much is left out, the cluster is not."""
        found = collect(
            {"cluster_id": "c", "nodes": [], "labels": {"a": "1", "b": "1"}},
            {"cluster_id": "c", "nodes": [], "labels": {"b": "2", **{f"k{number}": "x" for number in range(63)}}},
        )

        [cluster] = found.clusters
        assert ("1", "1", 64) == (cluster.labels["a"], cluster.labels["b"], len(cluster.labels))
        assert [
            ("cluster c", "told of twice: its nodes and labels are put together"),
            ("cluster c", "labels: 1 left out: there are more than 64"),
            ("cluster c", "labels: b: told of twice and not the same; the one that sorts first counts"),
        ] == reasons(found)

    @given(st.data())
    def test_the_order_of_an_answer_means_nothing(self, data: st.DataObject) -> None:
        """Records that contradict each other come to the same, whichever is told of first."""
        addresses = st.sampled_from(["http://a:1", "http://b:1"])
        node = st.fixed_dictionaries({"node_id": st.sampled_from(["n", "m"]), "agent_address": addresses})
        words = st.sampled_from(["x", "y"])
        labels = st.dictionaries(st.sampled_from(["env", "team"]), words)
        record = st.fixed_dictionaries(
            {"cluster_id": st.sampled_from(["c", "d"]), "nodes": st.lists(node, max_size=3), "labels": labels},
            optional={"display_name": words},
        )
        told = data.draw(st.lists(record, max_size=4))
        shuffled = [
            {**one, "nodes": data.draw(st.permutations(one["nodes"]))} for one in data.draw(st.permutations(told))
        ]

        def known(records: list[dict[str, Any]]) -> dict[str, object]:
            return {
                cluster.cluster_id: (
                    cluster.display_name, cluster.labels, sorted(cluster.nodes, key=lambda node: node.node_id),
                )
                for cluster in collect(*records).clusters
            }  # fmt: skip

        assert known(told) == known(shuffled)

    def test_many_partial_rejections_are_no_flood(self) -> None:
        """They do not cost the answer; those that are too many to tell of are counted."""
        records = [{"cluster_id": f"c{number}", "nodes": [], "labels": 7} for number in range(5)]

        found = collect(*records, rejected_max=2)

        assert 5 == len(found.clusters)
        told = [rejected.what for rejected in found.rejected]
        assert ["cluster c0", "cluster c1", "3 more records"] == told
        assert all(rejected.partial for rejected in found.rejected)


def test_what_is_too_deep_to_show_is_rejected() -> None:
    """A record that JSON's writer cannot write again is named by its kind."""
    deep = orjson.loads("[" * 600 + "]" * 600)

    assert [("a cluster record: a value of the kind list", "it is not an object")] == reasons(collect(deep))


texts = st.text(st.characters(), max_size=8)  # halves of characters too
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "cluster_id",
                    "nodes",
                    "display_name",
                    "node_id",
                    "agent_address",
                    "node_class",
                    "cursor",
                    "clusters",
                    "labels",
                ]
            ),
            inner | st.sampled_from(["c", URL, "http://[", "http://ü"]),
            max_size=5,
        )
    ),
    max_leaves=20,
)


good_node = st.sampled_from(["http://good:1", {"node_id": "good", "agent_address": URL, "labels": {"a": "b"}}])


@given(st.lists(values, max_size=8), st.lists(values, max_size=8), good_node, st.data())
def test_the_good_is_kept_among_whatever_else(
    records: list[object], others: list[object], node: object, data: st.DataObject
) -> None:
    """Each record is part of a cluster or rejected with a reason; a good node of a good cluster is told of as it is."""
    all_nodes = list(others)
    all_nodes.insert(data.draw(st.integers(0, len(others))), node)
    all_records = list(records)
    all_records.insert(data.draw(st.integers(0, len(records))), {"cluster_id": "the good", "nodes": all_nodes})

    found = collect(*all_records)

    [cluster] = [cluster for cluster in found.clusters if cluster.cluster_id == "the good"]
    [expected] = collect({"cluster_id": "the good", "nodes": [node]}).clusters
    assert expected.nodes[0] in cluster.nodes
    whole = [rejected for rejected in found.rejected if not rejected.partial]
    assert len(all_records) <= len(found.clusters) + len(whole) + sum(_again(all_records))
    assert all(rejected.what and rejected.reason for rejected in found.rejected)
    assert found == Found.model_validate_json(found.model_dump_json())


def _again(records: list[object]) -> list[bool]:
    """Of each record, whether it tells of a cluster that an earlier one told of."""
    ids = [record.get("cluster_id") if isinstance(record, dict) else None for record in records]
    return [isinstance(one, str) and one in ids[:number] for number, one in enumerate(ids)]


@given(st.binary(max_size=100) | values.map(lambda value: json.dumps(value).encode()))
def test_no_body_breaks_the_page(body: bytes) -> None:
    """A body is a page or a `SourceError`."""
    try:
        page = read_page(body)
    except SourceError:
        return
    assert isinstance(page.clusters, list)
