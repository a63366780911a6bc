"""What holds for agents in memory and for agents over HTTP alike, in either protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from blocks.models.action import ActionState
from blocks.models.look import ActionsInfo, AgentAction, Failure, Glimpse, NodeInfo, ShardsInfo, StoreInfo
from blocks.models.node import NodeStatus, Offset, Protocol, Shard, ShardRole, Version
from doubles.actions import CREATED, action_id, make_action
from doubles.agents import MemoryNode, Mishap, Taken
from doubles.fleets import Fleet, MemoryFleet, http_fleet
from doubles.views import NOW, discovery, found
from tasks.decide.merge import merge
from tasks.decide.watch import Part, differs

FENCE = "1:100"


@pytest.fixture(params=["memory", "A", "B"])
async def fleet(request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    """An empty fleet of each sort."""
    if request.param == "memory":
        yield MemoryFleet()
    else:
        async with http_fleet(protocol=Protocol(request.param)) as fleet:
            yield fleet


says_status = pytest.mark.parametrize("fleet", ["memory", "B"], indirect=True)
"""For what agents of protocol A have no word for: a status of their own."""


class TestProbe:
    async def test_is_the_same_while_nothing_changes(self, fleet: Fleet) -> None:
        """A node and its shards have the same fingerprint until they differ; offsets that move are no difference."""
        node = MemoryNode("n1", shards=(Shard(shard_id="a/0", role=ShardRole.PRIMARY),))
        target = await fleet.put(node)
        before = [await fleet.agents.probe(target, shards=shards) for shards in (False, True)]
        node.shards = (Shard(shard_id="a/0", role=ShardRole.PRIMARY, lag=Offset(unit="seconds", value=9)),)
        moved = [await fleet.agents.probe(target, shards=shards) for shards in (False, True)]
        node.shards = (Shard(shard_id="a/0", role=ShardRole.SECONDARY),)
        changed = await fleet.agents.probe(target, shards=True)

        assert before == moved
        assert not isinstance(before[1], Failure)
        assert before[1] != changed

    async def test_differs_when_the_store_goes_down(self, fleet: Fleet) -> None:
        """A store that no longer answers shows in the next probe."""
        node = MemoryNode("n1", shards=(Shard(shard_id="a/0", role=ShardRole.PRIMARY),))
        target = await fleet.put(node)
        before = await fleet.agents.probe(target, shards=True)
        node.store_error = "no server"

        assert before != await fleet.agents.probe(target, shards=True)

    async def test_is_a_failure_when_nothing_listens(self, fleet: Fleet) -> None:
        """A refused connection is a reason, not an exception."""
        node = MemoryNode("n1")
        target = await fleet.put(node)
        await fleet.stop(node)

        assert isinstance(await fleet.agents.probe(target, shards=False), Failure)

    async def test_is_like_what_a_look_finds(self, fleet: Fleet) -> None:
        """What a probe reads is what a cycle stores: whoever begins to watch can compare them."""
        node = MemoryNode("n1", shards=(Shard(shard_id="a/0", role=ShardRole.OTHER, role_text="arbiter"),))
        target = await fleet.put(node)
        look = await fleet.agents.look(target)
        stored = merge(None, found("n1"), discovery(["n1"]), look, now=NOW)
        same = [await fleet.agents.probe(target, shards=part is Part.SHARDS) for part in Part]
        node.store_error = "no server"
        broken = await fleet.agents.probe(target, shards=True)

        glimpses = [one for one in (*same, broken) if isinstance(one, Glimpse)]
        parts = (*Part, Part.SHARDS)
        assert [False, False, True] == [differs(stored, *pair) for pair in zip(parts, glimpses, strict=True)]


class TestLook:
    async def test_brings_everything(self, fleet: Fleet) -> None:
        """A healthy node's answer has node, store, shards and actions."""
        shards = (
            Shard(shard_id="a/0", role=ShardRole.PRIMARY, commit_offset=Offset(unit="seconds", value=7)),
            Shard(shard_id="a/1", role=ShardRole.SECONDARY, lag=Offset(unit="messages", value=3)),
            Shard(shard_id="a/2", role=ShardRole.OTHER, role_text="arbiter"),
        )
        node = MemoryNode("n1", attributes={"mode": "set", "votes": 1}, addresses={"client": "h:1"}, shards=shards)
        target = await fleet.put(node)

        look = await fleet.agents.look(target)

        expected = NodeInfo(
            protocol=Protocol.B,
            status=NodeStatus.HEALTHY,
            node_id="n1",
            agent_version=Version(number="0.1.0"),
            store_id="mongo.replica",
            store_version=Version(number="6.0.0"),
            addresses={"client": "h:1"},
            attributes={"mode": "set", "votes": 1},
        )
        assert "n1" == look.node_id
        assert fleet.told(expected) == look.info
        assert StoreInfo(cluster_id="orders") == look.store
        assert ShardsInfo(shards=shards) == look.shards
        assert ActionsInfo() == look.actions
        assert {} == look.details

    @says_status
    async def test_keeps_the_text_of_an_unknown_status(self, fleet: Fleet) -> None:
        """A status that has no word of its own comes with the agent's words."""
        target = await fleet.put(MemoryNode("n1", status=NodeStatus.UNKNOWN, status_text="rolling back"))

        info = (await fleet.agents.look(target)).info

        assert isinstance(info, NodeInfo)
        assert (NodeStatus.UNKNOWN, "rolling back") == (info.status, info.status_text)

    async def test_is_only_a_failure_when_nothing_listens(self, fleet: Fleet) -> None:
        """A refused connection is one reason, and nothing else was asked."""
        node = MemoryNode("n1")
        target = await fleet.put(node)
        await fleet.stop(node)

        look = await fleet.agents.look(target, [action_id(1)])

        assert Failure(reason="connection refused") == look.info
        assert (None, None, None, {}) == (look.store, look.shards, look.actions, look.details)

    async def test_ends_in_time_when_the_agent_hangs(self, fleet: Fleet) -> None:
        """An agent that never answers is a failure after the request's deadline."""
        target = (await fleet.put(MemoryNode("n1", hangs=True))).evolve(timeout_s=0.1)

        look = await fleet.agents.look(target)

        assert Failure(reason="no complete answer within 0.1 s") == look.info

    async def test_survives_a_broken_store(self, fleet: Fleet) -> None:
        """With the store down the node is still told of; store and shards fail with the agent's words."""
        target = await fleet.put(MemoryNode("n1", status=NodeStatus.UNAVAILABLE, store_error="cannot connect"))

        look = await fleet.agents.look(target)

        broken = Failure(reason="HTTP 500: cannot connect", status=500)
        assert isinstance(look.info, NodeInfo)
        assert (broken, broken, ActionsInfo()) == (look.store, look.shards, look.actions)

    async def test_reads_unfinished_actions_and_those_asked_for(self, fleet: Fleet) -> None:
        """Details come for listed and for asked actions; None says that the agent does not know one."""
        node = MemoryNode("n1")
        target = await fleet.put(node)
        for number in (1, 2, 3):
            await fleet.agents.send(target, make_action(number), FENCE, 5.0)
        node.move(action_id(1), ActionState.RUNNING, payload={"done": 1})
        node.move(action_id(2), ActionState.FAILED, error="it broke")
        node.move(action_id(3), ActionState.DONE)

        look = await fleet.agents.look(target, [action_id(2), action_id(9)])

        assert ActionsInfo(queue=(action_id(1),), finished=(action_id(2), action_id(3))) == look.actions
        assert {action_id(1), action_id(2), action_id(9)} == look.details.keys()
        assert node.actions[action_id(1)] == look.details[action_id(1)]
        assert node.actions[action_id(2)] == look.details[action_id(2)]
        assert look.details[action_id(9)] is None

    async def test_takes_switched_off_actions_for_what_they_are(self, fleet: Fleet) -> None:
        """An agent without actions is no failure, and says nothing about an action that is asked for."""
        target = await fleet.put(MemoryNode("n1", actions_on=False))

        look = await fleet.agents.look(target, [action_id(1)])

        assert ActionsInfo(enabled=False) == look.actions
        assert {action_id(1): Failure(reason="the agent has its actions switched off")} == look.details


class TestAction:
    async def test_brings_the_agents_word(self, fleet: Fleet) -> None:
        """An action that was sent is told of with all that was sent, and the fence."""
        node = MemoryNode("n1")
        target = await fleet.put(node)
        await fleet.agents.send(target, make_action(), FENCE, 5.0)

        told = await fleet.agents.action(target, action_id(1))

        expected = AgentAction(
            action_id=action_id(1),
            kind="agent.replicante.io/test.success",
            state=ActionState.NEW,
            args={"count": 3},
            metadata={"ticket": "42", "replicore.io/fence": FENCE},
            created_at=fleet.kept(CREATED),
            scheduled_at=fleet.kept(CREATED),
        )
        assert expected == told

    async def test_is_none_when_the_agent_does_not_know_it(self, fleet: Fleet) -> None:
        """The answer that there is no such action is an answer."""
        target = await fleet.put(MemoryNode("n1"))

        assert await fleet.agents.action(target, action_id(1)) is None

    async def test_is_a_failure_when_nothing_listens(self, fleet: Fleet) -> None:
        """No answer is never taken for "no such action"."""
        node = MemoryNode("n1")
        target = await fleet.put(node)
        await fleet.stop(node)

        assert Failure(reason="connection refused") == await fleet.agents.action(target, action_id(1))


class TestSend:
    async def test_is_accepted_once_and_again(self, fleet: Fleet) -> None:
        """A new action is accepted, and so is one that the agent has already; it is there once."""
        node = MemoryNode("n1")
        target = await fleet.put(node)

        sent = [await fleet.agents.send(target, make_action(), FENCE, 5.0) for _ in range(2)]

        assert [True, True] == [answer.accepted for answer in sent]
        assert [Taken.ACCEPTED, Taken.DUPLICATE] == [delivery.taken for delivery in node.deliveries]

    async def test_is_superseded_by_a_newer_fence(self, fleet: Fleet) -> None:
        """An agent that has seen a newer fencing token takes nothing from the older holder."""
        node = MemoryNode("n1")
        target = await fleet.put(node)
        await fleet.agents.send(target, make_action(1), "2:5", 5.0)

        sent = await fleet.agents.send(target, make_action(2), "1:100", 5.0)

        assert (False, True, None, False) == (sent.accepted, sent.superseded, sent.failed, sent.maybe_sent)
        assert [action_id(1)] == list(node.actions)

    async def test_is_refused_for_good(self, fleet: Fleet) -> None:
        """An unknown kind is refused with the agent's reason, which is no failure to send."""
        action = make_action(kind="no.such/kind")
        target = await fleet.put(MemoryNode("n1", refused_kinds={action.kind}))

        sent = await fleet.agents.send(target, action, FENCE, 5.0)

        assert (False, "HTTP 400: no such kind of action: no.such/kind") == (sent.accepted, sent.refused)
        assert (None, False) == (sent.failed, sent.maybe_sent)

    async def test_knows_that_nothing_was_sent(self, fleet: Fleet) -> None:
        """Where nothing listens, the action was surely not sent."""
        node = MemoryNode("n1")
        target = await fleet.put(node)
        await fleet.stop(node)

        sent = await fleet.agents.send(target, make_action(), FENCE, 5.0)

        assert (False, "connection refused", False) == (sent.accepted, sent.failed, sent.maybe_sent)

    @pytest.mark.parametrize("mishap", list(Mishap))
    async def test_says_when_nobody_knows(self, fleet: Fleet, mishap: Mishap) -> None:
        """Once the request is on its way, a failure means that it may have arrived; it is not tried again in here."""
        node = MemoryNode("n1")
        node.mishaps.append(mishap)
        target = await fleet.put(node)

        sent = await fleet.agents.send(target, make_action(), FENCE, 5.0)

        assert (False, True) == (sent.accepted, sent.maybe_sent)
        assert sent.failed
        assert (1 if mishap is Mishap.UNANSWERED else 0) == len(node.deliveries)

    async def test_stays_within_its_budget(self, fleet: Fleet) -> None:
        """The budget counts when it is less than the target's deadline."""
        target = await fleet.put(MemoryNode("n1", hangs=True))

        sent = await fleet.agents.send(target, make_action(), FENCE, 0.1)

        assert (False, True) == (sent.accepted, sent.maybe_sent)
        assert (sent.failed or "").startswith("no complete answer within 0.")

    async def test_fails_when_actions_are_switched_off(self, fleet: Fleet) -> None:
        """An agent that takes no actions has surely not taken this one."""
        target = await fleet.put(MemoryNode("n1", actions_on=False))

        sent = await fleet.agents.send(target, make_action(), FENCE, 5.0)

        assert (False, False) == (sent.accepted, sent.maybe_sent)
        assert (sent.failed or "").startswith("HTTP 404: ")
