"""Protocol B on the wire: every spelling that real agents and the specification use, and what is wrong with the rest."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from blocks.agents import facts
from blocks.agents.answers import Answer
from blocks.agents.protocol_b import agent_action, listed_ids, node_info, sent, shards_info, store_info
from blocks.models.action import ActionState
from blocks.models.look import AgentAction, Failure, NodeInfo, ShardsInfo, StoreInfo
from blocks.models.node import NodeStatus, Offset, ShardRole, Version
from blocks.models.sent import Sent
from doubles.actions import action_id

NODE = {
    "address": {"client": "h:27017", "member": None, "public": "p:1"},
    "agent_version": {"number": "0.1.0", "checkout": "abc", "taint": "clean"},
    "attributes": {"mongodb.com/mode": "replica-set"},
    "node_id": "n1",
    "node_status": "HEALTHY",
    "store_id": "mongo.replica",
    "store_version": {"number": "6.0.5", "checkout": None, "extra": None},
}
ACTION = {
    "id": action_id(1),
    "kind": "agent.replicante.io/test.loop",
    "args": {"target": 3},
    "metadata": {"ticket": "42", "number": 7},
    "created_time": "2026-03-01T12:00:00.123456789Z",
    "scheduled_time": "2026-03-01T14:00:01+02:00",
    "finished_time": None,
    "state": {"phase": "RUNNING", "payload": {"count": 1}, "error": None},
}


def answer(value: object, status: int = 200) -> Answer:
    """A JSON answer."""
    return Answer(status, orjson.dumps(value))


def node(**fields: object) -> NodeInfo:
    """A node's answer, decoded."""
    info = node_info(answer({**NODE, **fields}))
    assert isinstance(info, NodeInfo)
    return info


def action(**fields: object) -> AgentAction:
    """An action's answer, decoded."""
    told = agent_action(answer({**ACTION, **fields}), action_id(1))
    assert isinstance(told, AgentAction)
    return told


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


class TestActionLists:
    @pytest.mark.parametrize("wrapped", [True, False])
    def test_bare_or_wrapped(self, wrapped: bool) -> None:
        """Ids come once each, in order and canonical; what has none is left out."""
        items = [{"id": action_id(2).upper()}, {"id": "no uuid"}, 7, {"id": action_id(1)}, {"id": action_id(2)}]

        assert (action_id(2), action_id(1)) == listed_ids(answer({"actions": items} if wrapped else items))

    def test_none_when_switched_off(self) -> None:
        """An empty 404 means that there are no actions at all."""
        assert listed_ids(Answer(404)) is None

    def test_a_page_is_a_failure(self) -> None:
        """A web page with 404 says nothing of actions."""
        assert Failure(reason="HTTP 404: a web page", status=404) == listed_ids(Answer(404, b" <HTML>"))


class TestAction:
    def test_is_read_whole(self) -> None:
        """Times come to UTC and milliseconds, metadata as texts."""
        expected = AgentAction(
            action_id=action_id(1),
            kind="agent.replicante.io/test.loop",
            state=ActionState.RUNNING,
            args={"target": 3},
            metadata={"ticket": "42"},
            created_at=datetime(2026, 3, 1, 12, 0, 0, 123_000, UTC),
            scheduled_at=datetime(2026, 3, 1, 12, 0, 1, 0, UTC),
            payload={"count": 1},
        )

        assert expected == action()

    @pytest.mark.parametrize("told", ["FAILED", "Failed", {"Failed": None}])
    def test_phase_in_any_spelling(self, told: object) -> None:
        """A known phase is found."""
        assert ActionState.FAILED == action(state={"phase": told}).state

    def test_an_unknown_phase_is_not_final(self) -> None:
        """A state that we have no word for counts as running, and is said."""
        told = action(state={"phase": "PAUSED"})

        assert (ActionState.RUNNING, "the agent says its state is PAUSED") == (told.state, told.error)

    def test_state_may_be_flat(self) -> None:
        """State, payload and error may stand beside each other."""
        told = action(state="DONE", payload=[1], error="late")

        assert (ActionState.DONE, [1], "late") == (told.state, told.payload, told.error)

    def test_an_error_is_a_sentence_without_backtrace(self) -> None:
        """Message and cause are kept, backtraces never."""
        body = {"error_msg": "cannot add", "error_cause": "no route", "error_backtrace": "0: main"}

        assert "cannot add: no route" == action(state={"phase": "FAILED", "error": body}).error

    @pytest.mark.parametrize("kind", [None, "", "a b", "x" * 500, "../../etc"])
    def test_needs_a_kind(self, kind: object) -> None:
        """An action without a usable kind is a failure of that action."""
        told = agent_action(answer({**ACTION, "kind": kind}), action_id(1))

        assert Failure(reason="the action has no usable kind", status=200) == told

    def test_must_be_the_one_asked_for(self) -> None:
        """An answer about another action proves nothing."""
        told = agent_action(answer(ACTION), action_id(2))

        assert Failure(reason="the answer is about another action", status=200) == told

    def test_is_none_when_unknown(self) -> None:
        """404 with an empty or a short text says that it is not there."""
        assert agent_action(Answer(404), action_id(1)) is None
        assert agent_action(Answer(404, b"not found"), action_id(1)) is None

    @pytest.mark.parametrize("when", [None, 7, "yesterday", "2026-03-01T12:00:00", "0001-01-01T00:00:00+14:00"])
    def test_a_bad_time_is_no_time(self, when: object) -> None:
        """A time that is no moment is left out."""
        assert action(created_time=when).created_at is None

    def test_huge_values_are_replaced_by_a_note(self) -> None:
        """Arguments and payloads beyond 64 KiB or 16 levels are not kept; the marker says so."""
        told = action(args="x" * 70_000, state={"phase": "DONE", "payload": [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]})
        body = orjson.dumps({**ACTION, "args": "@"}).replace(b'"@"', b"[" * 400 + b"1" + b"]" * 400)
        deeper = agent_action(Answer(200, body), action_id(1))

        assert {facts.LEFT_OUT: "70002 bytes of JSON; the limit is 65536"} == told.args
        assert {facts.LEFT_OUT: "nested deeper than 16 levels"} == told.payload
        assert isinstance(deeper, AgentAction)
        assert {facts.LEFT_OUT: "nested deeper than 16 levels"} == deeper.args

    def test_values_fit_the_store(self) -> None:
        """Integers beyond 64 bits become text, and keys hold no NUL."""
        assert {"a\ufffd": ["18446744073709551615", 1.5]} == action(args={"a\x00": [2**64 - 1, 1.5]}).args


class TestErrors:
    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b'{"error":true,"error_msg":"store down","error_cause":"refused"}', "HTTP 500: store down: refused"),
            (
                b'{"error":"outer","layers":["outer","inner"],"trace":"0: main","variant":null}',
                "HTTP 500: outer: inner",
            ),
            (b"plain text\r\nof two lines", "HTTP 500: plain text of two lines"),
            (b"", "HTTP 500: an empty body"),
            (b"<html><body>Bad gateway", "HTTP 500: a web page"),
            (b'{"detail":"no"}', 'HTTP 500: {"detail":"no"}'),
            (b"\xff\xfe\x00", "HTTP 500: \ufffd\ufffd\ufffd"),
        ],
    )
    def test_in_any_shape(self, body: bytes, reason: str) -> None:
        """Protocol B's errors, A's, texts, pages and nothing at all become one short sentence."""
        assert Failure(reason=reason, status=500) == node_info(Answer(500, body))

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b'\xef\xbb\xbf{"node_status":"HEALTHY"}', "HTTP 200, not JSON ("),
            (b'{"node_status":"HEALTHY","x":NaN}', "HTTP 200, not JSON ("),
            (b'{"node_status":"HEALTHY"', "HTTP 200, not JSON ("),
            (b"[" * 5_000, "HTTP 200, not JSON ("),
            (b"<!doctype html>", "HTTP 200, not JSON: a web page"),
            (b"[]", "expected a JSON object, got []"),
            (b'"HEALTHY"', 'expected a JSON object, got "HEALTHY"'),
        ],
    )
    def test_a_success_must_be_json(self, body: bytes, reason: str) -> None:
        """Byte order marks, NaN, cut-off bodies and pages are failures with an excerpt."""
        info = node_info(Answer(200, body))

        assert isinstance(info, Failure)
        assert info.reason.startswith(reason)
        assert len(info.reason) < 500

    def test_the_last_of_repeated_keys_counts(self) -> None:
        """A repeated key is not an error; its last value counts."""
        info = node_info(Answer(200, b'{"node_status":"UNHEALTHY","node_status":"HEALTHY"}'))

        assert isinstance(info, NodeInfo)
        assert NodeStatus.HEALTHY == info.status


class TestSent:
    @pytest.mark.parametrize(
        ("status", "body", "expected"),
        [
            (200, {"id": action_id(1)}, Sent(accepted=True)),
            (201, None, Sent(accepted=True)),
            (409, {"error_msg": "there"}, Sent(accepted=True)),
            (412, {"error_msg": "old"}, Sent(accepted=False, superseded=True)),
            (400, {"error_msg": "bad"}, Sent(accepted=False, refused="HTTP 400: bad")),
            (413, {"error_msg": "big"}, Sent(accepted=False, refused="HTTP 413: big")),
            (404, None, Sent(accepted=False, failed="HTTP 404: an empty body")),
            (429, None, Sent(accepted=False, failed="HTTP 429: an empty body")),
            (503, {"error_msg": "full"}, Sent(accepted=False, failed="HTTP 503: full")),
            (500, {"error_msg": "x"}, Sent(accepted=False, failed="HTTP 500: x", maybe_sent=True)),
            (504, None, Sent(accepted=False, failed="HTTP 504: an empty body", maybe_sent=True)),
            (
                200,
                {"id": action_id(2)},
                Sent(accepted=False, failed="the answer is about another action", maybe_sent=True),
            ),
        ],
    )
    def test_means(self, status: int, body: object, expected: Sent) -> None:
        """Each answer to an action has one meaning."""
        told = Answer(status) if body is None else answer(body, status)

        assert expected == sent(told, action_id(1))
