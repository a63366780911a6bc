"""A rolling restart of a real replica set by our agents, through the cycle: each member once, the primary last, writes go on."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from blocks.models.action import Action, ActionState
from blocks.models.rolling import RollingState
from blocks.models.source import DiscoveredNode
from doubles.driven import NAMES, Driven, processes
from doubles.engines import Cluster, command, formed, mongodb_cluster, with_agents
from doubles.eventually import until
from doubles.rollings import rolled
from doubles.writer import writing
from infra.agents.testing import AgentProcess, running

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

GAP_MAX_S = 15.0
"""Generous: an election takes a second or two, on a busy machine more."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three members of a set, and their agents."""
    folder = tmp_path_factory.mktemp("rolling")
    with (
        mongodb_cluster(folder / "stack", NAMES) as made,
        with_agents(made, "mongodb", "orders", folder / "agents", "--execute-interval", "0.2"),
    ):
        formed(made)
        yield made


@pytest.fixture
async def driven(servers: Cluster) -> Driven:
    """A healthy cluster that was looked at."""
    driven = Driven(servers)
    await driven.declare()
    await driven.until_healthy()
    return driven


async def test_a_rolling_restart(
    servers: Cluster, driven: Driven, record_property: Callable[[str, object], None]
) -> None:
    """Every member becomes another process, once, the primary last; a client that writes all the time loses nothing."""
    before = processes(servers)
    with writing(servers.addresses) as writer:
        [leader] = [name for name in NAMES if command(servers, name, "hello")["isWritablePrimary"]]
        await rolled(driven.world, rolling_id=str(uuid4()))
        rolling = await driven.until_over()
    record_property("longest_write_gap_s", round(writer.longest_gap_s, 3))
    after = processes(servers)
    actions = await driven.world.store.find(Action)

    assert (RollingState.DONE, None) == (rolling.state, rolling.error)
    assert leader == rolling.plan.nodes[-1]
    assert dict.fromkeys(NAMES, ActionState.DONE) == rolling.ended
    assert {(before[a.node_id or ""], after[a.node_id or ""]) for a in actions} == {
        (a.payload["before"], a.payload["process"]) for a in actions if isinstance(a.payload, dict)
    }
    assert len(NAMES) == len(set(after.values()) - set(before.values()))
    assert [] == writer.refused
    assert 0 < writer.longest_gap_s < GAP_MAX_S


async def test_it_lapses_when_a_member_is_added(servers: Cluster, driven: Driven) -> None:
    """Approved, and the source tells of one more before it begins: nobody is restarted."""
    before = processes(servers)
    await rolled(driven.world, rolling_id=str(uuid4()))
    await driven.tell(NAMES, DiscoveredNode(node_id="orders-4", agent_address="http://127.0.0.1:9"))
    await driven.turn()

    assert (RollingState.LAPSED, []) == ((await driven.rolling()).state, await driven.world.store.find(Action))
    assert before == processes(servers)


async def test_an_agent_that_is_killed_goes_on_with_it(servers: Cluster, driven: Driven) -> None:
    """Kill -9 of the agent while it restarts its mongod: its next process ends the action, and the mongod was restarted once."""
    before = processes(servers)
    rolling = await rolled(driven.world, rolling_id=str(uuid4()))
    first = rolling.plan.nodes[0]
    await driven.turn()
    await driven.until(
        lambda view: any(a.node_id == first and a.state.on_agent for a in view.actions.values()),
        "its agent has it",
    )
    await until(lambda: not listens(servers.address(first)))
    killed = servers.agents[first]
    killed.kill()
    port, folder = killed.url.rpartition(":")[2], Path(data_of(killed))
    with running("mongodb", folder, "--listen", f"127.0.0.1:{port}", "--execute-interval", "0.2",
                 store=servers.address(first), node_id=first, cluster_id="orders"):  # fmt: skip
        await driven.until_over()
    [action] = [a for a in await driven.world.store.find(Action) if a.node_id == first]

    assert RollingState.DONE is (await driven.rolling()).state
    assert isinstance(action.payload, dict)
    assert (before[first], processes(servers)[first]) == (action.payload["before"], action.payload["process"])


def listens(address: str) -> bool:
    """Whether somebody accepts connections there."""
    host, _, port = address.rpartition(":")
    with socket.socket() as tried:
        return tried.connect_ex((host, int(port))) == 0


def data_of(agent: AgentProcess) -> str:
    """Where an agent keeps its actions."""
    words = list(map(str, agent.process.args))  # type: ignore[arg-type]
    return words[words.index("--data") + 1]
