"""Whatever bytes an agent of protocol A answers with, and whatever an action holds: a value, and never an exception."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from blocks.agents.answers import Answer
from blocks.agents.dialect import Post
from blocks.agents.protocol_a import Datastore, agent_version, datastore, node_info, shards_info
from blocks.agents.protocol_a_actions import agent_action, headers, post, scheduled
from blocks.models.look import AgentAction, Failure, NodeInfo, ShardsInfo
from blocks.models.node import Version
from doubles.actions import action_id, make_action
from doubles.hostile import answers, encode, values

agent_actions = st.fixed_dictionaries(
    {
        "id": st.just(action_id(1)),
        "kind": st.just("a/b") | values,
        "state": st.sampled_from(["NEW", "FAILED"]) | values,
    },
    optional={"args": values, "headers": values, "created_ts": values, "state_payload": values},
).map(lambda value: Answer(200, encode({"action": value, "history": []})))


@given(answers, answers)
def test_a_node(agent: Answer, told: Answer) -> None:
    """An agent and a store are read, or it is said why not; a node can be made of either."""
    version, store = agent_version(agent), datastore(told)

    assert isinstance(version, Version | Failure)
    assert isinstance(store, Datastore | Failure)
    assert isinstance(node_info(Version(number="1"), store), NodeInfo)


@given(answers)
def test_shards(answer: Answer) -> None:
    """Shards are read, or it is said why not."""
    assert isinstance(shards_info(answer), ShardsInfo | Failure)


@given(answers | agent_actions)
def test_an_action(answer: Answer) -> None:
    """An action is read, unknown, or it is said why not; what is read can be stored as JSON."""
    told = agent_action(answer, action_id(1))

    assert isinstance(told, AgentAction | Failure | None)
    if isinstance(told, AgentAction):
        assert told == AgentAction.model_validate_json(told.model_dump_json())


@given(answers)
def test_an_answer_to_an_action(answer: Answer) -> None:
    """An answer to an action has exactly one meaning."""
    told = scheduled(answer, action_id(1))

    assert 1 == sum((told.accepted, told.superseded, told.refused is not None, told.failed is not None))


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=30), max_size=10))
def test_headers(metadata: dict[str, str]) -> None:
    """Every entry is a legal header, which is sent as it is, or noted."""
    named, notes = headers(metadata)

    assert len(metadata) == len(named) + len(notes)
    assert all(
        name.isascii() and value.isascii() and "\n" not in value and "\r" not in value for name, value in named.items()
    )


@given(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._/\-]{0,60}\Z"), values)
def test_a_request(kind: str, args: object) -> None:
    """Any kind makes a request below the agent's actions, or is refused."""
    told = post(make_action(kind=kind, args=args), "1:1")

    if isinstance(told, Post):
        assert told.path == f"actions/schedule/{kind}"
        assert args == json.loads(told.body)["args"]
    else:
        assert {"", ".", ".."} & set(kind.split("/"))
