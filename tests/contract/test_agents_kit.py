"""The client and our own agents understand each other: a real agent in a process of its own, with TLS 1.3 and mTLS."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks.agents.client import HttpAgents
from blocks.agents.protocol import Target
from blocks.agents.settings import AgentsSettings
from blocks.models.action import ActionState
from blocks.models.look import ActionsInfo, AgentAction, Failure, NodeInfo
from blocks.models.node import NodeStatus
from doubles.actions import CREATED, action_id, make_action
from doubles.certificates import Authority
from infra.agents.testing import AgentProcess, running

pytestmark = pytest.mark.real

NOTHING_HERE = "127.0.0.1:1"


@dataclass(frozen=True)
class Kit:
    """A real agent of a MongoDB that is down, and how it is asked."""

    process: AgentProcess
    target: Target


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    """An agent that wants client certificates."""
    folder = tmp_path_factory.mktemp("kit")
    authority = Authority()
    certificate, key, ca = authority.files(folder)
    options = [
        "--tls-cert",
        str(certificate),
        "--tls-key",
        str(key),
        "--tls-client-ca",
        str(ca),
        "--execute-interval",
        "0",
    ]
    with running(
        "mongodb", folder / "data", *options, store=NOTHING_HERE, node_id="n1", cluster_id="orders"
    ) as process:
        tls = authority.tls(authority.client())
        yield Kit(process, Target(node_id="n1", agent_address=process.url, tls=tls))


@pytest.fixture
async def agents() -> AsyncIterator[HttpAgents]:
    """The real client."""
    async with HttpAgents(AgentsSettings()) as agents:
        yield agents


async def finished(agents: HttpAgents, target: Target, number: int) -> AgentAction:
    """Wait until an action is over."""
    async with asyncio.timeout(20):
        while True:
            told = await agents.action(target, action_id(number))
            assert isinstance(told, AgentAction)
            if told.state.final:
                return told
            await asyncio.sleep(0.02)


async def test_a_look_at_a_node_whose_store_is_down(agents: HttpAgents, kit: Kit) -> None:
    """The agent answers: the node is UNAVAILABLE, store and shards fail with the agent's words, actions are there."""
    look = await agents.look(kit.target)

    assert isinstance(look.info, NodeInfo)
    assert (NodeStatus.UNAVAILABLE, "n1") == (look.info.status, look.info.node_id)
    assert isinstance(look.store, Failure)
    assert isinstance(look.shards, Failure)
    assert 500 == look.store.status == look.shards.status
    assert isinstance(look.actions, ActionsInfo)


async def test_an_action_runs_to_its_end(agents: HttpAgents, kit: Kit) -> None:
    """An action is accepted, accepted again without running twice, and told of with all that it was sent with."""
    action = make_action(11, kind="agent.replicante.io/test.loop", args={"target": 3})

    sent = [await agents.send(kit.target, action, "1:10", 5.0) for _ in range(2)]

    told = await finished(agents, kit.target, 11)
    assert [True, True] == [answer.accepted for answer in sent]
    assert (ActionState.DONE, {"count": 3, "target": 3}) == (told.state, told.payload)
    assert (CREATED, {"ticket": "42", "replicore.io/fence": "1:10"}) == (told.created_at, told.metadata)


async def test_a_failed_action_says_why(agents: HttpAgents, kit: Kit) -> None:
    """The agent's error comes as one sentence."""
    await agents.send(kit.target, make_action(12, kind="agent.replicante.io/test.fail"), "1:10", 5.0)

    told = await finished(agents, kit.target, 12)
    assert ActionState.FAILED == told.state
    assert "the action agent.replicante.io/test.fail always fails" in (told.error or "")


async def test_an_unknown_kind_is_refused(agents: HttpAgents, kit: Kit) -> None:
    """What the agent will never do is refused for good."""
    sent = await agents.send(kit.target, make_action(13, kind="no.such/kind"), "1:10", 5.0)

    assert (False, False) == (sent.accepted, sent.maybe_sent)
    assert (sent.refused or "").startswith("HTTP 400: ")


async def test_an_older_fence_is_superseded(agents: HttpAgents, kit: Kit) -> None:
    """The agent remembers the newest fencing token and takes nothing from an older holder."""
    newer = await agents.send(kit.target, make_action(14), "2:1", 5.0)
    older = await agents.send(kit.target, make_action(15), "1:999", 5.0)
    told = await agents.action(kit.target, action_id(15))

    assert (True, False) == (newer.accepted, newer.superseded)
    assert (False, True, None) == (older.accepted, older.superseded, older.failed)
    assert told is None


async def test_a_frozen_agent_ends_at_the_deadline(agents: HttpAgents, kit: Kit) -> None:
    """A stopped process takes connections and says nothing: the look ends in time, and all is well when it goes on."""
    kit.process.process.send_signal(signal.SIGSTOP)
    try:
        frozen = (await agents.look(kit.target.evolve(timeout_s=0.3))).info
        sent = await agents.send(kit.target, make_action(16), "3:1", 0.3)
    finally:
        kit.process.process.send_signal(signal.SIGCONT)
    after = (await agents.look(kit.target)).info

    assert isinstance(frozen, Failure)
    assert "no complete answer within 0.3 s" == frozen.reason
    assert (False, False) == (sent.accepted, sent.maybe_sent)
    assert isinstance(after, NodeInfo)


async def test_a_killed_agent_is_noticed(kit: Kit, tmp_path: Path) -> None:
    """An agent in use that is killed with -9 is a failure of the next look, and the agent's return ends it."""
    with running("mongodb", tmp_path, store=NOTHING_HERE) as process:
        target = kit.target.evolve(agent_address=process.url)
        async with HttpAgents(AgentsSettings()) as agents:
            before = (await agents.look(target)).info
            process.kill()
            after = (await agents.look(target)).info
            port = process.url.rpartition(":")[2]
            with running("mongodb", tmp_path, "--listen", f"127.0.0.1:{port}", store=NOTHING_HERE):
                again = (await agents.look(target)).info

    assert Failure(reason="connection refused") == after
    assert [NodeInfo, NodeInfo] == [type(before), type(again)]
