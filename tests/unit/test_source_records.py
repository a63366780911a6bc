"""Pages of the discovery protocol as clusters and nodes: both shapes, duplicates, and what cannot be used."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.errors import SourceError
from blocks.models.source import DiscoveredNode, Rejected
from blocks.sources.protocol import Found
from blocks.sources.records import Collector, Page, read_page
from blocks.sources.settings import SourcesSettings

URL = "http://10.0.0.1:8000"


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
            reason="told of twice and not the same; the first counts",
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


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
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
                ["cluster_id", "nodes", "display_name", "node_id", "agent_address", "node_class", "cursor", "clusters"]
            ),
            inner | st.sampled_from(["c", URL, "http://[", "http://ü"]),
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.lists(values, max_size=10))
def test_no_record_breaks_the_collector(records: list[object]) -> None:
    """Each record is either part of a cluster or rejected, whatever it is."""
    found = collect(*records)

    assert len(records) == 0 or found.clusters or found.rejected


@settings(deadline=None)
@given(st.binary(max_size=100) | values.map(orjson.dumps))
def test_no_body_breaks_the_page(body: bytes) -> None:
    """A body is a page or a `SourceError`."""
    try:
        page = read_page(body)
    except SourceError:
        return
    assert isinstance(page.clusters, list)
