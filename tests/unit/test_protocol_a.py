"""Protocol A on the wire: every spelling that real agents and the specification use, and what is wrong with the rest."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from blocks.agents.answers import Answer
from blocks.agents.dialect import Post
from blocks.agents.protocol_a import Datastore, agent_version, datastore, node_info, shards_info, store_version
from blocks.agents.protocol_a_actions import NO_ACTIONS, agent_action, headers, post, scheduled
from blocks.models.action import ActionState, Requester
from blocks.models.look import AgentAction, Failure, ShardsInfo, StoreInfo
from blocks.models.node import NodeStatus, Offset, Shard, ShardRole, Version
from blocks.models.sent import Sent
from doubles.actions import action_id, make_action

STORE = {
    "cluster_id": "orders",
    "node_id": "h:27017",
    "kind": "MongoDB",
    "version": "6.0.5",
    "cluster_display_name": None,
}
ACTION = {
    "id": action_id(1),
    "kind": "replicante.io/service.restart",
    "args": {"stop": None},
    "headers": {"ticket": "42", "replicore-fence": "1:100"},
    "requester": "CORE_API",
    "created_ts": "2026-03-01T12:00:00Z",
    "scheduled_ts": "2026-03-01T14:00:01+02:00",
    "finished_ts": None,
    "state": "RUNNING",
    "state_payload": {"attempt": 1},
}
FAULT = {"error": "cannot stop", "layers": ["cannot stop", "no pid"], "trace": "0: main\n" * 400, "variant": "X"}


def answer(value: object, status: int = 200) -> Answer:
    """A JSON answer."""
    return Answer(status, orjson.dumps(value))


def action(**fields: object) -> AgentAction:
    """An action's answer, decoded."""
    told = agent_action(answer({"action": {**ACTION, **fields}, "history": [7]}), action_id(1))
    assert isinstance(told, AgentAction)
    return told


class TestNode:
    def test_the_agent_has_a_version(self) -> None:
        """All of it is kept; an agent that does not say has an unknown one; an error is a failure."""
        told = {"number": "0.5.0", "checkout": "abc", "taint": "dirty"}

        assert Version(number="0.5.0", checkout="abc", taint="dirty") == agent_version(answer({"version": told}))
        assert Version(number="unknown") == agent_version(answer({"version": {"number": 5}}))
        assert Failure(reason="HTTP 500: cannot stop: no pid", status=500) == agent_version(answer(FAULT, 500))

    @pytest.mark.parametrize("name", ["node_id", "id"])
    def test_the_store_says_who_the_node_is(self, name: str) -> None:
        """The node's id has two names; a display name is an attribute of the store."""
        told = {**STORE, name: "n1", "cluster_display_name": "Orders"} if name == "node_id" else {**STORE, "id": "n1"}
        told = told if name == "node_id" else {key: value for key, value in told.items() if key != "node_id"}
        store = datastore(answer(told))

        attributes = {"cluster_display_name": "Orders"} if name == "node_id" else {}
        expected = Datastore(
            "n1", "MongoDB", Version(number="6.0.5"), StoreInfo(cluster_id="orders", attributes=attributes)
        )
        assert expected == store

    @pytest.mark.parametrize("field", ["cluster_id", "node_id", "kind", "version"])
    def test_the_store_says_all_or_nothing(self, field: str) -> None:
        """Without one of its required texts the object is refused, and the field is named."""
        reason = f"the answer has no usable {field}"

        assert Failure(reason=reason, status=200) == datastore(answer({**STORE, field: 7}))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("6.0.5", Version(number="6.0.5")),
            ("3.9.5+1a2b3c4d", Version(number="3.9.5", checkout="1a2b3c4d")),
            ("3.9.5+build.7", Version(number="3.9.5", extra="build.7")),
            ("3.8.0+${mvngit.commit.id}", Version(number="3.8.0")),
            ("+x", Version(number="+x")),
        ],
    )
    def test_a_build_is_apart(self, text: str, expected: Version) -> None:
        """A hash is the checkout, another legal build is kept, a template is not."""
        assert expected == store_version(text)

    @pytest.mark.parametrize(
        ("failure", "status", "text"),
        [
            (Failure(reason="HTTP 500: x", status=500), NodeStatus.UNAVAILABLE, "HTTP 500: x"),
            (Failure(reason="HTTP 503: x", status=503), NodeStatus.UNAVAILABLE, "HTTP 503: x"),
            (
                Failure(reason="no complete answer within 1 s"),
                NodeStatus.UNAVAILABLE,
                "its agent answers, but not about the store: no complete answer within 1 s",
            ),
            (Failure(reason="HTTP 404: an empty body", status=404), NodeStatus.UNKNOWN, "HTTP 404: an empty body"),
            (Failure(reason="HTTP 200, not JSON", status=200), NodeStatus.HEALTHY, None),
        ],
    )
    def test_status_is_derived(self, failure: Failure, status: NodeStatus, text: str | None) -> None:
        """A store that cannot be asked is UNAVAILABLE; one that answers nonsense is up; anything else is not known."""
        info = node_info(Version(number="0.5.0"), failure)

        assert (status, text, None, None) == (info.status, info.status_text, info.node_id, info.store_id)

    def test_roles_and_units(self) -> None:
        """Externally tagged or bare, in any case, null or absent."""
        found = shards_info(
            answer(
                {
                    "shards": [
                        {"id": "a", "role": "primary", "commit_offset": {"unit": "seconds", "value": 7}, "lag": None},
                        {"id": "b", "role": "SECONDARY", "lag": {"unit": {"unit": "messages"}, "value": 3}},
                        {"id": "c", "role": {"unknown": "ARBITER"}, "commit_offset": {"unit": "zxid", "value": 2**62}},
                        {"id": "d", "role": {"unknown": "standalone"}},
                    ]
                }
            )
        )

        expected = (
            Shard(shard_id="a", role=ShardRole.PRIMARY, commit_offset=Offset(unit="seconds", value=7)),
            Shard(shard_id="b", role=ShardRole.SECONDARY, lag=Offset(unit="messages", value=3)),
            Shard(
                shard_id="c", role=ShardRole.OTHER, role_text="ARBITER", commit_offset=Offset(unit="zxid", value=2**62)
            ),
            Shard(shard_id="d", role=ShardRole.PRIMARY, role_text="standalone"),
        )
        assert ShardsInfo(shards=expected) == found


class TestAction:
    def test_is_read_whole(self) -> None:
        """Times come to UTC, the fence has its own name again, the history is left aside."""
        expected = AgentAction(
            action_id=action_id(1),
            kind="replicante.io/service.restart",
            state=ActionState.RUNNING,
            args={"stop": None},
            metadata={"ticket": "42", "replicore.io/fence": "1:100"},
            created_at=datetime(2026, 3, 1, 12, 0, 0, 0, UTC),
            scheduled_at=datetime(2026, 3, 1, 12, 0, 1, 0, UTC),
            payload={"attempt": 1},
        )

        assert expected == action()

    def test_a_failure_is_an_error(self) -> None:
        """A's error object is the error, without its backtrace, and no payload."""
        told = action(state="FAILED", state_payload=FAULT)

        assert (None, "cannot stop: no pid") == (told.payload, told.error)

    def test_a_composed_failure_names_its_stages(self) -> None:
        """The error is found inside; the payload is kept without backtraces."""
        told = action(
            state="FAILED",
            state_payload={"stage": 2, "state": "FAILED", "payload": {"stage": 0, "state": "FAILED", "payload": FAULT}},
        )

        clean = {key: value for key, value in FAULT.items() if key != "trace"}
        assert "stage 2: stage 0: cannot stop: no pid" == told.error
        assert {
            "stage": 2,
            "state": "FAILED",
            "payload": {"stage": 0, "state": "FAILED", "payload": clean},
        } == told.payload

    def test_only_a_failure_has_an_error(self) -> None:
        """What an action that is done brought is its payload, whatever it looks like."""
        told = action(state="done", state_payload={"error": "none"})

        assert (ActionState.DONE, {"error": "none"}, None) == (told.state, told.payload, told.error)

    def test_an_unknown_state_is_not_final(self) -> None:
        """A state that we have no word for counts as running, and is said."""
        told = action(state="PAUSED")

        assert (ActionState.RUNNING, "the agent says its state is PAUSED") == (told.state, told.error)

    def test_a_huge_backtrace_does_not_cost_the_error(self) -> None:
        """It is taken out before the size is judged."""
        told = action(state="FAILED", state_payload={**FAULT, "trace": "x" * 200_000})

        assert "cannot stop: no pid" == told.error

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ({"action": {**ACTION, "id": action_id(2)}}, "the answer is about another action"),
            ({"action": 7}, "the answer is about another action"),
            ({"action": {**ACTION, "state": 7}}, "the action has no usable state"),
            ({"action": {**ACTION, "kind": None}}, "the action has no usable kind"),
        ],
    )
    def test_a_bad_answer_proves_nothing(self, value: object, reason: str) -> None:
        """What is not the action that was asked for is a failure of that action."""
        assert Failure(reason=reason, status=200) == agent_action(answer(value), action_id(1))

    def test_is_none_when_unknown(self) -> None:
        """An empty 404 says that it is not there; a page says nothing."""
        assert agent_action(Answer(404), action_id(1)) is None
        assert isinstance(agent_action(Answer(404, b"<html>"), action_id(1)), Failure)


class TestSend:
    def test_the_request(self) -> None:
        """The kind is the path, slash and all; metadata and fence are headers; the body wraps the arguments."""
        told = post(make_action(requester=Requester.CORE_DECLARATIVE, metadata={"Ticket": "42"}), "1:100")

        assert isinstance(told, Post)
        assert "actions/schedule/agent.replicante.io/test.success" == told.path
        assert (("replicore-fence", "1:100"), ("ticket", "42")) == told.headers
        assert {
            "action_id": action_id(1),
            "args": {"count": 3},
            "created_ts": "2026-03-01T12:00:00.123000Z",
            "requester": "CORE_DECLARATIVE",
        } == orjson.loads(told.body)

    @pytest.mark.parametrize(
        ("key", "value", "why"),
        [
            ("a/b", "x", "its name is no legal HTTP header"),
            ("a b", "x", "its name is no legal HTTP header"),
            ("", "x", "its name is no legal HTTP header"),
            ("name\r\nx", "x", "its name is no legal HTTP header"),
            ("\N{KELVIN SIGN}", "x", "its name is no legal HTTP header"),
            ("Content-Length", "0", "as an HTTP header it would belong to the request itself"),
            ("transfer-encoding", "chunked", "as an HTTP header it would belong to the request itself"),
            ("note", "grün", "its value is not visible ASCII"),
            ("note", "a\x7f", "its value is not visible ASCII"),
            ("Kept", "2", "another entry has this name in other case"),
        ],
    )
    def test_what_is_no_header_is_left_out_with_a_note(self, key: str, value: str, why: str) -> None:
        """It would break the request, or be refused for ever; the rest is sent."""
        named, notes = headers({"kept": "1", key: value})

        assert {"kept": "1"} == named
        assert 1 == len(notes)
        assert notes[0].endswith(f" was not sent: {why}")

    def test_the_fence_is_ours_alone(self) -> None:
        """Metadata that look like a fence never take its place."""
        told = post(make_action(metadata={"replicore.io/fence": "9:9", "Replicore-Fence": "9:9"}), "1:100")

        assert isinstance(told, Post)
        assert (("replicore-fence", "1:100"),) == told.headers
        note = "metadata Replicore-Fence was not sent: as an HTTP header it would belong to the request itself"
        assert (note,) == told.notes

    @pytest.mark.parametrize(
        ("status", "body", "expected"),
        [
            (200, {"id": action_id(1)}, Sent(accepted=True)),
            (409, {**FAULT, "variant": "ActionAlreadyExists"}, Sent(accepted=True)),
            (409, FAULT, Sent(accepted=False, failed="HTTP 409: cannot stop: no pid", maybe_sent=True)),
            (400, FAULT, Sent(accepted=False, refused="HTTP 400: cannot stop: no pid")),
            (400, {"error": "bad", "kind": "InvalidArgs"}, Sent(accepted=False, refused="HTTP 400: bad")),
            (412, FAULT, Sent(accepted=False, superseded=True)),
            (404, None, Sent(accepted=False, failed=NO_ACTIONS)),
            (404, "no", Sent(accepted=False, failed='HTTP 404: "no"')),
            (500, FAULT, Sent(accepted=False, failed="HTTP 500: cannot stop: no pid", maybe_sent=True)),
            (
                200,
                {"id": action_id(2)},
                Sent(accepted=False, failed="the answer is about another action", maybe_sent=True),
            ),
        ],
    )
    def test_what_the_answer_means(self, status: int, body: object, expected: Sent) -> None:
        """Each answer to an action has one meaning; a conflict about anything but the id proves nothing."""
        told = Answer(status) if body is None else answer(body, status)

        assert expected == scheduled(told, action_id(1))
