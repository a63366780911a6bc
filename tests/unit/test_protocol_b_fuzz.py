"""Whatever bytes an agent answers with, decoding gives a value: facts, notes or a `Failure`, and never raises."""

from __future__ import annotations

import json

import orjson
from hypothesis import given
from hypothesis import strategies as st

from blocks.agents.actions import listed_ids, sent
from blocks.agents.answers import Answer
from blocks.agents.detection import Detected, detect
from blocks.agents.dialect import Post
from blocks.agents.protocol_b import ProtocolB, agent_action, node_info, shards_info, store_info
from blocks.models.look import AgentAction, Failure, NodeInfo, ShardsInfo, StoreInfo
from blocks.models.sent import Sent
from doubles.actions import action_id, make_action
from doubles.hostile import answers, encode, values

agent_actions = st.fixed_dictionaries(
    {"id": st.just(action_id(1)), "kind": st.just("a/b") | values, "state": st.fixed_dictionaries({"phase": values})},
    optional={"args": values, "metadata": values, "created_time": values, "error": values},
).map(lambda value: Answer(200, encode(value)))


@given(answers)
def test_a_node(answer: Answer) -> None:
    """A node is read, or it is said why not."""
    assert isinstance(node_info(answer), NodeInfo | Failure)


@given(answers)
def test_a_store(answer: Answer) -> None:
    """A store is read, or it is said why not."""
    assert isinstance(store_info(answer), StoreInfo | Failure)


@given(answers | st.lists(values, max_size=30).map(lambda items: Answer(200, encode(items))))
def test_shards(answer: Answer) -> None:
    """Every listed shard is either kept or noted."""
    found = shards_info(answer)

    assert isinstance(found, ShardsInfo | Failure)
    if isinstance(found, ShardsInfo) and len(found.notes) < 20:
        value = orjson.loads(answer.body)
        items = value["shards"] if isinstance(value, dict) else value
        assert len(items) <= len(found.shards) + len(found.notes)


@given(answers)
def test_lists_of_actions(answer: Answer) -> None:
    """Ids are read, or it is said why not."""
    assert isinstance(listed_ids(answer), tuple | Failure | None)


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
    told = sent(answer, action_id(1))

    assert isinstance(told, Sent)
    assert 1 == sum((told.accepted, told.superseded, told.refused is not None, told.failed is not None))


@given(answers, answers)
async def test_detection(first: Answer, second: Answer) -> None:
    """Whatever the two probes bring, there is a protocol or a reason."""

    async def ask(path: str) -> Answer | Failure:
        return first if path == "info/node" else second

    assert isinstance(await detect(ask, None), Detected | Failure)


@given(values)
def test_a_request(args: object) -> None:
    """Any arguments make a request, integers beyond 64 bits included."""
    told = ProtocolB().post(make_action(args=args), "1:1")

    assert isinstance(told, Post)
    assert args == json.loads(told.body)["args"]
