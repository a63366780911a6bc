"""A rolling restart of a real replica set by our agents, through the cycle: each member once, the primary last, writes go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from blocks.agents.client import HttpAgents
from blocks.agents.settings import AgentsSettings
from blocks.models.action import Action, ActionState
from blocks.models.cluster import Discovery
from blocks.models.namespace import NamespaceSettings
from blocks.models.rolling import Rolling, RollingState
from blocks.models.source import DiscoveredNode
from doubles.engines import WITHIN_S, Cluster, command, formed, mongodb_cluster, with_agents
from doubles.rollings import rolled
from doubles.views import REF
from doubles.world import World
from doubles.writer import writing
from flows.cycle import Mode, cycle
from flows.entry import utc_now
from infra.agents.testing import AgentProcess, running
from tasks.decide.rolling_plan import is_primary

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

NAMES = ("orders-1", "orders-2", "orders-3")
ROLL_WITHIN_S = 120.0
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


class Driven:
    """A control plane with a store in memory and the real client of agents, at the pace of real time."""

    def __init__(self, servers: Cluster) -> None:
        """Know nothing yet."""
        self.servers = servers
        self.world = World()

    async def declare(self, names: Sequence[str] = NAMES) -> None:
        """Tell of these members."""
        await self.world.declare(settings=NamespaceSettings(status_hold=0))
        await self.tell(names)

    async def tell(self, names: Sequence[str], *others: DiscoveredNode) -> None:
        """The source tells of these members, and of others."""
        nodes = tuple(DiscoveredNode(node_id=name, agent_address=self.servers.agents[name].url) for name in names)
        known = Discovery(
            namespace="prod", cluster_id="orders", source="prod/inventory", nodes=(*nodes, *others), version=1
        )
        await self.world.save(known)

    async def turn(self) -> Any:
        """One cycle; the view after it."""
        async with HttpAgents(AgentsSettings()) as agents:
            turn = replace(await self.world.turn(agents=agents), clock=utc_now)
            [report] = (await cycle(turn, [REF], Mode.ORCHESTRATE)).reports
        assert report.error is None
        return (await self.world.store.views([REF]))[REF.key]

    async def until(self, is_so: Any, what: str, within_s: float = WITHIN_S) -> None:
        """Cycle by cycle until that is so."""
        ends = time.monotonic() + within_s
        while not is_so(view := await self.turn()):
            assert time.monotonic() < ends, f"not within {within_s:g} s: {what}; {view.state} {view.rollings}"
            await asyncio.sleep(0.2)

    async def rolling(self) -> Rolling:
        """The one there is, as it is now."""
        [found] = await self.world.store.find(Rolling)
        return found


@pytest.fixture
async def driven(servers: Cluster) -> Driven:
    """A healthy cluster that was looked at."""
    driven = Driven(servers)
    await driven.declare()
    await driven.until(
        lambda view: view.state.health == "HEALTHY" and any(map(is_primary, view.nodes.values())), "a healthy cluster"
    )
    return driven


def processes(servers: Cluster) -> dict[str, str]:
    """By name, which process of mongod answers."""
    return {name: str(command(servers, name, "hello")["topologyVersion"]["processId"]) for name in NAMES}


async def test_a_rolling_restart(
    servers: Cluster, driven: Driven, record_property: Callable[[str, object], None]
) -> None:
    """Every member becomes another process, once, the primary last; a client that writes all the time loses nothing."""
    before = processes(servers)
    with writing(servers.addresses) as writer:
        [leader] = [name for name in NAMES if command(servers, name, "hello")["isWritablePrimary"]]
        await rolled(driven.world, rolling_id=str(uuid4()))
        await driven.until(lambda view: not view.rollings, "the end of the rolling restart", ROLL_WITHIN_S)
    record_property("longest_write_gap_s", round(writer.longest_gap_s, 3))
    after, rolling = processes(servers), await driven.rolling()
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
        lambda view: any(a.node_id == first and a.state is ActionState.RUNNING for a in view.actions.values()),
        "it runs",
    )
    killed = servers.agents[first]
    killed.kill()
    port, folder = killed.url.rpartition(":")[2], Path(data_of(killed))
    with running("mongodb", folder, "--listen", f"127.0.0.1:{port}", "--execute-interval", "0.2",
                 store=servers.address(first), node_id=first, cluster_id="orders"):  # fmt: skip
        await driven.until(lambda view: not view.rollings, "the end", ROLL_WITHIN_S)
    [action] = [a for a in await driven.world.store.find(Action) if a.node_id == first]

    assert RollingState.DONE is (await driven.rolling()).state
    assert isinstance(action.payload, dict)
    assert (before[first], processes(servers)[first]) == (action.payload["before"], action.payload["process"])


def data_of(agent: AgentProcess) -> str:
    """Where an agent keeps its actions."""
    words = list(map(str, agent.process.args))  # type: ignore[arg-type]
    return words[words.index("--data") + 1]
