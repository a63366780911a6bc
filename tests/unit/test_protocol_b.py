"""Protocol B on the wire: every spelling that real agents and the specification use, and what is wrong with the rest."""

from __future__ import annotations

import orjson
import pytest

from blocks.agents.answers import Answer
from blocks.agents.protocol_b import node_info, shards_info, store_info
from blocks.models.look import Failure, NodeInfo, ShardsInfo, StoreInfo
from blocks.models.node import NodeStatus, Offset, ShardRole, Version

NODE = {
    "address": {"client": "h:27017", "member": None, "public": "p:1"},
    "agent_version": {"number": "0.1.0", "checkout": "abc", "taint": "clean"},
    "attributes": {"mongodb.com/mode": "replica-set"},
    "node_id": "n1",
    "node_status": "HEALTHY",
    "store_id": "mongo.replica",
    "store_version": {"number": "6.0.5", "checkout": None, "extra": None},
}


def answer(value: object, status: int = 200) -> Answer:
    """A JSON answer."""
    return Answer(status, orjson.dumps(value))


def node(**fields: object) -> NodeInfo:
    """A node's answer, decoded."""
    info = node_info(answer({**NODE, **fields}))
    assert isinstance(info, NodeInfo)
    return info


def shards(*items: object) -> ShardsInfo:
    """A list of shards, decoded."""
    found = shards_info(answer({"shards": list(items)}))
    assert isinstance(found, ShardsInfo)
    return found


class TestNode:
    def test_is_read_whole(self) -> None:
        """Every part of the answer arrives; an address that is null does not."""
        info = node()

        assert (NodeStatus.HEALTHY, None, "n1", "mongo.replica") == (
            info.status,
            info.status_text,
            info.node_id,
            info.store_id,
        )
        assert Version(number="0.1.0", checkout="abc", taint="clean") == info.agent_version
        assert Version(number="6.0.5") == info.store_version
        assert {"client": "h:27017", "public": "p:1"} == info.addresses
        assert {"mongodb.com/mode": "replica-set"} == info.attributes

    @pytest.mark.parametrize(
        ("told", "status", "text"),
        [
            ("NOT_IN_CLUSTER", NodeStatus.NOT_IN_CLUSTER, None),
            ("NotInCluster", NodeStatus.NOT_IN_CLUSTER, None),
            ("joining-cluster", NodeStatus.JOINING_CLUSTER, None),
            ({"UNKNOWN": "arbiter"}, NodeStatus.UNKNOWN, "arbiter"),
            ("UNKNOWN", NodeStatus.UNKNOWN, None),
            ({"UNHEALTHY": "one disk is gone"}, NodeStatus.UNHEALTHY, "one disk is gone"),
            ("ON_FIRE", NodeStatus.UNKNOWN, "ON_FIRE"),
            ({"ON_FIRE": "kitchen"}, NodeStatus.UNKNOWN, "ON_FIRE: kitchen"),
            ("INCOMPLETE", NodeStatus.UNKNOWN, "INCOMPLETE"),
        ],
    )
    def test_status_in_any_spelling(self, told: object, status: NodeStatus, text: str | None) -> None:
        """A known status is found, an unknown one keeps its text, and those that are ours are not the agent's to say."""
        info = node(node_status=told)

        assert (status, text) == (info.status, info.status_text)

    @pytest.mark.parametrize("told", [None, 7, {}, {"A": "x", "B": "y"}, ["HEALTHY"]])
    def test_needs_a_status(self, told: object) -> None:
        """Without a usable status there is no node."""
        reason = "the answer has no usable node_status"

        assert Failure(reason=reason, status=200) == node_info(answer({**NODE, "node_status": told}))

    def test_lives_without_the_rest(self) -> None:
        """Everything but the status may be absent."""
        info = node_info(answer({"node_status": "HEALTHY", "address": 7, "attributes": [], "agent_version": {}}))

        assert isinstance(info, NodeInfo)
        assert (None, Version(number="unknown"), None, {}, {}) == (
            info.node_id,
            info.agent_version,
            info.store_version,
            info.addresses,
            info.attributes,
        )

    def test_attributes_are_scalars(self) -> None:
        """Scalars are kept, numbers beyond 64 bits as text; lists and objects are left out."""
        told = {"a": True, "b": 1, "c": 1.5, "d": None, "e": [1], "f": {"g": 1}, "h": 2**64 - 1, "i\n": "x\x00"}

        expected = {"a": True, "b": 1, "c": 1.5, "d": None, "h": "18446744073709551615", "i\ufffd": "x\ufffd"}
        assert expected == node(attributes=told).attributes

    def test_huge_values_are_cut(self) -> None:
        """Ids, names, texts and counts are bounded."""
        info = node(node_id="n" * 10_000, attributes={f"a{number}": "v" * 10_000 for number in range(500)})

        assert 256 == len(info.node_id or "")
        assert (200, 2_000) == (len(info.attributes), len(str(info.attributes["a0"])))


class TestStore:
    def test_needs_a_cluster(self) -> None:
        """Attributes may be absent, the cluster may not."""
        assert StoreInfo(cluster_id="orders") == store_info(answer({"cluster_id": "orders"}))
        assert Failure(reason="the answer has no usable cluster_id", status=200) == store_info(
            answer({"cluster_id": 1})
        )


class TestShards:
    @pytest.mark.parametrize(
        ("told", "role", "text"),
        [
            ("Primary", ShardRole.PRIMARY, None),
            ("SECONDARY", ShardRole.SECONDARY, None),
            ("recovering", ShardRole.RECOVERING, None),
            ({"Primary": None}, ShardRole.PRIMARY, None),
            ({"Other": "arbiter"}, ShardRole.OTHER, "arbiter"),
            ({"unknown": "standalone"}, ShardRole.OTHER, "standalone"),
            ("WITNESS", ShardRole.OTHER, "WITNESS"),
        ],
    )
    def test_role_in_any_spelling(self, told: object, role: ShardRole, text: str | None) -> None:
        """A known role is found, an unknown one keeps its text."""
        [shard] = shards({"id": "s", "role": told}).shards

        assert (role, text) == (shard.role, shard.role_text)

    @pytest.mark.parametrize(
        ("unit", "expected"),
        [
            ("seconds", "seconds"),
            ("Milliseconds", "milliseconds"),
            ({"unit": "zxid"}, "zxid"),
            ("Messages", "Messages"),
        ],
    )
    def test_unit_in_any_spelling(self, unit: object, expected: str) -> None:
        """Units of time are known in any case; others stay as they are."""
        [shard] = shards({"id": "s", "role": "primary", "commit_offset": {"unit": unit, "value": -5}}).shards

        assert Offset(unit=expected, value=-5) == shard.commit_offset

    @pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 1.0, 1e300, "5", True, None])
    def test_an_unusable_offset_costs_only_itself(self, value: object) -> None:
        """An offset that is no integer of 64 bits is left out with a note; the shard stays."""
        body = orjson.dumps({"shards": [{"id": "s", "role": "primary", "commit_offset": {"unit": "x", "value": "@"}}]})
        told = str(value).encode() if isinstance(value, int) and not isinstance(value, bool) else orjson.dumps(value)

        found = shards_info(Answer(200, body.replace(b'"@"', told)))

        assert isinstance(found, ShardsInfo)
        assert [None] == [shard.commit_offset for shard in found.shards]
        assert ("shard s: its commit_offset has no value that is a whole number of 64 bits",) == found.notes

    def test_offsets_may_be_absent(self) -> None:
        """Neither offset is required, and a negative lag is no lag."""
        found = shards(
            {"id": "s", "role": "primary", "lag": {"unit": "messages", "value": -1}}, {"id": "t", "role": "p"}
        )

        assert ((), [(None, None), (None, None)]) == (
            found.notes,
            [(shard.commit_offset, shard.lag) for shard in found.shards],
        )

    def test_bare_lists_and_both_names_of_the_id(self) -> None:
        """The list may come bare, and the id as `shard_id`."""
        found = shards_info(answer([{"shard_id": "a", "role": "primary"}, {"id": "b", "role": "primary"}]))

        assert isinstance(found, ShardsInfo)
        assert ["a", "b"] == [shard.shard_id for shard in found.shards]

    def test_a_bad_shard_is_dropped_with_a_note(self) -> None:
        """Each unusable shard is named or counted; the good ones stay, a repeated one counts once."""
        good = {"id": "a", "role": "primary"}
        found = shards(
            good, 7, {"role": "primary"}, {"id": "b"}, {"id": "c\x00", "role": "primary"}, {**good, "role": "x"}
        )

        assert ["a"] == [shard.shard_id for shard in found.shards]
        assert (
            "shard number 2 is not an object",
            "shard number 3 has no usable id",
            "shard b has no role",
            "shard c\ufffd has no usable id",
            "shard a: listed twice, the first counts",
        ) == found.notes

    def test_counts_are_bounded(self) -> None:
        """At most 20,000 shards and 20 notes are kept."""
        found = shards(*({"id": str(number), "role": "primary"} for number in range(20_001)))
        bad = shards(*[7] * 100)

        assert (20_000, ("only the first 20000 of 20001 shards are kept",)) == (len(found.shards), found.notes)
        assert (21, "and 80 more of this kind") == (len(bad.notes), bad.notes[-1])
