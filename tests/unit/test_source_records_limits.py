"""Records of a source that are too large, tell us our own secrets, or hold impossible text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import pytest

from blocks.errors import SourceError
from blocks.models.source import Rejected
from blocks.sources.pages import Page, read_page
from blocks.sources.protocol import Found
from blocks.sources.records import Collector
from blocks.sources.settings import SourcesSettings
from blocks.sources.sizes import CLUSTER_BYTES_MAX

URL = "http://10.0.0.1:8000"


def collect(*clusters: object, **limits: int) -> Found:
    """What a single page of these says."""
    collector = Collector(SourcesSettings.model_validate(limits))
    collector.add(Page(list(clusters), None))
    return collector.found()


class TestSizes:
    def test_a_cluster_that_is_too_large_is_rejected_alone(self) -> None:
        """Names, addresses and labels of one cluster are counted, over all pages; the others are told of as they are."""
        labels = {f"k{number}": "x" * 256 for number in range(64)}
        many = [{"node_id": f"n{number}", "agent_address": URL, "labels": labels} for number in range(200)]
        collector = Collector(SourcesSettings(nodes_max=450))
        for first in range(3):
            collector.add(
                Page(
                    [
                        {
                            "cluster_id": "large",
                            "nodes": [{**node, "node_id": f"{first}-{number}"} for number, node in enumerate(many)],
                        }
                    ],
                    "1",
                )
            )
        collector.add(Page([{"cluster_id": "small", "nodes": many}], None))

        found = collector.found()

        assert [("small", 200)] == [(cluster.cluster_id, len(cluster.nodes)) for cluster in found.clusters]
        reason = f"its names, addresses and labels are more than {CLUSTER_BYTES_MAX} bytes"
        twice = "told of twice: its nodes and labels are put together"
        assert (
            Rejected(what="cluster large", reason=twice, cluster_id="large", partial=True),
            Rejected(what="cluster large", reason=reason, cluster_id="large"),
        ) == found.rejected

    def test_all_that_is_kept_has_a_limit(self) -> None:
        """Many clusters that are not too large each are no answer when they are too large together."""
        clusters = [
            {"cluster_id": f"c{number}", "nodes": [{"node_id": "n" * 200, "agent_address": URL}]} for number in range(9)
        ]

        with pytest.raises(SourceError, match="it tells of more than 2048 bytes of names, addresses and labels"):
            collect(*clusters, total_bytes_max=2_048)

    def test_a_flood_within_one_cluster_ends_at_once(self) -> None:
        """Bad nodes of one record are not collected for longer than the settings allow."""
        nodes = iter([7, 7, 7])

        class Endless(list[object]):
            def __iter__(self) -> Iterator[object]:
                return nodes

        with pytest.raises(SourceError, match="it tells of more than 1 records that cannot be used"):
            collect({"cluster_id": "c", "nodes": Endless()}, rejected_max=1)
        assert [7] == list(nodes)


class TestSecrets:
    def test_are_not_shown(self) -> None:
        """What a source tells us of our own secrets is hidden, before it is cut, in what is shown and in ids."""
        token = "tok-12345678"
        collector = Collector(SourcesSettings(), lambda text: text.replace(token, "***"))
        late = "x" * 114 + token
        label = {"cluster_id": "c", "nodes": [], "labels": {"#" * 74 + token: "x"}}
        records = [token, late, {"cluster_id": token, "nodes": 7}, {"cluster_id": "c", "nodes": [token]}, label]
        collector.add(Page([*records, {"cluster_id": "c", "nodes": [{"node_id": token, "agent_address": 7}]}], None))

        found = collector.found()

        assert "tok" not in found.model_dump_json()
        assert [None, None, None, "c", "c", "c", "c"] == [rejected.cluster_id for rejected in found.rejected]
        assert "cluster ***" == found.rejected[2].what


def test_half_a_character_costs_its_record() -> None:
    """A text that is none in Unicode is no fault of the records beside it; what is no JSON stays so."""
    bad = {"cluster_id": "bad", "nodes": [], "display_name": "\ud800"}
    good = {"cluster_id": "good", "nodes": [URL]}
    page = read_page(json.dumps({"clusters": [bad, good]}).encode())
    collector = Collector(SourcesSettings())
    collector.add(page)

    found = collector.found()

    assert ["good"] == [cluster.cluster_id for cluster in found.clusters]
    assert ["bad"] == [rejected.cluster_id for rejected in found.rejected]
    with pytest.raises(SourceError, match="the answer is not JSON"):
        read_page(json.dumps({"clusters": [bad, math.nan]}).encode())
