"""What simulated stores say, in both protocols."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import orjson
import pytest

from infra.agents.kit.models import Role
from infra.simulator import stores
from infra.simulator.bodies import ROOT, body
from infra.simulator.layout import Layout, build
from infra.simulator.model import Cluster, Kind, Node, Wire


def cluster_of(kind: Kind, **layout: Any) -> Cluster:
    """One cluster."""
    (cluster,) = build(replace(Layout(clusters=1, kinds=(kind,)), **layout), 8000, 0)
    return cluster


def told(node: Node, path: str, tick: int = 0) -> Any:
    """Status and JSON of an answer."""
    status, content = body(node, ROOT + path, tick)
    return status, orjson.loads(content) if content else None


class TestProtocolB:
    def test_a_node(self) -> None:
        """The body has exactly the keys of protocol B."""
        node = cluster_of(Kind.ZOOKEEPER).nodes[0]
        node.cluster.leader = node

        assert (
            200,
            {
                "address": {"client": "127.10.0.1:2181", "member": "127.10.0.1:2181"},
                "agent_version": {"number": "0.1.0", "checkout": "replicante-core", "taint": "clean"},
                "attributes": {"zookeeper.apache.org/mode": "leader"},
                "node_id": "zookeeper-00000-0",
                "node_status": "HEALTHY",
                "store_id": "zookeeper",
                "store_version": {"number": node.cluster.version, "checkout": node.cluster.checkout, "extra": None},
            },
        ) == told(node, "/info/node")

    def test_a_replica_set(self) -> None:
        """One primary, secondaries with a lag; optimes grow."""
        cluster = cluster_of(Kind.MONGODB)
        cluster.leader, secondary = cluster.nodes[:2]

        (first,) = told(cluster.leader, "/info/shards")[1]["shards"]
        (second,) = told(secondary, "/info/shards", tick=1)[1]["shards"]

        assert ("Primary", None, "Secondary", 0) == (
            first["role"],
            first["lag"],
            second["role"],
            second["lag"]["value"],
        )
        assert 1_000 == second["commit_offset"]["value"] - first["commit_offset"]["value"]

    def test_a_set_without_a_primary_has_no_lag(self) -> None:
        """Nobody to compare with."""
        cluster = cluster_of(Kind.MONGODB)
        cluster.leader = None

        shards = [told(node, "/info/shards")[1]["shards"][0] for node in cluster.nodes]
        assert [("Secondary", None)] * 3 == [(shard["role"], shard["lag"]) for shard in shards]

    def test_a_mongod_without_a_set(self) -> None:
        """It waits: not in a cluster, no shards, the configured cluster's id."""
        node = cluster_of(Kind.MONGODB, unformed=1).nodes[0]

        assert "NOT_IN_CLUSTER" == told(node, "/info/node")[1]["node_status"]
        assert (200, {"shards": []}) == told(node, "/info/shards")
        assert (200, {"cluster_id": "mongodb-00000", "attributes": {}}) == told(node, "/info/store")

    @pytest.mark.parametrize("kind", list(Kind))
    def test_a_store_that_is_down(self, kind: Kind) -> None:
        """The agent still says who it is."""
        node = cluster_of(kind).nodes[0]
        node.store_up = False

        status, node_body = told(node, "/info/node")
        assert (200, "UNAVAILABLE", node.name) == (status, node_body["node_status"], node_body["node_id"])
        for path in ("/info/store", "/info/shards"):
            status, error = told(node, path)
            assert (500, True) == (status, error["error"])
            assert "does not answer" in error["error_msg"]

    def test_an_ensemble_without_a_leader(self) -> None:
        """It runs and serves nothing."""
        node = cluster_of(Kind.ZOOKEEPER).nodes[0]
        node.cluster.leader = None

        assert "UNHEALTHY" == told(node, "/info/node")[1]["node_status"]
        assert 500 == told(node, "/info/shards")[0]

    def test_what_is_not_there_is_an_empty_404(self) -> None:
        """Paths of the other protocol too."""
        node = cluster_of(Kind.MONGODB).nodes[0]

        paths = ("/info/agent", "/shards", "/action/0a6c3ee5-5b9c-4c0e-9a0e-3f6f0f3f6f01", "/")
        assert [(404, None)] * 4 == [told(node, path) for path in paths]
        assert (404, b"") == body(node, "/info/node", 0)


class TestKafka:
    @pytest.mark.parametrize("size", [1, 2, 3, 5])
    def test_every_partition_has_one_leader_and_its_replicas(self, size: int) -> None:
        """Leaders are spread evenly; no broker holds a partition twice."""
        cluster = cluster_of(Kind.KAFKA, size=size, partitions=(60,))

        shards = [(shard.id, shard.role) for node in cluster.nodes for shard in stores.shards(node, 0)]
        leaders = Counter(partition for partition, role in shards if role is Role.PRIMARY)
        leading = [sum(shard.role is Role.PRIMARY for shard in stores.shards(node, 0)) for node in cluster.nodes]
        assert dict.fromkeys(cluster.partitions, 1) == dict(leaders)
        assert dict.fromkeys(cluster.partitions, min(size, 3)) == dict(Counter(partition for partition, _ in shards))
        assert [60 // size] * size == leading

    def test_a_dead_broker_leads_nothing(self) -> None:
        """Others take over its partitions, and only those."""
        cluster = cluster_of(Kind.KAFKA, partitions=(60,))
        before = {node.name: _led(node) for node in cluster.nodes}
        cluster.nodes[0].store_up = False

        after = {node.name: _led(node) for node in cluster.nodes[1:]}
        assert set(cluster.partitions) == set().union(*after.values())
        assert all(before[name] <= led for name, led in after.items())

    def test_a_broker_that_joins_holds_nothing_yet(self) -> None:
        """Partitions do not move by themselves."""
        cluster = cluster_of(Kind.KAFKA)
        node = Node("new", 3, cluster, "127.0.0.9", 1, Wire.B)
        cluster.nodes.append(node)

        assert [] == stores.shards(node, 0)


class TestProtocolA:
    def test_who_it_is(self) -> None:
        """Agent and datastore are two answers."""
        node = cluster_of(Kind.KAFKA, protocols=(Wire.A,)).nodes[0]

        version = {"number": "0.1.0", "checkout": "replicante-core", "taint": "clean"}
        assert (200, {"version": version}) == told(node, "/info/agent")
        assert (
            200,
            {
                "cluster_id": "kafka-00000",
                "node_id": "kafka-00000-0",
                "kind": "Kafka",
                "version": node.cluster.version,
                "cluster_display_name": None,
            },
        ) == told(node, "/info/datastore")
        assert (404, None) == told(node, "/info/node")

    def test_shards_of_a_broker(self) -> None:
        """Offsets of what it leads, lags of what it follows, units as objects."""
        node = cluster_of(Kind.KAFKA, protocols=(Wire.A,), partitions=(3,)).nodes[0]

        shards = told(node, "/shards")[1]["shards"]
        given = {shard["role"]: (shard["commit_offset"] is None, shard["lag"]) for shard in shards}
        lag = {"unit": {"unit": "messages"}, "value": 0}
        assert {"primary": (False, None), "secondary": (True, lag)} == given

    def test_seconds_of_mongodb(self) -> None:
        """Optimes are whole seconds, not milliseconds."""
        node = cluster_of(Kind.MONGODB, protocols=(Wire.A,)).nodes[0]

        (shard,) = told(node, "/shards", tick=5)[1]["shards"]
        assert {"unit": "seconds", "value": stores.OPTIME_BASE + 5} == shard["commit_offset"]

    def test_a_store_that_is_down(self) -> None:
        """500 with layers, variant and a long trace; the agent itself is well."""
        node = cluster_of(Kind.MONGODB, protocols=(Wire.A,)).nodes[0]
        node.store_up = False

        status, error = told(node, "/info/datastore")
        assert (500, "StoreOpFailed", [error["error"]]) == (status, error["variant"], error["layers"])
        assert 1_000 < len(error["trace"])
        assert 200 == told(node, "/info/agent")[0]

    def test_actions_switched_off(self) -> None:
        """One path says so, all others are not there."""
        node = cluster_of(Kind.MONGODB, protocols=(Wire.A,)).nodes[0]
        on = told(node, "/actions/")
        node.actions_on = False

        assert (200, {"actions": True}) == on
        assert (200, {"actions": False}) == told(node, "/actions")
        assert [(404, None)] * 3 == [told(node, path) for path in ("/actions/", "/actions/queue", "/actions/available")]


def _led(node: Node) -> set[str]:
    return {shard.id for shard in stores.shards(node, 0) if shard.role is Role.PRIMARY}
