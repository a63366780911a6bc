"""Protocol B on the wire: actions, errors, and what the answer to a sent action means."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from blocks.agents import facts
from blocks.agents.actions import listed_ids, sent
from blocks.agents.answers import Answer
from blocks.agents.protocol_b import agent_action, node_info
from blocks.models.action import METADATA_MAX, ActionState
from blocks.models.look import AgentAction, Failure, NodeInfo
from blocks.models.node import NodeStatus
from blocks.models.sent import Sent
from doubles.actions import action_id

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


def action(**fields: object) -> AgentAction:
    """An action's answer, decoded."""
    told = agent_action(answer({**ACTION, **fields}), action_id(1))
    assert isinstance(told, AgentAction)
    return told


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

    def test_so_much_metadata_is_kept(self) -> None:
        """The first fifty, as many as an action can have."""
        told = action(metadata={f"k{number}": "v" for number in range(60)})

        assert [f"k{number}" for number in range(METADATA_MAX)] == list(told.metadata)

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
            (b'{"detail":"no"}', "HTTP 500: no"),
            (b'{"reason":"no"}', 'HTTP 500: {"reason":"no"}'),
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
            (503, {"error_msg": "full"}, Sent(accepted=False, failed="HTTP 503: full", maybe_sent=True)),
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
