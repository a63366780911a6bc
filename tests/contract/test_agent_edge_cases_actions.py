"""The edge cases of the wire (`agent-protocol.md` 6) that are about actions; see `test_agent_edge_cases.py` for the others."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from blocks.models.action import ActionState
from blocks.models.event import EventType
from blocks.models.look import ActionsInfo, AgentAction
from blocks.models.node import NodeStatus, Protocol
from doubles.actions import action_id, make_action
from doubles.agents import Mishap
from doubles.fleets import WIRES
from doubles.scripted_agent import Reply, ScriptedAgent
from doubles.wired import FENCE, KIND, Wired, cycle, new_view, wired

S = ActionState


@pytest.fixture(params=list(Protocol))
async def one(request: pytest.FixtureRequest) -> AsyncIterator[Wired]:
    """A healthy node."""
    async with wired(request.param) as one:
        yield one


async def test_row_20_times_of_agents_are_only_reported(one: Wired) -> None:
    """A future scheduled time, and an end before the beginning, are read as they are; our times travel in UTC."""
    odd = datetime(2099, 1, 1, tzinfo=UTC)
    zone = make_action().created_at.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00:00+02:00").tzinfo)
    await one.agents.send(one.target, make_action(created_at=zone), FENCE, 5.0)
    one.node.actions[action_id(1)] = one.node.actions[action_id(1)].evolve(
        scheduled_at=odd, finished_at=datetime(1970, 1, 1, tzinfo=UTC), state=S.DONE
    )

    word = await one.agents.action(one.target, action_id(1))

    assert isinstance(word, AgentAction)
    assert (odd, datetime(1970, 1, 1, tzinfo=UTC)) == (word.scheduled_at, word.finished_at)
    [post] = [request for request in one.agent.received if request.method == "POST"]
    assert b'"2026-03-01T12:00:00.123000Z"' in post.body


async def test_row_21_an_action_is_asked_for_by_id_before_it_is_lost(one: Wired) -> None:
    """Missing from both lists: an end found by id counts; only what is not found at all is LOST."""
    actions = [make_action(number, state=S.RUNNING) for number in (1, 2)]
    view = replace(new_view(), actions={action.action_id: action for action in actions})
    await one.agents.send(one.target, make_action(1), FENCE, 5.0)
    one.node.move(action_id(1), S.DONE)
    for path in (one.path.queue, one.path.finished):
        one.on(path, Reply.json({"actions": []} if one.protocol is Protocol.B else []))

    settled = cycle(view, await one.look(action_id(1), action_id(2)))

    assert {action_id(1): S.DONE, action_id(2): S.LOST} == {
        key: action.state for key, action in settled.view.actions.items()
    }


async def test_row_22_a_final_state_never_changes(one: Wired) -> None:
    """An action in both lists counts as finished; one that is DONE by our books stays so, whatever its agent says."""
    await one.agents.send(one.target, make_action(), FENCE, 5.0)
    one.on(one.path.finished, Reply.json([{"id": action_id(1)}]))
    done = replace(new_view(), actions={action_id(1): make_action(state=S.DONE)})

    look = await one.look()
    settled = cycle(done, look)

    assert ActionsInfo(finished=(action_id(1),)) == look.actions
    assert S.DONE is settled.view.actions[action_id(1)].state


async def test_row_23_an_unknown_action_is_adopted_and_nothing_more(one: Wired) -> None:
    """An action that its agent began by itself is recorded as such; nothing is sent because of it."""
    await one.agents.send(one.target, make_action(), FENCE, 5.0)
    one.node.move(action_id(1), S.RUNNING)

    settled = cycle(new_view(), await one.look())

    [adopted] = settled.view.actions.values()
    assert (action_id(1), S.RUNNING, "agent of n1") == (adopted.action_id, adopted.state, adopted.created_by)
    assert 1 == len(one.node.deliveries)


async def test_row_24_the_agents_record_wins(one: Wired) -> None:
    """Same id, another kind: the record says what the agent does, and the change is an event."""
    await one.agents.send(one.target, make_action(args={"other": 1}), FENCE, 5.0)
    one.node.move(action_id(1), S.RUNNING)
    ours = make_action(kind="agent.replicante.io/test.loop", state=S.RUNNING, args={"target": 3})

    settled = cycle(replace(new_view(), actions={ours.action_id: ours}), await one.look(ours.action_id))

    after = settled.view.actions[ours.action_id]
    assert (KIND, {"other": 1}) == (after.kind, after.args)
    assert EventType.ACTION_CHANGED in {draft.type for draft in settled.change.drafts}


async def test_row_25_what_became_of_a_request_that_schedules(one: Wired) -> None:
    """No answer: perhaps there, settled by id. Again: success. An unknown kind: refused for good. Anything else: failed."""
    one.node.mishaps.append(Mishap.UNANSWERED)
    one.node.refused_kinds.add("no.such/kind")
    lost = await one.agents.send(one.target, make_action(1), FENCE, 5.0)
    word = await one.agents.action(one.target, action_id(1))
    again = await one.agents.send(one.target, make_action(1), FENCE, 5.0)
    refused = await one.agents.send(one.target, make_action(2, kind="no.such/kind"), FENCE, 5.0)
    one.node.mishaps.append(Mishap.BROKEN)
    broken = await one.agents.send(one.target, make_action(3), FENCE, 5.0)

    assert (False, True, None) == (lost.accepted, lost.maybe_sent, lost.refused)
    assert isinstance(word, AgentAction)
    assert again.accepted
    assert "HTTP 400: no such kind of action: no.such/kind" == refused.refused
    assert (False, "HTTP 500: broken", True) == (broken.accepted, broken.failed, broken.maybe_sent)


async def test_row_26_an_agent_that_restarts_goes_on_or_loses(one: Wired) -> None:
    """RUNNING resumes; an action that died with its agent is LOST; neither is ever sent again by a look."""
    running = {number: make_action(number, state=S.RUNNING) for number in (1, 2)}
    for action in running.values():
        await one.agents.send(one.target, action, FENCE, 5.0)
        one.node.move(action.action_id, S.RUNNING)
    async with ScriptedAgent(answer=WIRES[one.protocol](one.node)) as restarted:
        one.node.forget(action_id(2))
        look = await one.agents.look(one.target.evolve(agent_address=restarted.url), [action_id(1), action_id(2)])
    settled = cycle(replace(new_view(), actions={a.action_id: a for a in running.values()}), look)

    assert [S.RUNNING, S.LOST] == [settled.view.actions[action_id(number)].state for number in (1, 2)]
    assert {"GET"} == {request.method for request in restarted.received}


@pytest.mark.parametrize("kind", ["a/../../info", "a//b", "a/./b", "a/"])
async def test_row_31_a_kind_that_is_no_path_is_not_sent(kind: str) -> None:
    """In protocol A the kind is part of the path: one that would name another place is refused before it leaves."""
    async with wired(Protocol.A) as one:
        sent = await one.agents.send(one.target, make_action(kind=kind), FENCE, 5.0)

        assert f"protocol A cannot send the kind {kind}: as a path it would name something else" == sent.refused
        assert [] == one.agent.received


@pytest.mark.parametrize("before", list(Protocol))
async def test_row_32_an_agent_that_is_replaced_in_place(before: Protocol) -> None:
    """The look that finds the other protocol uses it; unfinished actions of the old agent are LOST, with that reason."""
    after = Protocol.B if before is Protocol.A else Protocol.A
    async with wired(before) as one:
        old = cycle(new_view(), await one.look())
        one.agent.answer = WIRES[after]((await _node(after)).node)
        view = replace(old.view, actions={action_id(1): make_action(state=S.RUNNING)})
        started = time.monotonic()
        settled = cycle(view, await one.look(action_id(1)), at=10)

    action = settled.view.actions[action_id(1)]
    assert (after, NodeStatus.HEALTHY) == (settled.view.nodes["n1"].protocol, settled.view.nodes["n1"].status)
    why = f"the agent no longer knows it: it was replaced by one that speaks protocol {after} instead of {before}"
    assert (S.LOST, why) == (action.state, action.error)
    assert time.monotonic() - started < 2.0


async def _node(protocol: Protocol) -> Wired:
    async with wired(protocol) as one:
        return one
